import type { FailedWriteQueue } from '#core/ports.ts';
import type { ProxyStatus } from './status.ts';

const FRESH_MS = 15_000;

/** How much waits in the queue of failed writes: asked for when somebody looks, at most every 15 s, and never waited for. */
export class QueueDepth {
  readonly #queue: FailedWriteQueue | null;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #last: ProxyStatus['queue'] = null;

  constructor(queue: FailedWriteQueue | null) {
    this.#queue = queue;
  }

  /** The last answer; null before the first one, and when the queue did not answer. */
  get last(): ProxyStatus['queue'] {
    const nowMs = performance.now();
    if (this.#queue && nowMs - this.#askedAtMs >= FRESH_MS) {
      this.#askedAtMs = nowMs;
      void this.#ask(this.#queue);
    }
    return this.#last;
  }

  async #ask(queue: FailedWriteQueue): Promise<void> {
    try {
      const { waiting, inFlight, deadLetters } = await queue.depth();
      this.#last = { waiting, in_flight: inFlight, dead: deadLetters };
    } catch {
      // It may be away, or this proxy may not look: sending says so where it matters.
      this.#last = null;
    }
  }
}
