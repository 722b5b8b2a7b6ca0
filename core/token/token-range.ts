import { MAX_TOKEN, MIN_TOKEN } from './token.ts';

/**
 * (start, end]: start exclusive, end inclusive. `start > end` wraps around the ring; `start === end` is the whole ring.
 * No partition has MIN_TOKEN, so (MIN_TOKEN, MAX_TOKEN] is all of them.
 */
export interface TokenRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** A range as JSON: decimal strings, since tokens exceed what a JSON number keeps. */
export interface TokenRangeJson {
  readonly start: string;
  readonly end: string;
}

export const WHOLE_RING: TokenRange = { start: MIN_TOKEN, end: MAX_TOKEN };

const RING_SIZE = 2n ** 64n;

/** Whether the range holds this token. */
export function contains(range: TokenRange, token: bigint): boolean {
  const { start, end } = range;
  if (start < end) return token > start && token <= end;
  return start === end || token > start || token <= end;
}

/** The same tokens as one or two ranges with start < end, ascending. */
export function unwrap(range: TokenRange): TokenRange[] {
  const { start, end } = range;
  if (start < end) return [range];
  if (start === end) return [WHOLE_RING];
  const pieces: TokenRange[] = [];
  if (end > MIN_TOKEN) pieces.push({ start: MIN_TOKEN, end });
  if (start < MAX_TOKEN) pieces.push({ start, end: MAX_TOKEN });
  return pieces;
}

/** The ring in `count` ranges of equal width, ascending, none of which wraps. @throws RangeError when count < 1 */
export function splitRing(count: number): TokenRange[] {
  if (!Number.isInteger(count) || count < 1)
    throw new RangeError(`a ring is split into 1 or more ranges, not ${count}`);
  const bound = (index: number) => MIN_TOKEN + (RING_SIZE * BigInt(index)) / BigInt(count);
  return Array.from({ length: count }, (_, index) => ({
    start: bound(index),
    end: index + 1 === count ? MAX_TOKEN : bound(index + 1),
  }));
}

/** Number of tokens in the range; the whole ring counts 2^64. */
export function rangeWidth(range: TokenRange): bigint {
  const width = BigInt.asUintN(64, range.end - range.start);
  return width === 0n ? RING_SIZE : width;
}

export function tokenRangeToJson(range: TokenRange): TokenRangeJson {
  return { start: range.start.toString(), end: range.end.toString() };
}

/** @throws RangeError when a bound is no decimal integer of 64 bits */
export function tokenRangeFromJson(json: TokenRangeJson): TokenRange {
  return { start: parseToken(json.start), end: parseToken(json.end) };
}

/** @throws RangeError when the text is no decimal integer of 64 bits */
export function parseToken(text: string): bigint {
  const token = /^-?\d{1,19}$/.test(text) ? BigInt(text) : undefined;
  if (token === undefined || token < MIN_TOKEN || token > MAX_TOKEN) throw new RangeError(`${text} is not a token`);
  return token;
}
