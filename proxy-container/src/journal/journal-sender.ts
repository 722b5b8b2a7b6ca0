import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { FailedWriteQueue, Logger, QueuedMessage } from '#core/ports.ts';
import type { Journal } from './journal.ts';

const MIN_BACKOFF_MS = 250;
const IDLE_MS = 200;
/** With growing pauses between them a store that is away for minutes costs no message its turn. */
const MAX_REFUSALS = 20;

export interface JournalSenderOptions {
  readonly journal: Journal;
  readonly queue: FailedWriteQueue;
  readonly batchSize: number;
  readonly maxBackoffMs: number;
  /** So often the queue, which takes others, may refuse a message before it is set aside. */
  readonly maxRefusals?: number;
  readonly logger: Logger;
}

/** Moves the journal into the queue, oldest first, for as long as it takes; a queue that is away delays nothing else. */
export class JournalSender {
  readonly #options: JournalSenderOptions;
  readonly #stop = new AbortController();
  #wake: (() => void) | undefined;
  #running: Promise<void> | undefined;
  /** How often the queue refused a message, by id. */
  readonly #refusals = new Map<string, number>();
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
        const refused = await this.#sendAll(segment.messages, signal);
        for (const message of refused) await this.#putBack(message);
        await segment.done();
        if (refused.length > 0) throw new Error(`the queue refused ${refused.length} messages`);
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

  /** Behind the others, so that it keeps none of them waiting; aside, when the queue will never take it. */
  async #putBack(message: QueuedMessage): Promise<void> {
    const count = (this.#refusals.get(message.id) ?? 0) + 1;
    this.#refusals.set(message.id, count);
    if (count < (this.#options.maxRefusals ?? MAX_REFUSALS) && this.#options.journal.append(message)) return;
    await this.#options.journal.setAside(message);
    this.#refusals.delete(message.id);
  }

  /**
   * Resolves to what the queue refused, though it took others or at least answered. Sending a message twice is harmless
   * (it carries its own timestamp), so after an error a segment is repeated as a whole.
   */
  async #sendAll(messages: readonly QueuedMessage[], signal: AbortSignal): Promise<QueuedMessage[]> {
    const left: QueuedMessage[] = [];
    for (let start = 0; start < messages.length; start += this.#options.batchSize) {
      const batch = messages.slice(start, start + this.#options.batchSize);
      const refused = new Set(await this.#options.queue.send(batch, signal));
      this.#sentCount += batch.length - refused.size;
      for (const message of batch) {
        if (refused.has(message.id)) left.push(message);
        else this.#refusals.delete(message.id);
      }
    }
    return left;
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
