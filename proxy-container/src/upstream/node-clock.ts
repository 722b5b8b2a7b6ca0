import { decodeBigint } from '#core/cql/value-codec.ts';
import type { Rows } from './cluster-facts.ts';

/** Its one row and column is the clock of the node that is asked. */
export const CLOCK_QUERY = 'SELECT toTimestamp(now()) FROM system.local';
/** An answer within this time is exact enough. */
const QUICK_MS = 50;
const MAX_SAMPLES = 3;

/** How far a node's clock is ahead of ours; negative: behind. Milliseconds. */
export interface ClockSkew {
  /** If the way there takes as long as the way back. */
  readonly middleMs: number;
  /** That much in any case: a slow answer is no skew. */
  readonly leastMs: number;
}

/** By the quickest of a few answers to `CLOCK_QUERY`, or by the first quick one. */
export async function measureSkew(ask: () => Promise<Rows>): Promise<ClockSkew> {
  let best: ClockSkew = { middleMs: 0, leastMs: 0 };
  let bestMs = Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < MAX_SAMPLES && bestMs > QUICK_MS; sample++) {
    const before = Date.now();
    const startedMs = performance.now();
    const value = (await ask())[0]?.[0];
    const tookMs = performance.now() - startedMs;
    if (!value || tookMs >= bestMs) continue;
    bestMs = tookMs;
    // The clock of a node has whole milliseconds.
    const aheadMs = Number(decodeBigint(value)) - before;
    best = { middleMs: aheadMs - tookMs / 2, leastMs: aheadMs < 0 ? aheadMs : Math.max(0, aheadMs - tookMs) };
  }
  return best;
}
