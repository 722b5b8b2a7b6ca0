const BOUNDS_MS = [0.25, 0.5, 1, 2, 4, 7, 10, 25, 40, 60, 80, 100, 150, 250, 500, 1000, 2500, 5000, 10_000, 15_000];

/** Counts durations in fixed buckets; one array slot and one addition for each, as it is done for every request. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(BOUNDS_MS.length + 1);
  #sumMs = 0;
  #count = 0;

  observe(ms: number): void {
    let index = 0;
    while (index < BOUNDS_MS.length && ms > BOUNDS_MS[index]!) index++;
    this.#counts[index]!++;
    this.#sumMs += ms;
    this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  /** Lines of the Prometheus text format; buckets are cumulative and in seconds. */
  lines(name: string, labels: string): string[] {
    const lines: string[] = [];
    let cumulative = 0;
    for (const [index, bound] of BOUNDS_MS.entries()) {
      cumulative += this.#counts[index]!;
      lines.push(`${name}_bucket{${labels},le="${bound / 1000}"} ${cumulative}`);
    }
    lines.push(`${name}_bucket{${labels},le="+Inf"} ${this.#count}`);
    lines.push(`${name}_sum{${labels}} ${this.#sumMs / 1000}`, `${name}_count{${labels}} ${this.#count}`);
    return lines;
  }
}
