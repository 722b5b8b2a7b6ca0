import fc from 'fast-check';
import { decompressLz4Raw } from 'hyparquet-compressors';
import { expect, test } from 'vitest';
import { MAX_BLOCK_BYTES } from '#core/bytes/block-decoders.ts';
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

test('matches of every distance and length repeat what stands before them', () => {
  for (let distance = 1; distance <= 40; distance++) {
    for (const length of [4, 5, 7, 8, 9, 15, 16, 17, 18, 19, 24, 31, 32, 33, 64, 100, 273, 300]) {
      const literals = Uint8Array.from({ length: 40 }, (_, index) => index + 1);
      const more = length - 4 >= 15 ? length - 19 : -1;
      const block = Uint8Array.from([
        0xf0 | Math.min(15, length - 4),
        40 - 15,
        ...literals,
        distance,
        0,
        ...(more < 0 ? [] : more >= 255 ? [255, more - 255] : [more]),
        0x10,
        99,
      ]);
      const expected = [...literals];
      for (let index = 0; index < length; index++) expected.push(expected[expected.length - distance]!);
      expected.push(99);
      const output = new Uint8Array(expected.length);
      expect(decodeLz4Block(block, 0, block.length, output, 0, output.length)).toBe(expected.length);
      expect([...output]).toEqual(expected);
    }
  }
});

test('lengths beyond any room are refused, and what earlier blocks left never comes out', () => {
  const secret = compress(new Uint8Array(4096).fill(0x53));
  const endless = new Uint8Array(4096).fill(0xff);
  expect(decodeLz4Block(endless, 0, endless.length, new Uint8Array(64), 0, 64)).toBe(-1);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      expect(decodeLz4Block(secret, 0, secret.length, new Uint8Array(4096), 0, 4096)).toBe(4096);
      const output = new Uint8Array(64);
      const input = noise.map((byte) => (byte === 0x53 ? 0 : byte));
      decodeLz4Block(input, 0, input.length, output, 0, output.length);
      expect(output.includes(0x53)).toBe(false);
    }),
  );
});

test('a block larger than the scratch memory takes is decoded as well, or refused', () => {
  const input = Buffer.alloc(MAX_BLOCK_BYTES + 100_000, 'a pattern of some length, ');
  const block = compress(input);
  const output = Buffer.alloc(input.length);
  expect(decodeLz4Block(block, 0, block.length, output, 0, output.length)).toBe(input.length);
  expect(output.equals(input)).toBe(true);
  expect(decodeLz4Block(block, 0, block.length - 1, output, 0, output.length)).not.toBe(input.length);
});
