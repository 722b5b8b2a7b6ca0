import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BUCKET_COUNT, bucketOf, bucketRange } from '#core/token/buckets.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { contains } from '#core/token/token-range.ts';

it('puts every token of a partition into the range of its bucket, and into no other one', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: MIN_TOKEN + 1n, max: MAX_TOKEN }), fc.nat(BUCKET_COUNT - 1), (token, other) => {
      const bucket = bucketOf(Number(token >> 32n));
      expect(contains(bucketRange(bucket), token)).toBe(true);
      expect(contains(bucketRange(other), token)).toBe(other === bucket);
    }),
  );
});

it('covers the ring without a gap', () => {
  expect(bucketRange(0).start).toBe(MIN_TOKEN);
  expect(bucketRange(BUCKET_COUNT - 1).end).toBe(MAX_TOKEN);
  for (let bucket = 1; bucket < BUCKET_COUNT; bucket += 257) {
    expect(bucketRange(bucket).start).toBe(bucketRange(bucket - 1).end);
  }
});
