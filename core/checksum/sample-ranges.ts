import { rangeWidth, type TokenRange } from '../token/token-range.ts';

/** So many places of a range are looked at; more places see more of what is damaged locally, fewer cost less to start. */
const SLICES = 16n;

/**
 * The part of a range (start < end) that a sample reads: from each of 16 slices `percent` of its tokens, from an offset
 * that `seed` gives, so that runs after one another look elsewhere.
 */
export function sampleRanges(range: TokenRange, percent: number, seed: number): TokenRange[] {
  if (percent >= 100) return [range];
  const slice = rangeWidth(range) / SLICES;
  const width = (slice * BigInt(Math.max(1, Math.round(percent * 1000)))) / 100_000n;
  if (slice < 1000n || width === 0n) return [range];
  const offset = ((slice - width) * BigInt(seed >>> 0)) >> 32n;
  return Array.from({ length: Number(SLICES) }, (_, i) => {
    const start = range.start + slice * BigInt(i) + offset;
    return { start, end: start + width };
  });
}

/** A 32-bit number from a text, the same every time (FNV-1a). */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
