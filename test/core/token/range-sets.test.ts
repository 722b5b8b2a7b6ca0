import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cutAt, joinRanges, subtractRanges } from '#core/token/range-sets.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { contains, splitRing, type TokenRange } from '#core/token/token-range.ts';

/** Few tokens, so that ranges meet, touch and wrap. */
const token = fc.integer({ min: 0, max: 14 }).map((step) => {
  if (step === 0) return MIN_TOKEN;
  return step === 14 ? MAX_TOKEN : BigInt(step) - 7n;
});
const ranges = fc.array(fc.record({ start: token, end: token }), { maxLength: 8 });
const looked = [MIN_TOKEN + 1n, ...Array.from({ length: 15 }, (_, i) => BigInt(i) - 8n), MAX_TOKEN];
const has = (set: readonly TokenRange[], each: bigint) => set.some((range) => contains(range, each));

function expectSet(set: readonly TokenRange[]): void {
  for (const [i, { start, end }] of set.entries()) {
    expect(start < end).toBe(true);
    if (i > 0) expect(start > set[i - 1]!.end).toBe(true);
  }
}

test('joining keeps exactly the tokens, in order and without ranges that touch', () => {
  fc.assert(
    fc.property(ranges, (given) => {
      const set = joinRanges(given);
      expectSet(set);
      for (const each of looked) expect(has(set, each)).toBe(has(given, each));
    }),
  );
});

test('subtracting leaves what is in one set and not in the other', () => {
  fc.assert(
    fc.property(ranges, ranges, (given, others) => {
      const [set, taken] = [joinRanges(given), joinRanges(others)];
      const rest = subtractRanges(set, taken);
      expectSet(rest);
      for (const each of looked) expect(has(rest, each)).toBe(has(set, each) && !has(taken, each));
    }),
  );
});

test('a set cut into parts of the ring has the same tokens, each in the part that it lies in', () => {
  fc.assert(
    fc.property(ranges, fc.integer({ min: 1, max: 7 }), (given, count) => {
      const grid = splitRing(count);
      const set = joinRanges(given);
      const parts = cutAt(
        set,
        grid.map(({ end }) => end),
      );
      expect(parts).toHaveLength(count);
      for (const each of looked) {
        for (const [i, part] of parts.entries())
          expect(has(part, each)).toBe(has(set, each) && contains(grid[i]!, each));
      }
    }),
  );
});

test('where there are too many places the nearest are joined, and none is lost', () => {
  const places = fc.uniqueArray(fc.bigInt({ min: MIN_TOKEN + 1n, max: MAX_TOKEN }), { maxLength: 60 });
  fc.assert(
    fc.property(places, fc.integer({ min: 1, max: 10 }), (tokens, most) => {
      const set = joinRanges(
        tokens.map((each) => ({ start: each - 1n, end: each })),
        most,
      );
      expectSet(set);
      expect(set.length).toBeLessThanOrEqual(most);
      for (const each of tokens) expect(has(set, each)).toBe(true);
    }),
  );
});
