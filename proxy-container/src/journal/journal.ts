import { type FileHandle, mkdir, open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import { findTables, type TableName } from '#core/model/failed-write.ts';
import type { Logger, QueuedMessage } from '#core/ports.ts';
import type { JournalHealth } from './journal-health.ts';
import { lineOf, readSegment, sizeOf, tablesOf } from './segment-file.ts';

const FILE_NAME = /^(\d{12})\.journal$/;
const SEGMENT_BYTES = 1024 * 1024;
const MEMORY_BYTES = 32 * 1024 * 1024;
const SYNC_INTERVAL_MS = 50;
/** After the disk refused a write, the next file is begun this much later. */
const DISK_RETRY_MS = 1000;
/** Messages that the queue does not take; of the form of a segment, so that it can be made one again by renaming it. */
const SET_ASIDE_NAME = 'set-aside';

interface Segment {
  readonly sequence: number;
  readonly path: string;
  /** undefined: on disk only, read again when its turn comes. */
  messages: QueuedMessage[] | undefined;
  messageCount: number;
  byteCount: number;
  /** False: the disk refused a part of it, so memory has the only whole copy, and nothing more is written to its file. */
  isOnDisk: boolean;
  /** What its messages write, known before they leave the memory. */
  tables: readonly TableName[];
  /** Its turn does not come before, by `performance.now()`. */
  notBeforeMs: number;
  /** No message in it is older. Milliseconds since the epoch. */
  createdAtMs: number;
}

export interface JournalOptions {
  readonly directory: string;
  /** Of all segments together. */
  readonly maxBytes: number;
  /** Of the segments that are kept in memory besides the disk; also the most that is held while the disk refuses. */
  readonly memoryBytes?: number;
  readonly logger: Logger;
  /** Messages that write these tables are lost, or would be by a crash. */
  readonly onDoubt: (tables: readonly TableName[], reason: string) => void;
}

/**
 * Failed shadow writes on this machine's disk until the queue has taken them. Appending never waits: lines are written
 * and synced in the background. It holds values of the application, so its files are the owner's alone.
 */
export class Journal {
  readonly #options: JournalOptions;
  readonly #segments: Segment[] = [];
  #nextSequence = 1;
  #active: Segment | undefined;
  #file: FileHandle | undefined;
  /** The segment of the open file. */
  #fileOf: Segment | undefined;
  #unwritten: { readonly segment: Segment; readonly messages: QueuedMessage[] }[] = [];
  #work: Promise<void> = Promise.resolve();
  #isWorkQueued = false;
  #syncTimer: NodeJS.Timeout | undefined;
  #bytes = 0;
  #memoryBytes = 0;
  /** Of the segments that are in memory only. */
  #undurableBytes = 0;
  #retryDiskAtMs = 0;
  #messageCount = 0;
  #lostCount = 0;
  #setAsideCount = 0;
  /** Called after each append. */
  onAppend: (() => void) | undefined;

  private constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** Opens the directory and finds what an earlier process left in it. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    const names = (await readdir(options.directory)).filter((name) => FILE_NAME.test(name)).sort();
    for (const name of names) {
      const path = join(options.directory, name);
      const { messages, torn } = await readSegment(path);
      if (torn !== undefined) journal.#reportTorn(path, torn);
      const sequence = Number(FILE_NAME.exec(name)![1]);
      journal.#nextSequence = Math.max(journal.#nextSequence, sequence + 1);
      const byteCount = messages.reduce((sum, message) => sum + sizeOf(message), 0);
      const tables = tablesOf(messages);
      const messageCount = messages.length;
      const read = { sequence, path, messages: undefined, messageCount, byteCount, isOnDisk: true, tables };
      journal.#segments.push({ ...read, notBeforeMs: 0, createdAtMs: (await stat(path)).birthtimeMs });
      journal.#bytes += byteCount;
      journal.#messageCount += messageCount;
    }
    const aside = await readSegment(join(options.directory, SET_ASIDE_NAME)).catch(() => undefined);
    journal.#setAsideCount = aside?.messages.length ?? 0;
    return journal;
  }

  /** What waits. */
  get health(): Pick<JournalHealth, 'messages' | 'bytes' | 'oldestAtMs'> {
    const oldestAtMs = this.#segments.reduce((least, { createdAtMs }) => Math.min(least, createdAtMs), Infinity);
    return {
      messages: this.#messageCount,
      bytes: this.#bytes,
      oldestAtMs: Number.isFinite(oldestAtMs) ? oldestAtMs : null,
    };
  }

  /** What failed before is in the queue. Milliseconds since the epoch. */
  get settledAtMs(): number {
    return this.health.oldestAtMs ?? Date.now();
  }

  get messageCount(): number {
    return this.#messageCount;
  }

  get byteCount(): number {
    return this.#bytes;
  }

  /** Messages that are gone, of which there is nothing but the mark of their tables, or not even that (see the log). */
  get lostCount(): number {
    return this.#lostCount;
  }

  /** Messages that the queue never took, kept beside the segments. */
  get setAsideCount(): number {
    return this.#setAsideCount;
  }

  /** False: there is no room; the caller marks what it would have written. */
  append(message: QueuedMessage): boolean {
    const size = sizeOf(message);
    if (this.#bytes + size > this.#options.maxBytes) return false;
    if (this.#undurableBytes > 0 && this.#undurableBytes + size > this.#memoryLimit) return false;
    const segment = this.#activeSegment();
    segment.messages?.push(message);
    segment.messageCount++;
    segment.byteCount += size;
    this.#bytes += size;
    this.#memoryBytes += size;
    this.#messageCount++;
    if (segment.isOnDisk) {
      const last = this.#unwritten.at(-1);
      if (last?.segment === segment) last.messages.push(message);
      else this.#unwritten.push({ segment, messages: [message] });
      this.#queueWork();
    } else {
      this.#undurableBytes += size;
      this.#reportUndurable([message]);
    }
    this.onAppend?.();
    return true;
  }

  /**
   * Appends messages in segments of their own, whose turn comes no sooner than in `waitMs`; returns those for which
   * there is no room.
   */
  putBack(messages: readonly QueuedMessage[], waitMs: number): QueuedMessage[] {
    const notBeforeMs = performance.now() + waitMs;
    this.#active = undefined;
    const left = messages.filter((message) => {
      if (!this.append(message)) return true;
      this.#active!.notBeforeMs = notBeforeMs;
      return false;
    });
    this.#active = undefined;
    return left;
  }

  /** Until there is something to send: 0 when there is, Infinity when there is nothing at all. */
  get dueInMs(): number {
    const first = this.#segments.reduce((least, { notBeforeMs }) => Math.min(least, notBeforeMs), Infinity);
    return Math.max(0, first - performance.now());
  }

  /** What was put back waits no longer. */
  makeDue(): void {
    for (const segment of this.#segments) segment.notBeforeMs = 0;
  }

  /** The oldest segment that is due, closed for further appends, or undefined when there is nothing to send. */
  async oldest(): Promise<{ readonly messages: readonly QueuedMessage[]; done(): Promise<void> } | undefined> {
    const nowMs = performance.now();
    const segment = this.#segments.find(({ notBeforeMs }) => notBeforeMs <= nowMs);
    if (!segment) return undefined;
    if (segment === this.#active) this.#active = undefined;
    await this.flush();
    const messages = segment.messages ?? (await this.#readAgain(segment));
    return { messages, done: () => this.#remove(segment) };
  }

  /** Keeps a message that the queue does not take where it is in nobody's way, until somebody looks. */
  async setAside(message: QueuedMessage): Promise<void> {
    this.#setAsideCount++;
    const reason = 'a failed write is refused by the queue';
    this.#options.logger.error('a failed write is set aside: the queue does not take it', {
      id: message.id,
      file: join(this.#options.directory, SET_ASIDE_NAME),
    });
    this.#options.onDoubt(tablesOf([message]), reason);
    try {
      const file = await open(join(this.#options.directory, SET_ASIDE_NAME), 'a', 0o600);
      try {
        await file.appendFile(lineOf(message));
        await file.datasync();
      } finally {
        await file.close();
      }
    } catch (error) {
      this.#lostCount++;
      this.#options.logger.error('a failed write is lost: the disk refused it too', { error: describeError(error) });
    }
  }

  /** Resolves when everything appended so far is on the disk, or reported. */
  async flush(): Promise<void> {
    this.#queueWork();
    await this.#inTurn(() => this.#sync());
  }

  async close(): Promise<void> {
    await this.flush();
    clearTimeout(this.#syncTimer);
    await this.#inTurn(() => this.#closeFile());
  }

  get #memoryLimit(): number {
    return this.#options.memoryBytes ?? MEMORY_BYTES;
  }

  #activeSegment(): Segment {
    const active = this.#active;
    const isUsable = active?.isOnDisk || performance.now() < this.#retryDiskAtMs;
    if (active && isUsable && active.byteCount < SEGMENT_BYTES) return active;
    const sequence = this.#nextSequence++;
    const path = join(this.#options.directory, `${String(sequence).padStart(12, '0')}.journal`);
    const empty = { sequence, path, messages: [], messageCount: 0, byteCount: 0, isOnDisk: true, tables: [] };
    this.#active = { ...empty, notBeforeMs: 0, createdAtMs: Date.now() };
    this.#segments.push(this.#active);
    return this.#active;
  }

  /** What does not fit into memory is read from the disk again when its turn comes. */
  #forgetSome(closed: Segment): void {
    if (this.#memoryBytes <= this.#memoryLimit || !closed.isOnDisk || closed === this.#active) return;
    if (closed.messages === undefined || this.#segments[0] === closed || !this.#segments.includes(closed)) return;
    closed.tables = tablesOf(closed.messages);
    closed.messages = undefined;
    this.#memoryBytes -= closed.byteCount;
  }

  async #readAgain(segment: Segment): Promise<QueuedMessage[]> {
    try {
      const { messages } = await readSegment(segment.path);
      segment.messages = messages;
      this.#memoryBytes += segment.byteCount;
      const missing = segment.messageCount - messages.length;
      if (missing > 0) this.#reportLost(segment, missing, 'it is shorter than it was');
      return messages;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        this.#reportLost(segment, segment.messageCount, 'it is gone');
        return [];
      }
      this.#options.onDoubt(segment.tables, 'failed writes can not be read from the journal');
      // The others need not wait for it.
      this.#segments.push(...this.#segments.splice(this.#segments.indexOf(segment), 1));
      throw error;
    }
  }

  #reportTorn(path: string, torn: string): void {
    const tables = findTables(torn) ?? [];
    this.#lostCount++;
    this.#options.logger.error('the last record of a journal segment is torn: a failed write is lost', {
      path,
      tables: tables.map(({ keyspace, table }) => `${keyspace}.${table}`),
    });
    this.#options.onDoubt(tables, 'a failed write was torn on the disk');
  }

  #reportLost(segment: Segment, count: number, why: string): void {
    this.#lostCount += count;
    this.#options.logger.error('failed writes are lost with a file of the journal', { path: segment.path, count, why });
    this.#options.onDoubt(segment.tables, 'failed writes are lost with a file of the journal');
  }

  #reportUndurable(messages: readonly QueuedMessage[]): void {
    this.#options.onDoubt(tablesOf(messages), 'failed writes were in memory only: the disk refused them');
  }

  /** One writer at a time; what is appended meanwhile leaves with the next round. */
  #queueWork(): void {
    if (this.#isWorkQueued || this.#unwritten.length === 0) return;
    this.#isWorkQueued = true;
    void this.#inTurn(() => this.#write());
  }

  /** Everything that touches the open file; none of it rejects. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(work);
    return this.#work;
  }

  async #write(): Promise<void> {
    this.#isWorkQueued = false;
    const groups = this.#unwritten;
    this.#unwritten = [];
    for (const { segment, messages } of groups) {
      // Sent and removed before its turn came.
      if (!this.#segments.includes(segment)) continue;
      if (!segment.isOnDisk) {
        this.#reportUndurable(messages);
        continue;
      }
      try {
        await this.#writeTo(segment, messages.map(lineOf).join(''));
      } catch (error) {
        await this.#keepInMemory(segment, messages, error);
      }
    }
  }

  async #writeTo(segment: Segment, text: string): Promise<void> {
    if (this.#fileOf !== segment) {
      await this.#sync();
      await this.#closeFile();
      this.#file = await open(segment.path, 'a', 0o600);
      this.#fileOf = segment;
    }
    await this.#file!.appendFile(text);
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = undefined;
      void this.#inTurn(() => this.#sync());
    }, SYNC_INTERVAL_MS).unref();
  }

  async #sync(): Promise<void> {
    const segment = this.#fileOf;
    try {
      await this.#file?.datasync();
    } catch (error) {
      // What of it reached the disk is not known, so all of it counts as not there.
      if (segment) await this.#keepInMemory(segment, segment.messages ?? [], error);
    }
  }

  async #closeFile(): Promise<void> {
    const [file, segment] = [this.#file, this.#fileOf];
    this.#file = undefined;
    this.#fileOf = undefined;
    await file?.close().catch(() => undefined);
    if (segment) this.#forgetSome(segment);
  }

  /** The file may end in half a record, so nothing is written behind it; the next messages get another file. */
  async #keepInMemory(segment: Segment, messages: readonly QueuedMessage[], error: unknown): Promise<void> {
    this.#options.logger.error('the journal could not be written; failed writes are in memory only', {
      error: describeError(error),
    });
    if (segment.isOnDisk) {
      segment.isOnDisk = false;
      this.#undurableBytes += segment.byteCount;
    }
    this.#retryDiskAtMs = performance.now() + DISK_RETRY_MS;
    this.#reportUndurable(messages);
    if (this.#fileOf === segment) await this.#closeFile();
  }

  async #remove(segment: Segment): Promise<void> {
    const index = this.#segments.indexOf(segment);
    if (index < 0) return;
    this.#segments.splice(index, 1);
    this.#bytes -= segment.byteCount;
    this.#messageCount -= segment.messageCount;
    if (segment.messages !== undefined) this.#memoryBytes -= segment.byteCount;
    if (!segment.isOnDisk) this.#undurableBytes -= segment.byteCount;
    // In turn with the writes: the file may be the one that is open.
    await this.#inTurn(async () => {
      if (this.#fileOf === segment) await this.#closeFile();
      await unlink(segment.path).catch(() => undefined);
    });
  }
}
