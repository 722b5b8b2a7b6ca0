import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { ReasonCode } from '#core/ledger/reasons.ts';
import type { TableName } from '#core/model/failed-write.ts';
import { type CopyMessage, encodeMessage } from '#core/model/message.ts';
import type { Logger } from '#core/ports.ts';
import { NOT_NOTED } from '../in-flight/in-flight-port.ts';
import type { LostWrite } from './bundle-writes.ts';
import { type ChunkMessage, type ChunkWrite, ChunkWriter } from './chunk.ts';
import type { JournalHealth } from './journal-health.ts';
import {
  DATABASE_NAME,
  type FromJournal,
  type JournalSettings,
  type JournalThread,
  type StartJournalThread,
} from './journal-protocol.ts';

const CHUNK_BYTES = 192 * 1024;
/** A chunk is handed over when it is full, or so long after its first write. */
const GATHER_MS = 20;
/** Of what is in memory only, before what comes is marked instead. */
const MAX_PENDING_BYTES = 16 * 1024 * 1024;
const MAX_FREE = 8;
const MIN_RESTART_MS = 250;
const MAX_RESTART_MS = 30_000;
/** A chunk at which the thread has died so often is given up: the others must not wait behind it for ever. */
const MAX_DEATHS = 5;
const OPEN_MS = 60_000;
/** Of its own, beside the time that sending may take. */
const CLOSE_MS = 5_000;

const EMPTY: JournalHealth = {
  messages: 0,
  bytes: 0,
  oldestAtMs: null,
  sent: 0,
  setAside: 0,
  unreadable: 0,
  queueError: null,
  diskError: null,
  lastSentAtMs: null,
};

export interface JournalOptions {
  readonly settings: JournalSettings;
  readonly start: StartJournalThread;
  readonly logger: Logger;
  readonly maxPendingBytes?: number;
  /** So many writes are on the disk, or in the queue. */
  readonly onKept: (writes: number) => void;
  /** Something is lost, or would be by a crash; called before `onDone`. */
  readonly onLost: (lost: LostWrite) => void;
  /** The write with this number in the log of writes under way is kept, or marked. */
  readonly onDone: (sequence: number) => void;
}

/** A chunk, from its first write until disk or queue has it. */
interface Pending {
  readonly number: number;
  readonly chunk: ChunkWriter;
  /** Of its oldest write. Milliseconds since the epoch. */
  readonly failedAtMs: number;
  readonly sequences: number[];
  readonly whenKept: (() => void)[];
  deaths: number;
}

/**
 * Failed writes on their way to disk and queue, as the thread sees it that serves clients: it copies bytes into memory that
 * the journal's own thread reads. That thread starts with the first failure; were it to die, another one gets everything
 * again that is not kept yet.
 */
export class Journal {
  readonly #options: JournalOptions;
  readonly #pending: Pending[] = [];
  readonly #free: SharedArrayBuffer[] = [];
  #open: Pending | undefined;
  #pendingBytes = 0;
  #nextNumber = 1;
  #timer: NodeJS.Timeout | undefined;
  #thread: JournalThread | undefined;
  #restart: NodeJS.Timeout | undefined;
  #restartMs = MIN_RESTART_MS;
  #threadError: string | undefined;
  #health = EMPTY;
  /** Since when there is a database that nobody has looked into yet. Milliseconds since the epoch; undefined: there is none. */
  #unreadSinceMs: number | undefined;
  #whenOpened: (() => void) | undefined;
  #whenStopped: (() => void) | undefined;
  #isStopped = false;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** Finds what an earlier process left in the directory; resolves when all that is in doubt there was told. */
  async open(): Promise<void> {
    const found = statSync(join(this.#options.settings.directory, DATABASE_NAME), { throwIfNoEntry: false });
    if (found === undefined) return;
    this.#unreadSinceMs = found.birthtimeMs || found.mtimeMs;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#whenOpened = resolve;
      timer = setTimeout(resolve, OPEN_MS);
      this.#startThread();
    });
    clearTimeout(timer);
  }

  /** What waits, in memory and on the disk. */
  get health(): JournalHealth {
    const health = this.#health;
    const unread = this.#unreadSinceMs;
    const oldest = [this.#pending[0]?.failedAtMs, health.oldestAtMs, unread].filter((at) => at != null);
    const pending = this.#pending.reduce((sum, { chunk }) => sum + chunk.writeCount, 0);
    return {
      ...health,
      // One that can't be opened is not an empty one.
      messages: health.messages + pending + (unread === undefined ? 0 : 1),
      bytes: health.bytes + this.#pendingBytes,
      oldestAtMs: oldest.length === 0 ? null : Math.min(...oldest),
      diskError: this.#threadError ?? health.diskError,
    };
  }

  /** What failed before is in the queue, or marked. Milliseconds since the epoch. */
  get settledAtMs(): number {
    return this.health.oldestAtMs ?? Date.now();
  }

  /** Takes a failed write. False: there is no room, and the caller marks what it writes. */
  add(write: ChunkWrite, sequence: number): boolean {
    const size = ChunkWriter.sizeOf(write);
    if (!this.#hasRoom(size)) return false;
    const pending = this.#roomFor(size, write.failedAtMs);
    const before = pending.chunk.byteLength;
    if (!pending.chunk.add(write)) return false;
    this.#added(pending, before);
    if (sequence !== NOT_NOTED) pending.sequences.push(sequence);
    return true;
  }

  /** Takes places to copy; resolves when disk or queue has the message. */
  addCopy(message: CopyMessage): Promise<void> {
    const { keyspace, table } = message;
    const record: ChunkMessage = {
      failedAtMs: Date.now(),
      tables: [{ keyspace, table }],
      text: encodeMessage(message),
    };
    const pending = this.#roomFor(ChunkWriter.sizeOfMessage(record), record.failedAtMs);
    const before = pending.chunk.byteLength;
    pending.chunk.addMessage(record);
    this.#added(pending, before);
    return new Promise((resolve) => pending.whenKept.push(resolve));
  }

  /** Resolves when disk or queue has everything that was added so far; at the latest after `withinMs`. */
  async flush(withinMs: number): Promise<void> {
    this.#handOver();
    const last = this.#pending.at(-1);
    if (last === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      last.whenKept.push(resolve);
      timer = setTimeout(resolve, withinMs);
    });
    clearTimeout(timer);
  }

  /** Sends what it can in this time; what does not leave stays on the disk for the next process. */
  async stop(withinMs: number): Promise<void> {
    if (this.#isStopped) return;
    await this.flush(withinMs);
    const thread = this.#thread;
    this.#isStopped = true;
    clearTimeout(this.#restart);
    if (thread !== undefined) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#whenStopped = resolve;
        timer = setTimeout(resolve, withinMs + CLOSE_MS);
        thread.post({ kind: 'stop', withinMs });
      });
      clearTimeout(timer);
      thread.end();
    }
    for (const pending of this.#pending.splice(0)) this.#giveUp(pending, 'the proxy stopped before the disk had them');
    this.#pendingBytes = 0;
  }

  /** One alone is taken however large it is. */
  #hasRoom(size: number): boolean {
    const most = this.#options.maxPendingBytes ?? MAX_PENDING_BYTES;
    return !this.#isStopped && (this.#pendingBytes === 0 || this.#pendingBytes + size <= most);
  }

  #roomFor(size: number, failedAtMs: number): Pending {
    if (this.#open && this.#open.chunk.byteLength + size > CHUNK_BYTES) this.#handOver();
    if (this.#open === undefined) {
      const shared = size > CHUNK_BYTES ? undefined : this.#free.pop();
      const chunk = new ChunkWriter(shared ?? new SharedArrayBuffer(Math.max(size, CHUNK_BYTES)));
      const number = this.#nextNumber++;
      this.#open = { number, chunk, failedAtMs, sequences: [], whenKept: [], deaths: 0 };
      this.#pending.push(this.#open);
      this.#timer = setTimeout(() => this.#handOver(), GATHER_MS);
    }
    return this.#open;
  }

  #added({ chunk }: Pending, bytesBefore: number): void {
    this.#pendingBytes += chunk.byteLength - bytesBefore;
    if (chunk.byteLength >= CHUNK_BYTES) this.#handOver();
  }

  /** The open chunk takes no more, and goes to the thread. */
  #handOver(): void {
    const pending = this.#open;
    if (pending === undefined) return;
    clearTimeout(this.#timer);
    this.#open = undefined;
    if (this.#thread) this.#post(this.#thread, pending);
    else if (!this.#isStopped && this.#restart === undefined) this.#startThread();
  }

  #post(thread: JournalThread, { number, chunk }: Pending): void {
    thread.post({ kind: 'chunk', number, shared: chunk.shared, byteLength: chunk.byteLength });
  }

  #startThread(): void {
    this.#restart = undefined;
    const thread = this.#options.start(this.#options.settings, {
      onMessage: (message) => {
        if (this.#thread === thread || this.#thread === undefined) this.#receive(message);
      },
      onGone: (why) => {
        if (this.#thread === thread) this.#gone(why);
      },
    });
    this.#thread = thread;
    for (const pending of this.#pending) if (pending !== this.#open) this.#post(thread, pending);
  }

  #gone(why: string): void {
    this.#thread = undefined;
    this.#whenOpened?.();
    this.#whenStopped?.();
    if (this.#isStopped) return;
    this.#threadError = `the thread of the journal has ended: ${why}`;
    this.#options.logger.error('the thread of the journal has ended; it is started again', {
      error: why,
      pendingBytes: this.#pendingBytes,
      restartMs: this.#restartMs,
    });
    const first = this.#pending.find((one) => one !== this.#open);
    if (first && ++first.deaths >= MAX_DEATHS) {
      this.#pending.splice(this.#pending.indexOf(first), 1);
      this.#pendingBytes -= first.chunk.byteLength;
      this.#giveUp(first, 'the journal can not take them');
    }
    this.#restart = setTimeout(() => this.#startThread(), this.#restartMs).unref();
    this.#restartMs = Math.min(this.#restartMs * 2, MAX_RESTART_MS);
  }

  #receive(message: FromJournal): void {
    const { logger, onLost } = this.#options;
    switch (message.kind) {
      case 'opened':
        this.#threadError = undefined;
        this.#unreadSinceMs = undefined;
        this.#whenOpened?.();
        break;
      case 'kept':
        this.#kept(message.number, message.writes, message.lost);
        break;
      case 'doubt':
        for (const table of message.tables) onLost(doubtOf(table, 'torn', message.reason));
        break;
      case 'health':
        this.#health = message.health;
        break;
      case 'log':
        logger[message.level](message.message, message.fields);
        break;
      case 'stopped':
        this.#whenStopped?.();
    }
  }

  #kept(number: number, writes: number, lost: readonly LostWrite[]): void {
    const index = this.#pending.findIndex((one) => one.number === number);
    const [pending] = index < 0 ? [] : this.#pending.splice(index, 1);
    if (pending === undefined) return;
    this.#restartMs = MIN_RESTART_MS;
    this.#pendingBytes -= pending.chunk.byteLength;
    this.#options.onKept(writes);
    for (const one of lost) this.#options.onLost(one);
    this.#settle(pending);
    const { shared } = pending.chunk;
    if (shared.byteLength === CHUNK_BYTES && this.#free.length < MAX_FREE) this.#free.push(shared);
  }

  #giveUp(pending: Pending, why: string): void {
    const reason = `failed writes are lost: ${why}`;
    this.#options.logger.error('failed writes are lost; their tables are marked', { why });
    for (const table of pending.chunk.tables) this.#options.onLost(doubtOf(table, 'journal-full', reason));
    this.#settle(pending);
  }

  #settle({ sequences, whenKept }: Pending): void {
    for (const sequence of sequences) this.#options.onDone(sequence);
    for (const resolve of whenKept) resolve();
  }
}

function doubtOf(table: TableName, code: ReasonCode, reason: string): LostWrite {
  return { tables: [table], lacking: null, code, reason };
}
