import { monitorEventLoopDelay, PerformanceObserver, constants as perf } from 'node:perf_hooks';
import { LatencyHistogram } from '../counters/latency.ts';

const RESOLUTION_MS = 10;

const GC_KINDS: Readonly<Record<number, 'minor' | 'major' | 'incremental' | 'weak'>> = {
  [perf.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [perf.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [perf.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [perf.NODE_PERFORMANCE_GC_WEAKCB]: 'weak',
};

/** How well the process itself runs: the delay of its event loop, and the pauses of the garbage collection. */
export class RuntimeWatch {
  readonly gcPauses = {
    minor: new LatencyHistogram(),
    major: new LatencyHistogram(),
    incremental: new LatencyHistogram(),
    weak: new LatencyHistogram(),
  };
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #observer: PerformanceObserver;
  #utilization = performance.eventLoopUtilization();

  constructor() {
    this.#delay.enable();
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { kind } = (entry as { detail?: { kind?: number } }).detail ?? {};
        this.gcPauses[GC_KINDS[kind ?? -1] ?? 'weak'].observe(entry.duration);
      }
    });
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /** How late timers came since the last call, by quantile, in seconds. The clock's own resolution is taken off. */
  takeLoopDelays(): readonly (readonly [quantile: string, seconds: number])[] {
    const late = (nanos: number): number => Math.max(0, nanos / 1e9 - RESOLUTION_MS / 1000) || 0;
    const { max } = this.#delay;
    const delays = [
      ['0.5', late(this.#delay.percentile(50))],
      ['0.99', late(this.#delay.percentile(99))],
      ['1', late(max)],
    ] as const;
    this.#delay.reset();
    return delays;
  }

  /** The share of the time since the last call in which the event loop was busy, 0 to 1. */
  takeLoopUtilization(): number {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization);
    this.#utilization = now;
    return Number.isFinite(utilization) ? utilization : 0;
  }

  stop(): void {
    this.#delay.disable();
    this.#observer.disconnect();
  }
}
