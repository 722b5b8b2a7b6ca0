import fc from 'fast-check';
import { decompressLz4Raw } from 'hyparquet-compressors';
import { expect, test } from 'vitest';
import { decodeLz4Block, encodeLz4Block, lz4CompressBound } from '#core/bytes/lz4.ts';

function compress(input: Uint8Array): Uint8Array {
  const output = new Uint8Array(lz4CompressBound(input.length));
  return output.subarray(0, encodeLz4Block(input, output, 0));
}

const inputs = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .array(fc.constantFrom('abc', 'abcdefgh', 'x', 'yyyyyyyyyyyyyyyyyyyyyy'), { maxLength: 400 })
    .map((words) => Uint8Array.from(Buffer.from(words.join('')))),
);

test('what is compressed comes back, by this decoder and by an independent one', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const block = compress(input);
      const output = new Uint8Array(input.length);
      expect(decodeLz4Block(block, 0, block.length, output, 0, output.length)).toBe(input.length);
      expect(output).toEqual(input);
      if (input.length > 0) expect(Uint8Array.from(decompressLz4Raw(block, input.length))).toEqual(input);
    }),
  );
});

test('repetition is compressed', () => {
  expect(compress(new Uint8Array(100_000)).length).toBeLessThan(500);
});

test('a block that is cut short or says nonsense is refused, never read or written out of bounds', () => {
  const input = Buffer.from('abcdabcdabcdabcdabcdabcdabcdabcd the tail of it');
  const block = compress(input);
  const output = new Uint8Array(input.length);
  for (let cut = 0; cut < block.length; cut++) {
    expect(decodeLz4Block(block, 0, cut, output, 0, output.length)).not.toBe(input.length);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      const guarded = new Uint8Array(60).fill(0xaa);
      const written = decodeLz4Block(noise, 0, noise.length, guarded, 10, 50);
      expect(written).toBeLessThanOrEqual(40);
      expect(guarded.subarray(0, 10).every((byte) => byte === 0xaa)).toBe(true);
      expect(guarded.subarray(50).every((byte) => byte === 0xaa)).toBe(true);
    }),
  );
});
