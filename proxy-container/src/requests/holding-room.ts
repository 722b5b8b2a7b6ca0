/** Of all clients together; what does not fit is told to come back. */
const MAX_HELD = 65_536;
const MAX_BYTES = 64 * 1024 * 1024;

/** A request that waits for something that concerns all clients. */
export interface HeldRequest {
  readonly byteCount: number;
  /** Called once, when it may go on. Does not throw. */
  run(): void;
}

/** Requests that wait for the same thing, bounded. */
export class HoldingRoom {
  readonly #maxBytes: number;
  #held = new Set<HeldRequest>();
  #byteCount = 0;

  constructor(maxBytes: number = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#held.size;
  }

  get byteCount(): number {
    return this.#byteCount;
  }

  /** False: there is no room. */
  hold(request: HeldRequest): boolean {
    if (this.#held.size >= MAX_HELD || this.#byteCount + request.byteCount > this.#maxBytes) return false;
    this.#held.add(request);
    this.#byteCount += request.byteCount;
    return true;
  }

  /** Gives up a request that was answered otherwise, or whose client has gone. */
  drop(request: HeldRequest): void {
    if (this.#held.delete(request)) this.#byteCount -= request.byteCount;
  }

  /** Lets all of them go on; one that must wait again is held anew. */
  release(): void {
    const held = this.#held;
    this.#held = new Set();
    this.#byteCount = 0;
    for (const request of held) request.run();
  }
}
