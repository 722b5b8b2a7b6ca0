import fc from 'fast-check';
import { compressors } from 'hyparquet-compressors';
import { expect, test } from 'vitest';
import { MAX_BLOCK_BYTES } from '#core/bytes/block-decoders.ts';
import { decodeSnappy } from '#core/bytes/snappy.ts';

type Element = { readonly literal: readonly number[] } | { readonly distance: number; readonly length: number };

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
  return [...bytes, left];
}

/** A second, plain writer: picks the form of each element by what fits, and says what must come out. */
function write(elements: readonly Element[]): { readonly block: Uint8Array; readonly plain: Uint8Array } {
  const body: number[] = [];
  const plain: number[] = [];
  for (const element of elements) {
    if ('literal' in element) {
      const { literal } = element;
      const last = literal.length - 1;
      if (last < 60) body.push(last << 2);
      else if (last < 0x100) body.push(60 << 2, last);
      else body.push(61 << 2, last & 0xff, last >> 8);
      body.push(...literal);
      plain.push(...literal);
      continue;
    }
    const distance = 1 + ((element.distance - 1) % Math.max(1, plain.length));
    if (plain.length === 0) continue;
    const { length } = element;
    if (length >= 4 && length <= 11 && distance < 2048) {
      body.push(((distance >> 8) << 5) | ((length - 4) << 2) | 1, distance & 0xff);
    } else if (length % 2 === 0) {
      body.push(((length - 1) << 2) | 2, distance & 0xff, distance >> 8);
    } else {
      body.push(((length - 1) << 2) | 3, distance & 0xff, distance >> 8, 0, 0);
    }
    for (let index = 0; index < length; index++) plain.push(plain[plain.length - distance]!);
  }
  return { block: Uint8Array.from([...varint(plain.length), ...body]), plain: Uint8Array.from(plain) };
}

const elements: fc.Arbitrary<Element[]> = fc.array(
  fc.oneof(
    fc.record({ literal: fc.array(fc.nat(255), { minLength: 1, maxLength: 400 }) }),
    fc.record({ distance: fc.integer({ min: 1, max: 3000 }), length: fc.integer({ min: 1, max: 64 }) }),
  ),
  { maxLength: 40 },
);

test('every kind of element is decoded, as an independent decoder does it, and nothing beside the room is touched', () => {
  fc.assert(
    fc.property(elements, (list) => {
      const { block, plain } = write(list);
      const output = new Uint8Array(plain.length + 20).fill(0xaa);
      expect(decodeSnappy(block, output, 10, 10 + plain.length)).toBe(plain.length);
      expect(output.subarray(10, 10 + plain.length)).toEqual(plain);
      expect(output.subarray(0, 10).every((byte) => byte === 0xaa)).toBe(true);
      expect(output.subarray(10 + plain.length).every((byte) => byte === 0xaa)).toBe(true);
      if (plain.length > 0) expect(Uint8Array.from(compressors.SNAPPY!(block, plain.length))).toEqual(plain);
    }),
  );
});

test('a block that is cut short, or made for another room, is refused', () => {
  const { block, plain } = write([
    { literal: Array.from('abcdefghijklmnop', (letter) => letter.charCodeAt(0)) },
    { distance: 3, length: 40 },
    { distance: 16, length: 7 },
  ]);
  for (let cut = 0; cut < block.length; cut++) {
    expect(decodeSnappy(block.subarray(0, cut), new Uint8Array(plain.length), 0, plain.length)).toBe(-1);
  }
  expect(decodeSnappy(block, new Uint8Array(100), 0, plain.length - 1)).toBe(-1);
  expect(decodeSnappy(block, new Uint8Array(100), 0, plain.length + 1)).toBe(-1);
});

test('noise never reads or writes out of bounds, and what earlier blocks left never comes out', () => {
  const secret = new Uint8Array(4096).fill(0x53);
  const filled = write([{ literal: [...secret] }]);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      decodeSnappy(filled.block, new Uint8Array(4096), 0, 4096);
      const guarded = new Uint8Array(60).fill(0xaa);
      const written = decodeSnappy(
        Uint8Array.from([40, ...noise.map((byte) => (byte === 0x53 ? 0 : byte))]),
        guarded,
        10,
        50,
      );
      expect([-1, 40]).toContain(written);
      expect(guarded.subarray(0, 10).every((byte) => byte === 0xaa)).toBe(true);
      expect(guarded.subarray(50).every((byte) => byte === 0xaa)).toBe(true);
      expect(guarded.includes(0x53)).toBe(false);
    }),
  );
});

test('blocks larger than the scratch memory takes are decoded as well', () => {
  const piece = 65536;
  const count = MAX_BLOCK_BYTES / piece + 1;
  const block = Buffer.alloc(4 + count * (3 + piece), 7);
  const length = varint(count * piece);
  expect(length.length).toBe(4);
  block.set(length, 0);
  for (let index = 0; index < count; index++) block.set([61 << 2, 0xff, 0xff], 4 + index * (3 + piece));
  const output = new Uint8Array(count * piece);
  expect(decodeSnappy(block, output, 0, output.length)).toBe(output.length);
  expect(output.every((byte) => byte === 7)).toBe(true);
});
