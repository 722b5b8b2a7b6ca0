import { crc32 } from 'node:zlib';

/**
 * Checksums of v5 segments (section 2.2 of the v5 specification; org.apache.cassandra.net.Crc). Both start from values
 * that are not the usual ones, so that a run of zeros does not check out.
 */
const CRC24_INITIAL = 0x875060;
const CRC24_POLYNOMIAL = 0x1974f0b;
const CRC32_INITIAL = crc32(Buffer.from([0xfa, 0x2d, 0x55, 0xca]));

/** CRC24 of `length` (at most 5) header bytes from `offset`. */
export function segmentHeaderCrc(bytes: Uint8Array, offset: number, length: number): number {
  let crc = CRC24_INITIAL;
  for (let index = offset; index < offset + length; index++) {
    crc ^= bytes[index]! << 16;
    for (let bit = 0; bit < 8; bit++) {
      crc <<= 1;
      if ((crc & 0x1000000) !== 0) crc ^= CRC24_POLYNOMIAL;
    }
  }
  return crc;
}

/** CRC32 of a segment's payload as it is on the wire (compressed, if it is). Unsigned. */
export function segmentPayloadCrc(payload: Uint8Array): number {
  return crc32(payload, CRC32_INITIAL);
}
