import { crc32 } from 'node:zlib';

/**
 * Checksums of v5 segments (section 2.2 of the v5 specification; org.apache.cassandra.net.Crc). Both start from values
 * that are not the usual ones, so that a run of zeros does not check out.
 */
const CRC24_INITIAL = 0x875060;
const CRC24_POLYNOMIAL = 0x1974f0b;
const CRC32_INITIAL = crc32(Buffer.from([0xfa, 0x2d, 0x55, 0xca]));
const CRC32_POLYNOMIAL = 0xedb88320;
/** Shorter payloads, which nearly all are, are faster in tables: the native call needs a view and crosses over. */
const MIN_NATIVE_BYTES = 256;
const SLICES = 8;

const CRC24_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 16;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 0x800000) === 0 ? crc << 1 : (crc << 1) ^ CRC24_POLYNOMIAL;
  return crc & 0xffffff;
});

/** Eight tables of 256: the n-th one is for a byte that n others follow, so that eight bytes are taken at once. */
const CRC32_TABLES = new Int32Array(256 * SLICES);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ CRC32_POLYNOMIAL;
  CRC32_TABLES[byte] = crc;
}
for (let at = 256; at < CRC32_TABLES.length; at++) {
  const before = CRC32_TABLES[at - 256]!;
  CRC32_TABLES[at] = CRC32_TABLES[before & 0xff]! ^ (before >>> 8);
}

/** CRC24 of `length` (at most 5) header bytes from `offset`. */
export function segmentHeaderCrc(bytes: Uint8Array, offset: number, length: number): number {
  let crc = CRC24_INITIAL;
  for (let index = offset; index < offset + length; index++) {
    crc = ((crc << 8) ^ CRC24_TABLE[((crc >> 16) ^ bytes[index]!) & 0xff]!) & 0xffffff;
  }
  return crc;
}

/** CRC32 of a segment's payload, which lies at [start, end) as it is on the wire (compressed, if it is). Unsigned. */
export function segmentPayloadCrc(bytes: Uint8Array, start: number, end: number): number {
  if (end - start >= MIN_NATIVE_BYTES) return crc32(bytes.subarray(start, end), CRC32_INITIAL);
  const tables = CRC32_TABLES;
  let crc = ~CRC32_INITIAL;
  let at = start;
  for (const last = end - SLICES; at <= last; at += SLICES) {
    const low = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    const high = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
    crc =
      tables[1792 + (low & 0xff)]! ^
      tables[1536 + ((low >>> 8) & 0xff)]! ^
      tables[1280 + ((low >>> 16) & 0xff)]! ^
      tables[1024 + (low >>> 24)]! ^
      tables[768 + (high & 0xff)]! ^
      tables[512 + ((high >>> 8) & 0xff)]! ^
      tables[256 + ((high >>> 16) & 0xff)]! ^
      tables[high >>> 24]!;
  }
  for (; at < end; at++) crc = tables[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
