import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '#core/config/schema.ts';
import { type HeldRequest, HoldingRoom } from '../requests/holding-room.ts';

const IDLE_POLL_MS = 10;

/** The epoch that this proxy acts on, and whether new requests must wait for the next one. */
export class PhaseGate {
  #phase: Phase;
  #epoch: number;
  #inFlight = 0;
  /** Of those, the ones of the epoch in force. */
  #currentInFlight = 0;
  readonly #room = new HoldingRoom();
  #isHolding = false;
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

  /** Of those, the ones that an earlier epoch routed. */
  get earlierInFlight(): number {
    return this.#inFlight - this.#currentInFlight;
  }

  get isHolding(): boolean {
    return this.#isHolding;
  }

  /** Requests that wait for the next epoch. */
  get heldCount(): number {
    return this.#room.count;
  }

  get heldBytes(): number {
    return this.#room.byteCount;
  }

  /** Counts what begins, a copy by the epoch that routed its request. Returns that epoch, for `leave`. */
  enter(epoch = this.#epoch): number {
    this.#inFlight++;
    if (epoch === this.#epoch) this.#currentInFlight++;
    return epoch;
  }

  /** Counts what has ended, by the epoch that it entered with. */
  leave(epoch: number): void {
    this.#inFlight--;
    if (epoch === this.#epoch) this.#currentInFlight--;
    if (this.#inFlight === 0) this.#whenDrained?.();
  }

  /** Resolves when nothing is under way, or the time is over. Milliseconds. */
  async untilIdle(withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (this.#inFlight > 0 && performance.now() < deadline) await sleep(IDLE_POLL_MS);
  }

  /** Keeps the request until the next epoch is in force. False: it does not hold, or there is no room. */
  hold(request: HeldRequest): boolean {
    return this.#isHolding && this.#room.hold(request);
  }

  /** Gives up a request that was answered otherwise, or whose client has gone. */
  drop(request: HeldRequest): void {
    this.#room.drop(request);
  }

  /** Holds new requests and waits until those under way are finished. False: they are not, after `withinMs`. */
  async holdAndDrain(withinMs: number): Promise<boolean> {
    this.#isHolding = true;
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

  /** Puts a later epoch in force. */
  act(phase: Phase, epoch: number): void {
    this.#phase = phase;
    this.#epoch = epoch;
    this.#currentInFlight = 0;
    this.release();
  }

  /** Lets the held requests go on, in the phase that is in force now. */
  release(): void {
    this.#isHolding = false;
    this.#room.release();
  }
}
