/**
 * The one generator of write times of an instance: never twice the same, never backwards, also when the clock is set
 * back. It runs in every phase, so that the order of writes is settled before the first shadow.
 */
export class TimestampGenerator {
  readonly #nowMillis: () => number;
  #lastMicros = 0;
  #offsetMicros = 0;
  #clusterSkewMs = 0;
  /** The clusters' time at the zero of `performance.now`. */
  #clusterEpochMs: number;

  constructor(nowMillis: () => number = Date.now) {
    this.#nowMillis = nowMillis;
    this.#clusterEpochMs = nowMillis() - performance.now();
  }

  /** How far the clusters' clocks, by which TTLs end, are ahead of this machine's; negative: behind. Milliseconds. */
  get clusterSkewMs(): number {
    return this.#clusterSkewMs;
  }

  set clusterSkewMs(skewMs: number) {
    this.#clusterSkewMs = skewMs;
    this.#clusterEpochMs = this.#nowMillis() + skewMs - performance.now();
  }

  /** The clusters' time, which goes on evenly though this machine's clock is set. Seconds since the epoch. */
  nowInSeconds(): number {
    return Math.floor((this.#clusterEpochMs + performance.now()) / 1000);
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
