/** Sets of token ranges: lists in which none wraps, ascending, none touching another. */

import { MAX_TOKEN } from './token.ts';
import { type TokenRange, unwrap } from './token-range.ts';

const byStart = (left: TokenRange, right: TokenRange) =>
  left.start < right.start ? -1 : left.start > right.start ? 1 : 0;

/** The same tokens, and where they are in more than `most` places also those of the gaps between the nearest. */
export function joinRanges(ranges: readonly TokenRange[], most = Number.POSITIVE_INFINITY): TokenRange[] {
  const sorted = ranges.flatMap(unwrap).sort(byStart);
  const exact = joinOver(sorted, 0n);
  if (exact.length <= most) return exact;
  // Gaps that are wider than the ring's part can't be more than there are parts.
  return joinOver(exact, 2n ** 64n / BigInt(Math.max(1, most - 1)));
}

function joinOver(sorted: readonly TokenRange[], gap: bigint): TokenRange[] {
  const result: TokenRange[] = [];
  for (const range of sorted) {
    const last = result.at(-1);
    if (last === undefined || range.start - last.end > gap) result.push(range);
    else if (range.end > last.end) result[result.length - 1] = { start: last.start, end: range.end };
  }
  return result;
}

/** The tokens of `ranges` that are not in `others`; both are sets. */
export function subtractRanges(ranges: readonly TokenRange[], others: readonly TokenRange[]): TokenRange[] {
  const result: TokenRange[] = [];
  let at = 0;
  for (const range of ranges) {
    let { start } = range;
    while (at < others.length && others[at]!.end <= start) at++;
    for (let next = at; next < others.length && others[next]!.start < range.end; next++) {
      const other = others[next]!;
      if (other.start > start) result.push({ start, end: other.start });
      if (other.end > start) start = other.end;
    }
    if (start < range.end) result.push({ start, end: range.end });
  }
  return result;
}

/** The tokens of a set in the parts of the ring that end at these tokens, ascending; those behind the last are the last's. */
export function cutAt(ranges: readonly TokenRange[], ends: readonly bigint[]): TokenRange[][] {
  const parts: TokenRange[][] = ends.map(() => []);
  let part = 0;
  for (const range of ranges) {
    let { start } = range;
    for (; start < range.end; ) {
      while (part < ends.length - 1 && ends[part]! <= start) part++;
      const limit = part === ends.length - 1 ? MAX_TOKEN : ends[part]!;
      const end = range.end < limit ? range.end : limit;
      parts[part]?.push({ start, end });
      start = end;
    }
  }
  return parts;
}
