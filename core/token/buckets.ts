import { MIN_TOKEN } from './token.ts';
import type { TokenRange } from './token-range.ts';

/** Equal parts of the ring, for what need not be known partition by partition. */
export const BUCKET_COUNT = 65_536;

const SIGN = 0x80000000;
const BUCKET_WIDTH = 1n << 48n;

/** Number of the part of the ring that a token is in, from 0 at the smallest token. @param tokenHi its upper 32 bits */
export function bucketOf(tokenHi: number): number {
  return ((tokenHi ^ SIGN) >>> 16) & 0xffff;
}

/** The tokens of the part, as (start, end]; the smallest token of all belongs to no partition. */
export function bucketRange(bucket: number): TokenRange {
  const first = MIN_TOKEN + BigInt(bucket) * BUCKET_WIDTH;
  const start = bucket === 0 ? MIN_TOKEN : first - 1n;
  return { start, end: first + BUCKET_WIDTH - 1n };
}
