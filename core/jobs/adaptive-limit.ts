/**
 * How many requests may be in flight: grows by one for each round without trouble, halves when the target is overloaded,
 * once for all that were under way then. Their bytes are bounded too, but for a single request of any size.
 */
export class AdaptiveLimit {
  #limit: number;
  #inFlight = 0;
  #bytesInFlight = 0;
  #sinceGrowth = 0;
  #halvings = 0;
  readonly #most: number;
  readonly #mostBytes: number;
  #waiting: (() => void)[] = [];

  constructor(start: number, most: number, mostBytes: number) {
    this.#limit = Math.max(1, Math.min(start, most));
    this.#most = Math.max(1, most);
    this.#mostBytes = mostBytes;
  }

  get limit(): number {
    return this.#limit;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** What a request that is sent now has to say when the target could not keep up with it. */
  get round(): number {
    return this.#halvings;
  }

  /** Takes room if there is some now. */
  tryAcquire(bytes: number): boolean {
    if (this.#inFlight >= this.#limit) return false;
    if (this.#inFlight > 0 && this.#bytesInFlight + bytes > this.#mostBytes) return false;
    this.#inFlight++;
    this.#bytesInFlight += bytes;
    return true;
  }

  /** Resolves when there is room, and takes it. */
  async acquire(bytes: number): Promise<void> {
    while (!this.tryAcquire(bytes)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Gives back what `acquire` took. */
  release(bytes: number): void {
    this.#inFlight--;
    this.#bytesInFlight -= bytes;
    this.#wake();
  }

  /** Resolves when nothing is in flight. */
  async idle(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** A request went well. */
  succeeded(): void {
    if (++this.#sinceGrowth < this.#limit || this.#limit >= this.#most) return;
    this.#sinceGrowth = 0;
    this.#limit++;
    this.#wake();
  }

  /**
   * The target could not keep up. One stall fails all that is in flight, which is one reason to halve and not a hundred.
   * @param round when the request was sent
   */
  overloaded(round: number): void {
    if (round < this.#halvings) return;
    this.#halvings++;
    this.#limit = Math.max(1, this.#limit >> 1);
    this.#sinceGrowth = 0;
  }

  #wake(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
