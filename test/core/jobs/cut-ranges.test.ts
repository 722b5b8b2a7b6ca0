import fc from 'fast-check';
import { expect, test } from 'vitest';
import { joinCells } from '#core/jobs/cut-ranges.ts';
import { splitRing, WHOLE_RING } from '#core/token/token-range.ts';

test('joined cells cover the ring without gaps, in at most as many ranges as asked for, each near its share', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 80 }),
      fc.integer({ min: 1, max: 9 }),
      (weights, count) => {
        const ranges = joinCells(splitRing(weights.length), weights, count);
        expect(ranges.length).toBeGreaterThan(0);
        expect(ranges.length).toBeLessThanOrEqual(count);
        expect(ranges[0]?.start).toBe(WHOLE_RING.start);
        expect(ranges.at(-1)?.end).toBe(WHOLE_RING.end);
        for (let i = 1; i < ranges.length; i++) expect(ranges[i]?.start).toBe(ranges[i - 1]?.end);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        expect(ranges.reduce((sum, range) => sum + range.bytes, 0)).toBe(total);
        for (const { bytes } of ranges) expect(bytes).toBeLessThanOrEqual(total / count + 100 + 1e-6);
      },
    ),
  );
});
