import { describeError } from '#core/errors.ts';
import type { Clock, Logger } from '#core/ports.ts';
import type { LostWrite, NewMessage } from './bundle-writes.ts';
import { splitMessage } from './bundle-writes.ts';
import type { JournalDatabase } from './journal-database.ts';

const MIN_PAUSE_MS = 250;
/** With growing pauses between them a store that is away for minutes costs no message its turn. */
const MAX_REFUSALS = 20;
/** A bundle that is refused so often is sent write by write: one of them may be at fault. */
const SPLIT_AFTER = 5;
/** The disk is asked again this much later. */
const DISK_RETRY_MS = 1000;
/** What is read from the disk at once. Bytes of messages. */
const TAKE_BYTES = 1024 * 1024;
/** In one transaction, whose size the room for a full disk bounds. */
const MAX_REMOVED = 500;

/** A message to be sent, from the disk or from memory. */
export interface Outgoing {
  readonly id: string;
  readonly body: string;
  readonly writes: number;
  readonly refusals: number;
}

interface Taken extends Outgoing {
  readonly message: NewMessage;
  /** On the disk; undefined: in memory. */
  readonly seq: number | undefined;
}

/** A chunk that the disk has not taken. */
interface Held {
  readonly number: number;
  readonly chunk: Buffer;
  /** Of the first ones only, as messages are several times as large as what they are made of. */
  made: { messages: NewMessage[]; readonly writes: number; readonly lost: readonly LostWrite[] } | undefined;
}

export interface OutboxOptions {
  readonly database: JournalDatabase;
  /** Of this process; chunks are counted anew by each. */
  readonly run: string;
  readonly maxPauseMs: number;
  readonly maxRefusals?: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Makes messages of a chunk. */
  readonly bundle: (chunk: Buffer) => { readonly messages: NewMessage[]; readonly lost: readonly LostWrite[] };
  /** The chunk is on the disk or in the queue; some of it was lost. */
  readonly onKept: (chunk: number, writes: number, lost: readonly LostWrite[]) => void;
  /** The message stays where it is, and its tables are in doubt. */
  readonly onSetAside: (message: NewMessage, reason: string) => void;
}

/**
 * Messages between the chunks that come in and the queue: on the disk, and while that refuses them in memory. A chunk is
 * told to be kept not before one of them, disk or queue, has all of it.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #held: Held[] = [];
  /** Sent, but the disk refused to delete them. */
  readonly #sent = new Set<number>();
  /** How often the queue refused a message that is in memory. */
  readonly #refusals = new Map<string, { count: number; dueAtMs: number }>();
  #lastChunk: number;
  #diskError: string | undefined;
  #retryDiskAtMs = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#lastChunk = options.database.lastChunk(options.run);
  }

  /** Why the disk refused something last; undefined: it takes everything. */
  get diskError(): string | undefined {
    return this.#diskError;
  }

  /** Chunks in memory only. */
  get heldCount(): number {
    return this.#held.length;
  }

  /** What is on the disk. */
  get counts(): { readonly messages: number; readonly bytes: number; readonly oldestAtMs: number | null } {
    const { counts, next } = this.#options.database;
    return { messages: counts.waiting, bytes: counts.bytes, oldestAtMs: next?.failedAtMs ?? null };
  }

  /** Takes a chunk. One that was kept already, and comes again from a process that did not hear so, is over. */
  add(number: number, chunk: Buffer): void {
    if (number <= this.#lastChunk) {
      this.#options.onKept(number, 0, []);
      return;
    }
    this.#held.push({ number, chunk, made: undefined });
    this.store();
  }

  /** Brings to the disk what is in memory, unless that has refused something just now. */
  store(): void {
    const { database, run, clock } = this.#options;
    if (this.#diskError !== undefined && clock.nowMillis() < this.#retryDiskAtMs) return;
    try {
      this.#removeSent();
    } catch (error) {
      this.#noteDisk(error);
      return;
    }
    for (let held = this.#held[0]; held; held = this.#held[0]) {
      // Not caught: whoever handed it over knows what is in it.
      const { messages } = this.#made(held);
      try {
        database.insert(messages, { run, number: held.number });
      } catch (error) {
        this.#noteDisk(error);
        return;
      }
      this.#diskError = undefined;
      this.#keptFirst();
    }
    this.#diskError = undefined;
  }

  /** What is due, the oldest first; nothing: there is none. */
  take(): readonly Outgoing[] {
    const nowMs = this.#options.clock.nowMillis();
    const found = this.#takeStored(nowMs);
    if (found.length > 0 || this.#diskError === undefined) return found;
    // The disk is away: straight from memory, and for that reason in order.
    return this.#takeHeld(nowMs);
  }

  #takeHeld(nowMs: number): readonly Taken[] {
    const held: Taken[] = [];
    const messages = this.#firstHeld();
    this.#settleHeld();
    for (const message of messages) {
      const { count, dueAtMs } = this.#refusals.get(message.id) ?? { count: 0, dueAtMs: 0 };
      if (dueAtMs > nowMs) continue;
      const { id, body, writes } = message;
      held.push({ id, body, writes, refusals: count, message, seq: undefined });
    }
    return held;
  }

  /** Until something is due: 0 when it is, Infinity when there is nothing. */
  get dueInMs(): number {
    const nowMs = this.#options.clock.nowMillis();
    const stored = this.#sent.size > 0 ? this.#retryDiskAtMs : this.#storedDueAtMs();
    const held = this.#held.length > 0 ? Math.min(this.#retryDiskAtMs, this.#heldDueAtMs()) : Number.POSITIVE_INFINITY;
    return Math.max(0, Math.min(stored, held) - nowMs);
  }

  makeDue(): void {
    this.#refusals.clear();
    try {
      this.#options.database.makeDue();
    } catch (error) {
      this.#noteDisk(error);
    }
  }

  /** Takes what became of messages that were taken. Never throws. */
  settle(outgoing: readonly Outgoing[], refused: ReadonlySet<string>, isLastRound: boolean): void {
    const taken = outgoing as readonly Taken[];
    const gone = taken.filter(({ id }) => !refused.has(id));
    for (const { seq, message } of gone) {
      if (seq === undefined) this.#dropHeld(message);
      else this.#sent.add(seq);
    }
    try {
      this.#removeSent();
      for (const one of taken) if (refused.has(one.id)) this.#putBack(one, isLastRound);
    } catch (error) {
      this.#noteDisk(error);
    }
    this.#settleHeld();
  }

  #takeStored(nowMs: number): readonly Taken[] {
    if (this.#sent.size > 0) this.store();
    try {
      // What could not be deleted yet would be sent again and again.
      return this.#options.database.due(nowMs, TAKE_BYTES, this.#sent).map((message) => {
        const { id, body, writes, refusals, seq } = message;
        return { id, body, writes, refusals, message, seq };
      });
    } catch (error) {
      this.#noteDisk(error);
      return [];
    }
  }

  #removeSent(): void {
    while (this.#sent.size > 0) {
      const seqs = [...this.#sent].slice(0, MAX_REMOVED);
      this.#options.database.remove(seqs);
      for (const seq of seqs) this.#sent.delete(seq);
    }
  }

  /** With a pause of its own, so that it keeps no other one waiting; aside, when the queue will never take it. */
  #putBack({ seq, message, refusals: before }: Taken, isLastRound: boolean): void {
    const { database, clock, maxPauseMs, maxRefusals = MAX_REFUSALS } = this.#options;
    const count = before + 1;
    const pauseMs = isLastRound ? 0 : Math.min(MIN_PAUSE_MS * 2 ** (count - 1), maxPauseMs);
    const dueAtMs = clock.nowMillis() + pauseMs;
    if (seq === undefined) {
      this.#refusals.set(message.id, { count, dueAtMs });
      return;
    }
    const parts = count === SPLIT_AFTER ? splitMessage(message) : undefined;
    if (parts !== undefined) database.replace(seq, parts);
    else if (count < maxRefusals) database.putBack(seq, count, dueAtMs);
    else {
      database.setAside(seq);
      this.#options.logger.error('failed writes are set aside: the queue does not take them', { id: message.id });
      this.#options.onSetAside(message, 'a failed write is refused by the queue');
    }
  }

  #dropHeld(message: NewMessage): void {
    this.#refusals.delete(message.id);
    for (const { made } of this.#held) {
      if (made === undefined) return;
      made.messages = made.messages.filter((one) => one !== message);
    }
  }

  /** Messages of the first chunks in memory. */
  #firstHeld(): NewMessage[] {
    const found: NewMessage[] = [];
    let bytes = 0;
    for (const held of this.#held) {
      for (const message of this.#made(held).messages) {
        found.push(message);
        bytes += message.body.length;
      }
      if (bytes >= TAKE_BYTES) break;
    }
    return found;
  }

  #made(held: Held): NonNullable<Held['made']> {
    if (held.made === undefined) {
      const { messages, lost } = this.#options.bundle(held.chunk);
      held.made = { messages, writes: messages.reduce((sum, one) => sum + one.writes, 0), lost };
    }
    return held.made;
  }

  #settleHeld(): void {
    while (this.#held[0]?.made?.messages.length === 0) this.#keptFirst();
  }

  /** In their order: a chunk is never told to be kept before an earlier one. */
  #keptFirst(): void {
    const { number, made } = this.#held.shift()!;
    this.#lastChunk = number;
    this.#options.onKept(number, made?.writes ?? 0, made?.lost ?? []);
  }

  #storedDueAtMs(): number {
    try {
      return this.#options.database.next?.dueAtMs ?? Number.POSITIVE_INFINITY;
    } catch (error) {
      this.#noteDisk(error);
      return this.#retryDiskAtMs;
    }
  }

  #heldDueAtMs(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { id } of this.#firstHeld()) least = Math.min(least, this.#refusals.get(id)?.dueAtMs ?? 0);
    return least;
  }

  #noteDisk(error: unknown): void {
    const text = describeError(error);
    if (this.#diskError !== text) {
      this.#options.logger.error('the journal can not be written; failed writes are in memory until it can, or sent', {
        error: text,
      });
    }
    this.#diskError = text;
    this.#retryDiskAtMs = this.#options.clock.nowMillis() + DISK_RETRY_MS;
  }
}
