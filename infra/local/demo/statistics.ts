import type { ApplicationReport, PhaseLatency } from './application-messages.ts';

/** The smallest value that at least `share` of the values do not exceed; 0 when there are none. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** What the application counts, by phase where that matters. */
export class Statistics {
  writes = 0;
  reads = 0;
  checks = 0;
  #errors = 0;
  #phase = 'origin-only';
  readonly #errorTexts: string[] = [];
  readonly #latencies = new Map<string, number[]>();

  enterPhase(phase: string): void {
    this.#phase = phase;
  }

  took(milliseconds: number): void {
    const list = this.#latencies.get(this.#phase) ?? [];
    list.push(milliseconds);
    this.#latencies.set(this.#phase, list);
  }

  error(text: string): void {
    this.#errors++;
    if (this.#errorTexts.length < 5) this.#errorTexts.push(text);
  }

  report(final: boolean): ApplicationReport {
    const latencies: PhaseLatency[] = [...this.#latencies].map(([phase, list]) => {
      const sorted = list.toSorted((a, b) => a - b);
      return { phase, operations: sorted.length, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99) };
    });
    const { writes, reads, checks } = this;
    return {
      kind: 'report',
      final,
      writes,
      reads,
      checks,
      errors: this.#errors,
      errorTexts: this.#errorTexts,
      latencies,
    };
  }
}
