import { decodeBigint } from '#core/cql/value-codec.ts';
import type { Rows } from './cluster-facts.ts';

/** Its one row and column is the clock of the node that is asked. */
export const CLOCK_QUERY = 'SELECT toTimestamp(now()) FROM system.local';
/** An answer within this time is exact enough. */
const QUICK_MS = 50;
const MAX_SAMPLES = 3;

/** What a node's clock says, against a clock that nobody sets. */
export interface NodeClock {
  /** The node's time at the zero of `performance.now`, if the way there takes as long as the way back. Milliseconds since the epoch. */
  readonly epochMs: number;
  /** It may be off by so much: half of the time that the answer took. Milliseconds. */
  readonly uncertaintyMs: number;
}

/** By the quickest of a few answers to `CLOCK_QUERY`, or by the first quick one. undefined: none was understood. */
export async function readNodeClock(ask: () => Promise<Rows>): Promise<NodeClock | undefined> {
  let best: NodeClock | undefined;
  let bestMs = Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < MAX_SAMPLES && bestMs > QUICK_MS; sample++) {
    const startedMs = performance.now();
    const value = (await ask())[0]?.[0];
    const tookMs = performance.now() - startedMs;
    if (!value || tookMs >= bestMs) continue;
    bestMs = tookMs;
    const uncertaintyMs = tookMs / 2;
    best = { epochMs: Number(decodeBigint(value)) - startedMs - uncertaintyMs, uncertaintyMs };
  }
  return best;
}
