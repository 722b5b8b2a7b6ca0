/** How many requests may be in flight: grows by one for each round without trouble, halves when the target is overloaded. */
export class AdaptiveLimit {
  #limit: number;
  #inFlight = 0;
  #sinceGrowth = 0;
  readonly #most: number;
  #waiting: (() => void)[] = [];

  constructor(start: number, most: number) {
    this.#limit = Math.max(1, Math.min(start, most));
    this.#most = Math.max(1, most);
  }

  get limit(): number {
    return this.#limit;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Resolves when there is room, and takes it. */
  async acquire(): Promise<void> {
    while (this.#inFlight >= this.#limit) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#inFlight++;
  }

  release(): void {
    this.#inFlight--;
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

  /** The target could not keep up. */
  overloaded(): void {
    this.#limit = Math.max(1, this.#limit >> 1);
    this.#sinceGrowth = 0;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
