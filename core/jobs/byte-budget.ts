import type { Clock } from '../ports.ts';

/** How far a budget may be used ahead. */
const BURST_MS = 1000;

/** So many bytes a second: whoever has used more waits. */
export class ByteBudget {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  readonly #sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** When the bytes used so far are paid for. Milliseconds since the epoch. */
  #paidUntil = 0;

  constructor(bytesPerSecond: number, clock: Clock, sleep: (ms: number, signal?: AbortSignal) => Promise<void>) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
    this.#sleep = sleep;
  }

  /** Waits until the budget allows these bytes. */
  async pay(bytes: number, signal?: AbortSignal): Promise<void> {
    const now = this.#clock.nowMillis();
    this.#paidUntil = Math.max(this.#paidUntil, now - BURST_MS) + (bytes * 1000) / this.#bytesPerSecond;
    const aheadMs = this.#paidUntil - now;
    if (aheadMs > BURST_MS) await this.#sleep(aheadMs - BURST_MS, signal);
  }
}
