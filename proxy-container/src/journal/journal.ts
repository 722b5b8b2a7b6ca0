import { type FileHandle, mkdir, open, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { Logger, QueuedMessage } from '#core/ports.ts';

/** A segment on disk: lines `<id> TAB <body> LF`. A body is one line of JSON, so neither byte occurs inside it. */
const FILE_NAME = /^(\d{12})\.journal$/;
const SEGMENT_BYTES = 1024 * 1024;
const MEMORY_BYTES = 32 * 1024 * 1024;
const SYNC_INTERVAL_MS = 50;

interface Segment {
  readonly sequence: number;
  readonly path: string;
  /** undefined: on disk only, read again when its turn comes. */
  messages: QueuedMessage[] | undefined;
  messageCount: number;
  byteCount: number;
}

export interface JournalOptions {
  readonly directory: string;
  /** Of all segments together. */
  readonly maxBytes: number;
  readonly logger: Logger;
  /** The disk refused these; they are still in memory and will be sent, but a crash would lose them. */
  readonly onNotDurable: (messages: readonly QueuedMessage[]) => void;
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
  /** The path of the open file. */
  #fileOf: string | undefined;
  #unwritten: { readonly segment: Segment; readonly messages: QueuedMessage[] }[] = [];
  #work: Promise<void> = Promise.resolve();
  #isWorkQueued = false;
  #syncTimer: NodeJS.Timeout | undefined;
  #bytes = 0;
  #memoryBytes = 0;
  #messageCount = 0;
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
      const messages = await readSegment(path, options.logger);
      const sequence = Number(FILE_NAME.exec(name)![1]);
      journal.#nextSequence = Math.max(journal.#nextSequence, sequence + 1);
      const byteCount = messages.reduce((sum, message) => sum + sizeOf(message), 0);
      journal.#segments.push({ sequence, path, messages: undefined, messageCount: messages.length, byteCount });
      journal.#bytes += byteCount;
      journal.#messageCount += messages.length;
    }
    return journal;
  }

  get messageCount(): number {
    return this.#messageCount;
  }

  get byteCount(): number {
    return this.#bytes;
  }

  /** False: there is no room; the caller marks what it would have written. */
  append(message: QueuedMessage): boolean {
    const size = sizeOf(message);
    if (this.#bytes + size > this.#options.maxBytes) return false;
    const segment = this.#activeSegment();
    segment.messages?.push(message);
    segment.messageCount++;
    segment.byteCount += size;
    this.#bytes += size;
    this.#memoryBytes += size;
    this.#messageCount++;
    const last = this.#unwritten.at(-1);
    if (last?.segment === segment) last.messages.push(message);
    else this.#unwritten.push({ segment, messages: [message] });
    this.#queueWork();
    this.onAppend?.();
    return true;
  }

  /** The oldest segment, closed for further appends, or undefined when there is nothing to send. */
  async oldest(): Promise<{ readonly messages: readonly QueuedMessage[]; done(): Promise<void> } | undefined> {
    const segment = this.#segments[0];
    if (!segment) return undefined;
    if (segment === this.#active) this.#active = undefined;
    await this.flush();
    segment.messages ??= await readSegment(segment.path, this.#options.logger);
    return { messages: segment.messages, done: () => this.#remove(segment) };
  }

  /** Resolves when everything appended so far is on the disk. */
  async flush(): Promise<void> {
    this.#queueWork();
    await this.#work;
    await this.#file?.datasync().catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.flush();
    clearTimeout(this.#syncTimer);
    await this.#file?.close();
    this.#file = undefined;
  }

  #activeSegment(): Segment {
    const active = this.#active;
    if (active && active.byteCount < SEGMENT_BYTES) return active;
    // What does not fit into memory is read from the disk again when its turn comes.
    if (active && this.#memoryBytes > MEMORY_BYTES) this.#forget(active);
    const sequence = this.#nextSequence++;
    const path = join(this.#options.directory, `${String(sequence).padStart(12, '0')}.journal`);
    this.#active = { sequence, path, messages: [], messageCount: 0, byteCount: 0 };
    this.#segments.push(this.#active);
    this.#queueWork();
    return this.#active;
  }

  #forget(segment: Segment): void {
    const written = this.#work;
    void written.then(() => {
      if (segment.messages === undefined || this.#segments[0] === segment) return;
      segment.messages = undefined;
      this.#memoryBytes -= segment.byteCount;
    });
  }

  /** One writer at a time; what is appended meanwhile leaves with the next round. */
  #queueWork(): void {
    if (this.#isWorkQueued || this.#unwritten.length === 0) return;
    this.#isWorkQueued = true;
    this.#work = this.#work.then(() => this.#write());
  }

  async #write(): Promise<void> {
    this.#isWorkQueued = false;
    const groups = this.#unwritten;
    this.#unwritten = [];
    for (const { segment, messages } of groups) {
      // Sent and removed before its turn came.
      if (!this.#segments.includes(segment)) continue;
      try {
        await this.#writeTo(segment.path, messages.map((message) => `${message.id}\t${message.body}\n`).join(''));
      } catch (error) {
        this.#options.logger.error('the journal could not be written', { error: describeError(error) });
        this.#options.onNotDurable(messages);
      }
    }
  }

  async #writeTo(path: string, text: string): Promise<void> {
    if (this.#fileOf !== path) {
      await this.#file?.datasync();
      await this.#file?.close();
      this.#fileOf = undefined;
      this.#file = await open(path, 'a', 0o600);
      this.#fileOf = path;
    }
    await this.#file!.appendFile(text);
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = undefined;
      void this.#file?.datasync().catch(() => undefined);
    }, SYNC_INTERVAL_MS).unref();
  }

  async #remove(segment: Segment): Promise<void> {
    const index = this.#segments.indexOf(segment);
    if (index < 0) return;
    this.#segments.splice(index, 1);
    this.#bytes -= segment.byteCount;
    this.#messageCount -= segment.messageCount;
    this.#memoryBytes = Math.max(0, this.#memoryBytes - segment.byteCount);
    // In turn with the writes: the file may be the one that is open.
    this.#work = this.#work.then(() => this.#unlink(segment.path));
    await this.#work;
  }

  async #unlink(path: string): Promise<void> {
    if (this.#fileOf === path) {
      this.#fileOf = undefined;
      await this.#file?.close();
      this.#file = undefined;
    }
    await unlink(path).catch(() => undefined);
  }
}

function sizeOf(message: QueuedMessage): number {
  return message.id.length + message.body.length + 2;
}

/** A last line without its end was being written when the process died. */
async function readSegment(path: string, logger: Logger): Promise<QueuedMessage[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const lines = text.split('\n');
  if (lines.pop() !== '') logger.warn('the last record of a journal segment is torn and left out', { path });
  return lines.flatMap((line) => {
    const tab = line.indexOf('\t');
    return tab > 0 ? [{ id: line.slice(0, tab), body: line.slice(tab + 1) }] : [];
  });
}
