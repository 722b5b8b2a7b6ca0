/**
 * Loaded into the proxy's process by its benchmarks (`node --expose-gc --import`): tells on request how long the
 * collector paused and what memory is in use after a collection.
 */
import { PerformanceObserver } from 'node:perf_hooks';

/** What the benchmark is told. */
export interface ProbeReport {
  readonly rssMiB: number;
  readonly heapMiB: number;
  readonly externalMiB: number;
  /** Since the last report. Milliseconds. */
  readonly longestPauseMs: number;
  readonly pauses: number;
  readonly pausedMs: number;
}

let pauses: number[] = [];
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) pauses.push(duration);
}).observe({ entryTypes: ['gc'] });

const toMiB = (bytes: number): number => Math.round((bytes / 1024 / 1024) * 10) / 10;

process.on('message', (message) => {
  const report = (): void => {
    const { rss, heapUsed, external } = process.memoryUsage();
    const seen = pauses;
    pauses = [];
    const told: ProbeReport = {
      rssMiB: toMiB(rss),
      heapMiB: toMiB(heapUsed),
      externalMiB: toMiB(external),
      longestPauseMs: Math.max(0, ...seen),
      pauses: seen.length,
      pausedMs: seen.reduce((sum, one) => sum + one, 0),
    };
    process.send?.(told);
  };
  // The observer is told of a pause a little later.
  if (message === 'pauses') setTimeout(report, 100);
  if (message !== 'memory') return;
  for (let round = 0; round < 3; round++) globalThis.gc?.();
  setTimeout(() => {
    globalThis.gc?.();
    report();
  }, 500);
});
