import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sampleRanges, seedOf } from '#core/checksum/sample-ranges.ts';
import { rangeWidth, splitRing } from '#core/token/token-range.ts';

test('a sample stays inside its range, in order, and has the share that was asked for', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 64 }),
      fc.double({ min: 0.01, max: 99.9, noNaN: true }),
      fc.integer({ min: 0, max: 0xffffffff }),
      (count, percent, seed) => {
        const range = splitRing(count)[0]!;
        const sampled = sampleRanges(range, percent, seed);
        let last = range.start;
        let width = 0n;
        for (const each of sampled) {
          expect(each.start >= last && each.end > each.start && each.end <= range.end).toBe(true);
          last = each.end;
          width += rangeWidth(each);
        }
        expect((Number(width) / Number(rangeWidth(range))) * 100).toBeCloseTo(percent, 2);
      },
    ),
  );
});

test('runs after one another look elsewhere', () => {
  const [range] = splitRing(4);
  expect(sampleRanges(range!, 10, seedOf('run-1/0'))).not.toEqual(sampleRanges(range!, 10, seedOf('run-2/0')));
  expect(sampleRanges(range!, 100, 1)).toEqual([range]);
});
