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

  /** Series of the Prometheus text format; buckets are cumulative and in seconds. `labels`: without braces. */
  samples(labels: string): [series: string, value: number][] {
    const samples: [string, number][] = [];
    const separator = labels === '' ? '' : ',';
    let cumulative = 0;
    for (const [index, bound] of BOUNDS_MS.entries()) {
      cumulative += this.#counts[index]!;
      samples.push([`_bucket{${labels}${separator}le="${bound / 1000}"}`, cumulative]);
    }
    const braced = labels === '' ? '' : `{${labels}}`;
    samples.push([`_bucket{${labels}${separator}le="+Inf"}`, this.#count]);
    samples.push([`_sum${braced}`, this.#sumMs / 1000], [`_count${braced}`, this.#count]);
    return samples;
  }
}
