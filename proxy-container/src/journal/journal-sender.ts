import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { FailedWriteQueue, Logger, QueuedMessage } from '#core/ports.ts';
import type { Journal } from './journal.ts';

const MIN_BACKOFF_MS = 250;
const IDLE_MS = 200;

export interface JournalSenderOptions {
  readonly journal: Journal;
  readonly queue: FailedWriteQueue;
  readonly batchSize: number;
  readonly maxBackoffMs: number;
  readonly logger: Logger;
}

/** Moves the journal into the queue, oldest first, for as long as it takes; a queue that is away delays nothing else. */
export class JournalSender {
  readonly #options: JournalSenderOptions;
  readonly #stop = new AbortController();
  #wake: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #sentCount = 0;
  #lastError: string | undefined;

  constructor(options: JournalSenderOptions) {
    this.#options = options;
    options.journal.onAppend = () => this.#wake?.();
  }

  /** Messages that the queue has taken since the start. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /** Why the queue did not take messages last time; undefined when it did. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Sends what is left for at most `withinMs`; what does not leave stays on the disk for the next process. */
  async stop(withinMs: number): Promise<void> {
    const deadline = Date.now() + withinMs;
    while (this.#options.journal.messageCount > 0 && Date.now() < deadline && this.#lastError === undefined) {
      this.#wake?.();
      await sleep(20);
    }
    this.#stop.abort();
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let backoffMs = MIN_BACKOFF_MS;
    while (!signal.aborted) {
      try {
        const segment = await this.#options.journal.oldest();
        if (!segment) {
          await this.#nextAppend(signal);
          continue;
        }
        await this.#sendAll(segment.messages, signal);
        await segment.done();
        this.#lastError = undefined;
        backoffMs = MIN_BACKOFF_MS;
      } catch (error) {
        if (signal.aborted) return;
        this.#lastError = describeError(error);
        this.#options.logger.warn('failed writes wait in the journal: the queue does not take them', {
          error: this.#lastError,
          waiting: this.#options.journal.messageCount,
          retryInMs: backoffMs,
        });
        await sleep(backoffMs, undefined, { signal }).catch(() => undefined);
        backoffMs = Math.min(backoffMs * 2, this.#options.maxBackoffMs);
      }
    }
  }

  /** Sending a message twice is harmless (it carries its own timestamp), so a segment is repeated as a whole. */
  async #sendAll(messages: readonly QueuedMessage[], signal: AbortSignal): Promise<void> {
    for (let start = 0; start < messages.length; start += this.#options.batchSize) {
      let batch = messages.slice(start, start + this.#options.batchSize);
      for (let attempt = 1; batch.length > 0; attempt++) {
        const refused = new Set(await this.#options.queue.send(batch, signal));
        this.#sentCount += batch.length - refused.size;
        batch = batch.filter((message) => refused.has(message.id));
        if (batch.length > 0 && attempt >= 3) throw new Error(`the queue refused ${batch.length} messages`);
      }
    }
  }

  /** Waits for an append, and then a moment for more of them. */
  async #nextAppend(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (signal.aborted || this.#options.journal.messageCount > 0) resolve();
    });
    this.#wake = undefined;
    await sleep(IDLE_MS, undefined, { signal }).catch(() => undefined);
  }
}
