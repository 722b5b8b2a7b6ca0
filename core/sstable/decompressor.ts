import { inflateSync, zstdDecompressSync } from 'node:zlib';
import { decodeLz4Block } from '#core/bytes/lz4.ts';
import { decodeSnappy } from '#core/bytes/snappy.ts';
import { SSTableUnsupportedError } from '#core/errors.ts';

/**
 * Decompresses one chunk into `output` [start, end). Returns whether exactly these bytes came out; may throw whatever
 * its library throws on broken input.
 */
export type Decompressor = (chunk: Uint8Array, output: Uint8Array, start: number, end: number) => boolean;

const LZ4_LENGTH_BYTES = 4;

const DECOMPRESSORS: Readonly<Record<string, Decompressor>> = {
  // u32 little-endian plain length, then one block without a frame.
  LZ4Compressor: (chunk, output, start, end) => {
    const plain = chunk[0]! | (chunk[1]! << 8) | (chunk[2]! << 16) | (chunk[3]! << 24);
    if (chunk.length < LZ4_LENGTH_BYTES || plain !== end - start) return false;
    return decodeLz4Block(chunk, LZ4_LENGTH_BYTES, chunk.length, output, start, end) === plain;
  },
  SnappyCompressor: (chunk, output, start, end) => decodeSnappy(chunk, output, start, end) === end - start,
  DeflateCompressor: (chunk, output, start, end) =>
    place(inflateSync(chunk, { maxOutputLength: end - start + 1 }), output, start, end),
  ZstdCompressor: (chunk, output, start, end) =>
    place(zstdDecompressSync(chunk, { maxOutputLength: end - start + 1 }), output, start, end),
  NoopCompressor: place,
};

/**
 * @param file for messages
 * @throws SSTableUnsupportedError for compressors that are not Cassandra's own
 */
export function decompressorOf(name: string, file: string): Decompressor {
  const decompressor = DECOMPRESSORS[name.slice(name.lastIndexOf('.') + 1)];
  if (!decompressor) {
    throw new SSTableUnsupportedError(
      `${file}: the compressor ${name} is not read; set one of ${Object.keys(DECOMPRESSORS).join(', ')} on the table and rewrite it with nodetool upgradesstables -a`,
      { context: { file, compressor: name } },
    );
  }
  return decompressor;
}

function place(plain: Uint8Array, output: Uint8Array, start: number, end: number): boolean {
  if (plain.length !== end - start) return false;
  output.set(plain, start);
  return true;
}
