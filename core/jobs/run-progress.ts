import type { Ledger } from '../ledger/ledger.ts';

/** How far a run is, from the ledger's ranges. */
export interface RunProgress {
  readonly ranges: number;
  readonly done: number;
  readonly failed: number;
  readonly rows: number;
  /** Of the bytes, by the ranges that are finished; 0 to 1. */
  readonly fraction: number;
  readonly errors: readonly {
    readonly index: number;
    readonly table: string;
    readonly name: string;
    readonly message: string;
  }[];
}

/** Adds up what the ranges of a run have written about themselves. */
export async function loadProgress(ledger: Ledger, runId: string): Promise<RunProgress> {
  const run = await ledger.readRun(runId);
  const ranges = await ledger.listRanges(runId);
  const total = run?.rangeCount ?? 0;
  let doneBytes = 0;
  for (const range of ranges) if (range.state === 'done') doneBytes += range.counts['bytes'] ?? 0;
  const done = ranges.filter((range) => range.state === 'done').length;
  const byBytes = run !== undefined && run.totalBytes > 0 ? doneBytes / run.totalBytes : 0;
  return {
    ranges: total,
    done,
    failed: ranges.filter((range) => range.state === 'failed').length,
    rows: ranges.reduce((sum, range) => sum + (range.counts['rows'] ?? 0), 0),
    fraction: total > 0 && done === total ? 1 : Math.min(0.999, byBytes),
    errors: ranges.flatMap(({ index, table, error, state }) =>
      state === 'failed' && error !== null ? [{ index, table, ...error }] : [],
    ),
  };
}
