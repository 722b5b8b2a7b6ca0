import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, EndOfBytesError, MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { encodeSignedVint, encodeVint } from '#core/bytes/vint.ts';

test('reads back every unsigned vint of 64 bits', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.integer({ min: 0, max: 63 }), (wide, shift) => {
      const value = wide >> BigInt(shift);
      const reader = new ByteReader(encodeVint(value));
      expect(reader.readVint64()).toBe(value);
      expect(reader.remaining).toBe(0);
    }),
    { numRuns: 2000 },
  );
});

test('reads vints up to 2^53 − 1 as numbers and refuses larger ones', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 0, max: 52 }), (wide, shift) => {
      const value = Math.floor(wide / 2 ** shift);
      expect(new ByteReader(encodeVint(value)).readVint()).toBe(value);
    }),
    { numRuns: 2000 },
  );
  expect(() => new ByteReader(encodeVint(2n ** 53n)).readVint()).toThrow(MalformedBytesError);
});

test('reads back zigzag vints', () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      expect(new ByteReader(encodeSignedVint(value)).readSignedVint()).toBe(value);
    }),
  );
});

test('a vint is as long as its first byte says, at every boundary', () => {
  for (let extra = 0; extra <= 8; extra++) {
    const largest = extra === 8 ? 2n ** 64n - 1n : 2n ** BigInt(7 + 7 * extra) - 1n;
    expect(encodeVint(largest)).toHaveLength(extra + 1);
    expect(new ByteReader(encodeVint(largest)).readVint64()).toBe(largest);
  }
});

test('a vint cut at any position is an end of bytes, never a wrong number', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.integer({ min: 0, max: 63 }), (wide, shift) => {
      const bytes = encodeVint(wide >> BigInt(shift));
      for (let cut = 0; cut < bytes.length; cut++) {
        expect(() => new ByteReader(bytes.subarray(0, cut)).readVint64()).toThrow(EndOfBytesError);
        expect(() => new ByteReader(bytes, 0, cut).readVint()).toThrow(EndOfBytesError);
      }
    }),
  );
});

test('reads big-endian integers, signed and unsigned', () => {
  const bytes = Uint8Array.of(0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8);
  const at = (): ByteReader => new ByteReader(bytes);
  expect(at().readInt8()).toBe(-1);
  expect(at().readUint16()).toBe(0xfffe);
  expect(at().readInt16()).toBe(-2);
  expect(at().readUint32()).toBe(0xfffefdfc);
  expect(at().readInt32()).toBe(0xfffefdfc | 0);
  expect(at().readUint64()).toBe(0xfffefdfcfbfaf9f8n);
  expect(at().readInt64()).toBe(BigInt.asIntN(64, 0xfffefdfcfbfaf9f8n));
});

test('a length beyond the limit is refused before it is used', () => {
  const reader = new ByteReader(Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 1, 2));
  expect(() => reader.readBytes32()).toThrow(EndOfBytesError);
  expect(() => new ByteReader(new Uint8Array(4)).skip(-1)).toThrow(EndOfBytesError);
  expect(new ByteReader(Uint8Array.of(0xff, 0xff, 0xff, 0xff)).readBytes32()).toBeUndefined();
});
