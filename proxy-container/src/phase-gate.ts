import type { Phase } from '#core/config/schema.ts';

/** The epoch that this proxy acts on, and whether new requests must wait for the next one. */
export class PhaseGate {
  #phase: Phase;
  #epoch: number;
  #inFlight = 0;
  #held: (() => void)[] | undefined;
  #whenDrained: (() => void) | undefined;

  constructor(phase: Phase, epoch: number) {
    this.#phase = phase;
    this.#epoch = epoch;
  }

  get phase(): Phase {
    return this.#phase;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Requests and shadow writes under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  enter(): void {
    this.#inFlight++;
  }

  leave(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) this.#whenDrained?.();
  }

  /** Runs the request when the next epoch is in force. Only while holding. */
  wait(request: () => void): void {
    this.#held?.push(request);
  }

  /** Holds new requests and waits until those under way are finished. False: they are not, after `withinMs`. */
  async holdAndDrain(withinMs: number): Promise<boolean> {
    this.#held ??= [];
    if (this.#inFlight === 0) return true;
    return new Promise((resolve) => {
      const finish = (isDrained: boolean): void => {
        clearTimeout(timer);
        this.#whenDrained = undefined;
        resolve(isDrained);
      };
      const timer = setTimeout(() => finish(false), withinMs);
      this.#whenDrained = () => finish(true);
    });
  }

  act(phase: Phase, epoch: number): void {
    this.#phase = phase;
    this.#epoch = epoch;
    this.release();
  }

  /** Lets the held requests go on, in the phase that is in force now. */
  release(): void {
    const held = this.#held;
    this.#held = undefined;
    for (const request of held ?? []) request();
  }
}
