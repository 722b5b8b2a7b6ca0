import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import {
  contains,
  parseToken,
  rangeWidth,
  splitRing,
  tokenRangeFromJson,
  tokenRangeToJson,
  unwrap,
} from '#core/token/token-range.ts';

const token = fc.bigInt({ min: MIN_TOKEN, max: MAX_TOKEN });
const storedToken = fc.bigInt({ min: MIN_TOKEN + 1n, max: MAX_TOKEN });

test('start is outside and end inside a range', () => {
  expect(contains({ start: 5n, end: 9n }, 5n)).toBe(false);
  expect(contains({ start: 5n, end: 9n }, 9n)).toBe(true);
});

test('a range whose start is above its end goes around the ring', () => {
  const range = { start: 10n, end: -10n };
  expect([11n, MAX_TOKEN, MIN_TOKEN, -10n].map((each) => contains(range, each))).toEqual([true, true, true, true]);
  expect([10n, 0n, -9n].map((each) => contains(range, each))).toEqual([false, false, false]);
});

test('unwrapping keeps exactly the tokens that partitions can have', () => {
  fc.assert(
    fc.property(token, token, storedToken, (start, end, probe) => {
      const pieces = unwrap({ start, end });
      for (const piece of pieces) expect(piece.start < piece.end).toBe(true);
      expect(pieces.filter((piece) => contains(piece, probe)).length).toBe(contains({ start, end }, probe) ? 1 : 0);
    }),
  );
});

test('a split ring holds every token exactly once', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), storedToken, (count, probe) => {
      const ranges = splitRing(count);
      expect(ranges).toHaveLength(count);
      expect(ranges.filter((range) => contains(range, probe))).toHaveLength(1);
    }),
  );
  expect(() => splitRing(0)).toThrow(RangeError);
});

test('the width of a range counts its tokens, the whole ring 2^64', () => {
  expect(rangeWidth({ start: 1n, end: 3n })).toBe(2n);
  expect(rangeWidth({ start: MAX_TOKEN, end: MIN_TOKEN })).toBe(1n);
  expect(rangeWidth({ start: 7n, end: 7n })).toBe(2n ** 64n);
});

test('JSON keeps all 64 bits, and refuses what is no token', () => {
  fc.assert(
    fc.property(token, token, (start, end) => {
      expect(tokenRangeFromJson(JSON.parse(JSON.stringify(tokenRangeToJson({ start, end }))))).toEqual({ start, end });
    }),
  );
  for (const text of ['', '1.5', '0x10', '9223372036854775808', 'one']) {
    expect(() => parseToken(text)).toThrow(RangeError);
  }
});
