/**
 * The one generator of write times of an instance: never twice the same, never backwards, also when the clock is set
 * back. It runs in every phase, so that the order of writes is settled before the first shadow.
 */
export class TimestampGenerator {
  readonly #nowMillis: () => number;
  #lastMicros = 0;
  #offsetMicros = 0;
  /** The clusters' time at the zero of `performance.now`, by which TTLs end; until it is known, the own. Milliseconds since the epoch. */
  clusterEpochMs: number;

  constructor(nowMillis: () => number = Date.now) {
    this.#nowMillis = nowMillis;
    this.clusterEpochMs = this.ownEpochMs;
  }

  /** This machine's own time at the zero of `performance.now`: setting its clock changes it. Milliseconds since the epoch. */
  get ownEpochMs(): number {
    return this.#nowMillis() - performance.now();
  }

  /** The clusters' time, which goes on evenly though this machine's clock is set. Whole milliseconds since the epoch. @param atMs by `performance.now` */
  clusterMillis(atMs = performance.now()): number {
    return Math.floor(this.clusterEpochMs + atMs);
  }

  /** The same in seconds since the epoch. */
  nowInSeconds(): number {
    return Math.floor(this.clusterMillis() / 1000);
  }

  /** Runs ahead of the own clock by at least this much from now on: a node's clock is faster. Never decreases. */
  aheadBy(offsetMicros: number): void {
    this.#offsetMicros = Math.max(this.#offsetMicros, Math.ceil(offsetMicros));
  }

  get offsetMicros(): number {
    return this.#offsetMicros;
  }

  /** The last one given out, or 0. */
  get lastMicros(): number {
    return this.#lastMicros;
  }

  /** Gives out later ones only: an earlier process has given out this one, and the clock may have been set back since. */
  seed(lastMicros: number): void {
    this.#lastMicros = Math.max(this.#lastMicros, lastMicros);
  }

  /** Microseconds since the epoch; a safe integer until the year 2255. */
  next(): number {
    const nowMicros = this.#nowMillis() * 1000 + this.#offsetMicros;
    this.#lastMicros = nowMicros > this.#lastMicros ? nowMicros : this.#lastMicros + 1;
    return this.#lastMicros;
  }
}
