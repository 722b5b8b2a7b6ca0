import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { Mark } from '#core/ledger/mark.ts';
import { WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { Logger } from '#core/ports.ts';

const RETRY_MS = 2_000;
/** One table for one reason goes to the ledger at most this often; a mark in between waits, and is not dropped. */
const REPEAT_MS = 5_000;

interface WaitingMark extends Omit<Mark, 'tokens'> {
  readonly at: string;
}
/** Bounds memory; tables times reasons never come near it. */
const MAX_PENDING = 100_000;

/**
 * Tables that may differ between the clusters, on their way into the ledger. A mark is on this machine's disk until the
 * ledger has it, so that neither a ledger that is away nor a restart loses it.
 */
export class SuspectMarks {
  readonly #ledger: Ledger;
  readonly #instance: string;
  readonly #logger: Logger;
  readonly #path: string;
  readonly #pending = new Map<string, WaitingMark>();
  readonly #lastSentMs = new Map<string, number>();
  #sending: Promise<void> | undefined;
  #saving: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #count = 0;

  constructor(options: { ledger: Ledger; instance: string; directory: string; logger: Logger }) {
    this.#ledger = options.ledger;
    this.#instance = options.instance;
    this.#logger = options.logger;
    this.#path = join(options.directory, 'suspects.jsonl');
  }

  /** Marks made since the start, repetitions included. */
  get count(): number {
    return this.#count;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /**
   * Takes over what an earlier process could not bring to the ledger. When it noted the last loss is not on the disk, so
   * the marks are of now: a validation that ran meanwhile must not take them for looked at.
   */
  async restore(): Promise<void> {
    const text = await readFile(this.#path, 'utf8').catch(() => '');
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const mark: WaitingMark = { ...(JSON.parse(line) as WaitingMark), at: new Date().toISOString() };
      this.#pending.set(keyOf(mark), mark);
    }
    this.#schedule(0);
  }

  mark({ keyspace, table, code, reason, lacking }: Mark): void {
    this.#count++;
    const mark: WaitingMark = { keyspace, table, code, reason, lacking, at: new Date().toISOString() };
    const key = keyOf(mark);
    if (this.#pending.has(key)) {
      // The last loss counts: a validation that began before it has not looked at it.
      this.#pending.set(key, mark);
      return;
    }
    if (this.#pending.size >= MAX_PENDING) return;
    this.#pending.set(key, mark);
    if (!this.#lastSentMs.has(key)) this.#logger.warn('a table is marked suspect', { keyspace, table, code, reason });
    this.#save();
    this.#schedule(0);
  }

  /** Tries once to bring everything to the ledger; what it does not take stays on the disk. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // What is under way has not seen the last ones.
    await this.#sending;
    await this.#send(true);
    await this.#saving;
  }

  #save(): void {
    this.#saving = this.#saving.then(async () => {
      try {
        if (this.#pending.size === 0) return await rm(this.#path, { force: true });
        await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
        const lines = [...this.#pending.values()].map((mark) => `${JSON.stringify(mark)}\n`);
        await writeFile(`${this.#path}.new`, lines.join(''), { mode: 0o600, flush: true });
        await rename(`${this.#path}.new`, this.#path);
      } catch (error) {
        this.#logger.error('suspect marks could not be written to the disk', { error: describeError(error) });
      }
    });
  }

  #schedule(delayMs: number): void {
    if (this.#pending.size === 0) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#send(false);
    }, delayMs).unref();
  }

  #send(isFinal: boolean): Promise<void> {
    this.#sending ??= this.#sendDue(isFinal).finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  async #sendDue(isFinal: boolean): Promise<void> {
    try {
      for (const [key, mark] of [...this.#pending]) {
        const sinceMs = performance.now() - (this.#lastSentMs.get(key) ?? Number.NEGATIVE_INFINITY);
        if (sinceMs < REPEAT_MS && !isFinal) continue;
        await this.#sendOne(mark);
        this.#lastSentMs.set(key, performance.now());
        // A loss that came while it was sent is another mark, which waits for its turn.
        if (this.#pending.get(key) === mark) this.#pending.delete(key);
        this.#save();
      }
      this.#schedule(REPEAT_MS);
    } catch (error) {
      this.#logger.warn('suspect marks wait: the ledger does not take them', {
        error: describeError(error),
        waiting: this.#pending.size,
      });
      this.#schedule(RETRY_MS);
    }
  }

  async #sendOne({ keyspace, table, code, reason, lacking, at }: WaitingMark): Promise<void> {
    const id = `${this.#instance}-${at}-${lacking ?? 'either'}-${reason.slice(0, 60).replaceAll(/[^a-zA-Z0-9]+/g, '-')}`;
    const by = this.#instance;
    await this.#ledger.addSuspect(id, { version: 1, keyspace, table, range: null, reason, code, lacking, by, at });
    if (table === WHOLE_KEYSPACE) return;
    await this.#ledger.setTable(keyspace, table, 'suspect', { now: new Date(at), by, reason });
  }
}

function keyOf(mark: WaitingMark): string {
  return `${mark.keyspace}.${mark.table} ${mark.lacking} ${mark.reason}`;
}
