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
  /** Ends the pauses: everything gets one more try. */
  readonly #lastRound = new AbortController();
  /** Ends the sending itself. */
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

  /**
   * Sends what is left for at most `withinMs`, each message once, whatever pause it is in; what does not leave stays on
   * the disk for the next process.
   */
  async stop(withinMs: number): Promise<void> {
    this.#options.journal.makeDue();
    this.#lastRound.abort();
    this.#wake?.();
    const timer = setTimeout(() => this.#stop.abort(), withinMs);
    await this.#running;
    clearTimeout(timer);
  }

  async #run(): Promise<void> {
    const { journal, logger, maxBackoffMs } = this.#options;
    const { signal } = this.#stop;
    let backoffMs = MIN_BACKOFF_MS;
    while (!signal.aborted) {
      try {
        const segment = await journal.oldest();
        if (!segment) {
          if (this.#lastRound.signal.aborted) return;
          await this.#nextDue();
          continue;
        }
        const { messages } = segment;
        const isFirstTry = messages.some(({ id }) => !this.#refusals.has(id));
        const refused = await this.#sendAll(messages, signal);
        await this.#putBack(refused);
        await segment.done();
        this.#lastError = refused.length > 0 ? `the queue refused ${refused.length} messages` : undefined;
        if (refused.length < messages.length) backoffMs = MIN_BACKOFF_MS;
        // A queue that takes no new message either is away in all but name.
        else if (isFirstTry) throw new Error(this.#lastError);
        if (this.#lastError !== undefined) {
          logger.warn('failed writes wait in the journal: the queue takes others', {
            error: this.#lastError,
            waiting: journal.messageCount,
          });
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#lastError = describeError(error);
        logger.warn('failed writes wait in the journal: the queue does not take them', {
          error: this.#lastError,
          waiting: journal.messageCount,
          retryInMs: backoffMs,
        });
        if (this.#lastRound.signal.aborted) return;
        await this.#pause(backoffMs);
        backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
      }
    }
  }

  /** Each with a pause of its own, so that it keeps no other one waiting; aside, when the queue will never take it. */
  async #putBack(refused: readonly QueuedMessage[]): Promise<void> {
    if (refused.length === 0) return;
    const { journal, maxBackoffMs, maxRefusals = MAX_REFUSALS } = this.#options;
    const byCount = new Map<number, QueuedMessage[]>();
    for (const message of refused) {
      const count = (this.#refusals.get(message.id) ?? 0) + 1;
      this.#refusals.set(message.id, count);
      byCount.set(count, [...(byCount.get(count) ?? []), message]);
    }
    for (const [count, messages] of byCount) {
      const pauseMs = Math.min(MIN_BACKOFF_MS * 2 ** (count - 1), maxBackoffMs);
      const waitMs = this.#lastRound.signal.aborted ? Number.POSITIVE_INFINITY : pauseMs;
      for (const message of count < maxRefusals ? journal.putBack(messages, waitMs) : messages) {
        await journal.setAside(message);
        this.#refusals.delete(message.id);
      }
    }
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

  /** Waits until there is something to send, and then a moment for more of it. */
  async #nextDue(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      const { dueInMs } = this.#options.journal;
      if (this.#lastRound.signal.aborted || dueInMs === 0) resolve();
      else if (Number.isFinite(dueInMs)) timer = setTimeout(resolve, dueInMs);
    });
    clearTimeout(timer);
    this.#wake = undefined;
    await this.#pause(IDLE_MS);
  }

  /** Ends at once when the last round begins. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#lastRound.signal }).catch(() => undefined);
  }
}
