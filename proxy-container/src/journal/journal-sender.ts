import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';
import type { Outbox, Outgoing } from './outbox.ts';

const MIN_BACKOFF_MS = 250;
/** What fails together travels together. */
const GATHER_MS = 50;
const MAX_REQUESTS = 4;
/** Of one request to the queue, which takes no more. */
const MAX_ENTRIES = 10;
const MAX_REQUEST_BYTES = 256 * 1024;

export interface JournalSenderOptions {
  readonly outbox: Outbox;
  readonly queue: FailedWriteQueue;
  readonly maxBackoffMs: number;
  readonly logger: Logger;
  /** Called after each request. */
  readonly onChange: () => void;
}

/** Moves messages into the queue, oldest first, for as long as it takes; a queue that is away delays nothing else. */
export class JournalSender {
  readonly #options: JournalSenderOptions;
  /** Ends the pauses: everything gets one more try. */
  readonly #lastRound = new AbortController();
  /** Ends the sending itself. */
  readonly #stop = new AbortController();
  #wake: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #sentCount = 0;
  #lastError: string | undefined;
  #lastSentAtMs: number | undefined;

  constructor(options: JournalSenderOptions) {
    this.#options = options;
  }

  /** Writes that the queue has taken since the start. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /** Why the queue did not take messages last time; undefined when it did. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** When the queue took something last. Milliseconds since the epoch. */
  get lastSentAtMs(): number | undefined {
    return this.#lastSentAtMs;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** There is something new to send. */
  wake(): void {
    this.#wake?.();
  }

  /** Sends what is left for at most `withinMs`, each message once, whatever pause it is in. */
  async stop(withinMs: number): Promise<void> {
    this.#options.outbox.makeDue();
    this.#lastRound.abort();
    this.#wake?.();
    const timer = setTimeout(() => this.#stop.abort(), withinMs);
    await this.#running;
    clearTimeout(timer);
  }

  /** Sends nothing more. */
  abort(): void {
    this.#stop.abort();
    this.#lastRound.abort();
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const { outbox, logger, maxBackoffMs } = this.#options;
    const { signal } = this.#stop;
    /** Of the last round, in which everything is tried once. */
    const tried = new Set<string>();
    let backoffMs = MIN_BACKOFF_MS;
    while (!signal.aborted) {
      const isLastRound = this.#lastRound.signal.aborted;
      const messages = outbox.take().filter(({ id }) => !tried.has(id));
      if (messages.length === 0) {
        if (isLastRound) return;
        await this.#nextDue();
        continue;
      }
      if (isLastRound) for (const { id } of messages) tried.add(id);
      const error = await this.#sendAll(messages, isLastRound, signal);
      this.#options.onChange();
      if (error === undefined) {
        backoffMs = MIN_BACKOFF_MS;
        continue;
      }
      if (signal.aborted) return;
      logger.warn('failed writes wait in the journal: the queue does not take them', {
        error,
        waiting: outbox.counts.messages,
        retryInMs: backoffMs,
      });
      if (isLastRound) continue;
      await this.#pause(backoffMs);
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
    }
  }

  /**
   * Resolves to why the queue is away, or as good as that; undefined: it took something. Sending a message twice is
   * harmless (each write carries its own time), so what became of a request that failed need not be known.
   */
  async #sendAll(
    messages: readonly Outgoing[],
    isLastRound: boolean,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { outbox, queue, logger } = this.#options;
    const requests = [...intoRequests(messages)];
    let error: string | undefined;
    let refusedCount = 0;
    let isAnyTaken = false;
    let isAnyNew = false;
    const lane = async (): Promise<void> => {
      for (let request = requests.shift(); request && error === undefined; request = requests.shift()) {
        try {
          const refused = new Set(
            await queue.send(
              request.map(({ id, body }) => ({ id, body })),
              signal,
            ),
          );
          for (const { id, writes } of request) if (!refused.has(id)) this.#sentCount += writes;
          refusedCount += refused.size;
          if (refused.size < request.length) {
            isAnyTaken = true;
            this.#lastSentAtMs = Date.now();
          }
          isAnyNew ||= request.some(({ id, refusals }) => refused.has(id) && refusals === 0);
          outbox.settle(request, refused, isLastRound);
        } catch (thrown) {
          error ??= describeError(thrown);
        }
        this.#options.onChange();
      }
    };
    await Promise.all(Array.from({ length: Math.min(MAX_REQUESTS, requests.length) }, lane));
    this.#lastError = error;
    if (error !== undefined || refusedCount === 0) return error;
    const text = `the queue refused ${refusedCount} messages`;
    this.#lastError = text;
    // A queue that takes no new message either is away in all but name.
    if (!isAnyTaken && isAnyNew) return text;
    logger.warn('failed writes wait in the journal: the queue takes others', {
      error: text,
      waiting: outbox.counts.messages,
    });
    return undefined;
  }

  /** Waits until there is something to send, and then a moment for more of it. */
  async #nextDue(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      const { dueInMs } = this.#options.outbox;
      if (this.#lastRound.signal.aborted || dueInMs === 0) resolve();
      else if (Number.isFinite(dueInMs)) timer = setTimeout(resolve, dueInMs);
    });
    clearTimeout(timer);
    this.#wake = undefined;
    await this.#pause(GATHER_MS);
    this.#options.outbox.store();
    this.#options.onChange();
  }

  /** Ends at once when the last round begins. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#lastRound.signal }).catch(() => undefined);
  }
}

function* intoRequests(messages: readonly Outgoing[]): Generator<Outgoing[]> {
  let request: Outgoing[] = [];
  let bytes = 0;
  for (const message of messages) {
    const byteCount = Buffer.byteLength(message.body);
    if (request.length === MAX_ENTRIES || (request.length > 0 && bytes + byteCount > MAX_REQUEST_BYTES)) {
      yield request;
      request = [];
      bytes = 0;
    }
    request.push(message);
    bytes += byteCount;
  }
  if (request.length > 0) yield request;
}
