import { createRequire } from 'node:module';
import type { types } from 'cassandra-driver';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';

// The driver keeps its tokenizer internal; it is an implementation of the same hash that is not ours.
interface DriverTokenizer {
  hash(key: Buffer): { getValue(): types.Long };
}
const driverTokenizer: { Murmur3Tokenizer: new () => DriverTokenizer } = createRequire(import.meta.url)(
  'cassandra-driver/lib/tokenizer.js',
);
const murmur3 = new driverTokenizer.Murmur3Tokenizer();

function driverToken(key: Uint8Array): bigint {
  return BigInt(murmur3.hash(Buffer.from(key)).getValue().toString());
}

test('gives the tokens that SELECT token(pk) gives for known keys', () => {
  expect(tokenOf(Uint8Array.of(0, 0, 0, 1))).toBe(-4069959284402364209n);
  expect(tokenOf(Uint8Array.of(0x61))).toBe(-8839064797231613815n);
});

test('gives the empty key the smallest token', () => {
  expect(tokenOf(new Uint8Array(0))).toBe(MIN_TOKEN);
});

test("agrees with the driver's tokenizer for keys of every length up to 100, high bits included", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (key) => {
      expect(tokenOf(key)).toBe(driverToken(key));
    }),
    { numRuns: 2000 },
  );
  for (let length = 1; length <= 40; length++) {
    const key = new Uint8Array(length).map((_, index) => 0x80 | (index * 37));
    expect(tokenOf(key)).toBe(driverToken(key));
  }
});

test('never gives a key that has bytes a token outside (MIN, MAX]', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 20 }), (key) => {
      const token = tokenOf(key);
      expect(token > MIN_TOKEN && token <= MAX_TOKEN).toBe(true);
    }),
  );
});
