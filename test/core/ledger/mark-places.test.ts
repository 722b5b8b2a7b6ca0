import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BUCKET_BYTES, decodeBuckets, encodeBuckets, rangesOf } from '#core/ledger/mark-places.ts';
import { BUCKET_COUNT, bucketOf } from '#core/token/buckets.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { contains, WHOLE_RING } from '#core/token/token-range.ts';

const token = fc.bigInt({ min: MIN_TOKEN + 1n, max: MAX_TOKEN });
const bucketNumber = fc.integer({ min: 0, max: BUCKET_COUNT - 1 });

function bitsOf(buckets: readonly number[]): Uint8Array {
  const bits = new Uint8Array(BUCKET_BYTES);
  for (const bucket of buckets) bits[bucket >> 3]! |= 1 << (bucket & 7);
  return bits;
}

const bucketOfToken = (value: bigint): number => bucketOf(Number(BigInt.asIntN(32, value >> 32n)));

describe('the places of a mark', () => {
  it('keeps any set of buckets as a text', () => {
    fc.assert(
      fc.property(fc.uniqueArray(bucketNumber, { maxLength: 2000 }), (buckets) => {
        const bits = bitsOf(buckets);
        expect(Buffer.from(decodeBuckets(encodeBuckets(bits))).equals(bits)).toBe(true);
      }),
    );
  });

  it('refuses what is no set of buckets, however large it would become', () => {
    expect(() => decodeBuckets('')).toThrow(RangeError);
    expect(() => decodeBuckets('bm90IGRlZmxhdGVk')).toThrow(RangeError);
    expect(() => decodeBuckets(encodeBuckets(new Uint8Array(BUCKET_BYTES - 1)))).toThrow(RangeError);
    expect(() => decodeBuckets(encodeBuckets(new Uint8Array(10_000_000)))).toThrow(RangeError);
  });

  it('holds each token that was noted, by itself or by its bucket, and no other bucket', () => {
    fc.assert(
      fc.property(
        fc.array(token, { minLength: 1, maxLength: 64 }),
        fc.array(token, { maxLength: 64 }),
        token,
        (single, wide, other) => {
          const buckets = wide.map(bucketOfToken);
          const ranges = rangesOf({
            range: null,
            tokens: single.map(String),
            ...(wide.length > 0 ? { buckets: encodeBuckets(bitsOf(buckets)) } : {}),
          });
          const holds = (value: bigint) => ranges.some((range) => contains(range, value));
          expect([...single, ...wide].every(holds)).toBe(true);
          expect(holds(other)).toBe(single.includes(other) || buckets.includes(bucketOfToken(other)));
          for (const [index, range] of ranges.entries()) {
            expect(range.start < range.end).toBe(true);
            expect(index === 0 || ranges[index - 1]!.end < range.start).toBe(true);
          }
        },
      ),
    );
  });

  it('is the whole ring where nothing narrower is said', () => {
    expect(rangesOf({ range: null })).toEqual([WHOLE_RING]);
    expect(rangesOf({ range: null, tokens: [] })).toEqual([WHOLE_RING]);
    expect(rangesOf({ range: { start: '5', end: '5' } })).toEqual([WHOLE_RING]);
  });

  it('is the whole ring where what is said can not be read', () => {
    expect(rangesOf({ range: null, tokens: ['7'], buckets: 'AAAA' })).toEqual([WHOLE_RING]);
    expect(rangesOf({ range: null, tokens: ['9223372036854775808'] })).toEqual([WHOLE_RING]);
  });

  it('joins neighbouring buckets, and cuts a range that wraps', () => {
    expect(rangesOf({ range: null, buckets: encodeBuckets(bitsOf([0, 1, 2])) })).toHaveLength(1);
    expect(rangesOf({ range: null, buckets: encodeBuckets(new Uint8Array(BUCKET_BYTES).fill(0xff)) })).toEqual([
      WHOLE_RING,
    ]);
    expect(rangesOf({ range: { start: '10', end: '-10' } })).toEqual([
      { start: MIN_TOKEN, end: -10n },
      { start: 10n, end: MAX_TOKEN },
    ]);
  });
});
