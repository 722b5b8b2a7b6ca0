import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { segmentHeaderCrc, segmentPayloadCrc } from '#core/cql/crc.ts';

/** Bit by bit, as the specification has it. */
function slowHeaderCrc(bytes: Uint8Array): number {
  let crc = 0x875060;
  for (const byte of bytes) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit++) {
      crc <<= 1;
      if ((crc & 0x1000000) !== 0) crc ^= 0x1974f0b;
    }
  }
  return crc;
}

test('the CRC24 of a header is that of the specification', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 3, maxLength: 5 }), fc.nat(4), (header, offset) => {
      const bytes = Buffer.concat([Buffer.alloc(offset, 0xff), header, Buffer.alloc(3, 0xff)]);
      expect(segmentHeaderCrc(bytes, offset, header.length)).toBe(slowHeaderCrc(header));
    }),
  );
});

test('the CRC32 of a payload is that of its initial bytes and its own, of any length and wherever it lies', () => {
  const initial = Buffer.from([0xfa, 0x2d, 0x55, 0xca]);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600, size: 'max' }), fc.nat(20), (payload, offset) => {
      const bytes = Buffer.concat([Buffer.alloc(offset, 0xff), payload, Buffer.alloc(9, 0xff)]);
      const expected = crc32(Buffer.concat([initial, payload]));
      expect(segmentPayloadCrc(bytes, offset, offset + payload.length)).toBe(expected);
    }),
  );
});
