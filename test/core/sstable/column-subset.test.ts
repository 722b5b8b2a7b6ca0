import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { encodeVint } from '#core/bytes/vint.ts';
import { ColumnSubsets, readColumnSubset } from '#core/sstable/column-subset.ts';

/** Columns.Serializer#serializeSubset, written naively. */
function encode(present: readonly number[], count: number): Uint8Array {
  const absent = Array.from({ length: count }, (_, index) => index).filter((index) => !present.includes(index));
  if (count < 64) return encodeVint(absent.reduce((bits, index) => bits | (1n << BigInt(index)), 0n));
  const listed = present.length < Math.floor(count / 2) ? present : absent;
  return Buffer.concat([encodeVint(absent.length), ...listed.map((index) => encodeVint(index))]);
}

test('reads back any subset of 1 to 130 columns, in both of its forms', () => {
  const subset = fc
    .integer({ min: 1, max: 130 })
    .chain((count) => fc.tuple(fc.constant(count), fc.subarray(Array.from({ length: count }, (_, index) => index))));
  fc.assert(
    fc.property(subset, ([count, present]) => {
      const reader = new ByteReader(encode(present, count));
      expect(readColumnSubset(reader, count) ?? Array.from({ length: count }, (_, index) => index)).toEqual(present);
      expect(reader.remaining).toBe(0);
    }),
    { numRuns: 2000 },
  );
});

test('more absent columns than there are is malformed', () => {
  expect(() => readColumnSubset(new ByteReader(encodeVint(71)), 70)).toThrow(MalformedBytesError);
  const outOfOrder = Buffer.concat([encodeVint(68), encodeVint(5), encodeVint(5)]);
  expect(() => readColumnSubset(new ByteReader(outOfOrder), 70)).toThrow(MalformedBytesError);
});

test('rows that follow one another get their own subsets, equal ones in one array', () => {
  const rows = fc.integer({ min: 1, max: 70 }).chain((count) => {
    const subset = fc.subarray(Array.from({ length: count }, (_, index) => index));
    return fc.tuple(fc.constant(count), fc.array(subset, { maxLength: 20 }));
  });
  fc.assert(
    fc.property(rows, ([count, list]) => {
      const reader = new ByteReader(Buffer.concat(list.map((present) => encode(present, count))));
      const subsets = new ColumnSubsets(count);
      for (const present of list) {
        expect(subsets.read(reader) ?? Array.from({ length: count }, (_, index) => index)).toEqual(present);
      }
      expect(reader.remaining).toBe(0);
    }),
  );
  const twice = new ByteReader(Buffer.concat([encode([1], 3), encode([1], 3)]));
  const subsets = new ColumnSubsets(3);
  expect(subsets.read(twice)).toBe(subsets.read(twice));
});
