import { crc32 } from 'node:zlib';
import type { ByteSource } from '#core/ports.ts';
import type { CompressionInfo } from './compression-info.ts';
import { type Decompressor, decompressorOf } from './decompressor.ts';
import { corrupt } from './sstable-files.ts';
import { WordTable } from './word-table.ts';

/** Stored bytes of one window of Data.db, not yet checked or decompressed. */
export interface StoredWindow {
  /** Plain positions of what the window holds. */
  readonly start: number;
  readonly end: number;
  /** Bytes that `unpack` writes: `end − start`. */
  readonly plainBytes: number;
  /** Checks the checksums and writes the plain bytes into `output` from `at` on. @throws SSTableCorruptError */
  unpack(output: Uint8Array, at: number): void;
}

/** Data.db as plain bytes, read window by window with every checksum verified. */
export interface DataFile {
  readonly name: string;
  /** Plain bytes. */
  readonly byteLength: number;
  /** Windows begin and end at multiples of this, or at the end. */
  readonly granularityBytes: number;
  /** Fetches (start rounded down, end rounded up) with one read of Data.db. */
  fetch(start: number, end: number, signal?: AbortSignal): Promise<StoredWindow>;
}

const CRC_BYTES = 4;
/** More than any compressor makes of data that it can't compress (Snappy: 7/6), and of an empty chunk. */
const MAX_GROWTH = 2;
const MAX_OVERHEAD_BYTES = 1024;

/**
 * Compressed Data.db: chunk i takes [offset i, offset i+1), its last 4 bytes are the CRC32 of the stored bytes before.
 * Chunks whose stored size reaches `maxCompressedBytes` are raw.
 *
 * @throws SSTableUnsupportedError for a compressor that is not known
 * @see org.apache.cassandra.io.util.CompressedChunkReader
 */
export function compressedDataFile(data: ByteSource, info: CompressionInfo, infoSource: ByteSource): DataFile {
  const decompress = decompressorOf(info.compressor, infoSource.name);
  const offsets = new WordTable(infoSource, info.offsetsStart, info.listedChunkCount, 8);
  const { chunkBytes, dataBytes, chunkCount, listedChunkCount } = info;
  return {
    name: data.name,
    byteLength: dataBytes,
    granularityBytes: chunkBytes,
    async fetch(start, end, signal) {
      const first = Math.floor(start / chunkBytes);
      const last = Math.min(Math.ceil(end / chunkBytes), chunkCount) - 1;
      const bounds = await offsets.read(first, Math.min(last + 2, listedChunkCount), signal);
      if (last + 1 === listedChunkCount) bounds.push(data.byteLength);
      const storedStart = bounds[0]!;
      const storedEnd = bounds[last - first + 1]!;
      for (let index = 0; index <= last - first; index++) {
        const storedBytes = bounds[index + 1]! - bounds[index]!;
        // CompressionInfo.db has no checksum: a damaged offset must not make this read the rest of a large file.
        const isSize = storedBytes >= CRC_BYTES && storedBytes <= MAX_GROWTH * chunkBytes + MAX_OVERHEAD_BYTES;
        if (!isSize || bounds[index + 1]! > data.byteLength) {
          const entry = info.offsetsStart + 8 * (first + index);
          throw corrupt(
            infoSource.name,
            entry,
            `chunk ${first + index} can not end at ${bounds[index + 1]} of ${data.name}`,
          );
        }
      }
      const stored = await data.read(storedStart, storedEnd, signal);
      const plainStart = first * chunkBytes;
      const plainEnd = Math.min((last + 1) * chunkBytes, dataBytes);
      return {
        start: plainStart,
        end: plainEnd,
        plainBytes: plainEnd - plainStart,
        unpack(output, at) {
          for (let index = 0; index <= last - first; index++) {
            const from = bounds[index]! - storedStart;
            const to = bounds[index + 1]! - storedStart;
            const plainAt = at + index * chunkBytes;
            const plainTo = Math.min(plainAt + chunkBytes, at + plainEnd - plainStart);
            const chunk = checkedChunk(stored, from, to, storedStart, data.name);
            unpackChunk(chunk, output, plainAt, plainTo, info, decompress, storedStart + from, data.name);
          }
        },
      };
    },
  };
}

function checkedChunk(stored: Uint8Array, from: number, to: number, storedStart: number, file: string): Uint8Array {
  const chunk = stored.subarray(from, to - CRC_BYTES);
  const expected = bigEndian32(stored, to - CRC_BYTES);
  const actual = crc32(chunk);
  if (actual !== expected) throw checksumMismatch(file, storedStart + from, expected, actual);
  return chunk;
}

function unpackChunk(
  chunk: Uint8Array,
  output: Uint8Array,
  start: number,
  end: number,
  info: CompressionInfo,
  decompress: Decompressor,
  fileOffset: number,
  file: string,
): void {
  let fits: boolean;
  try {
    if (chunk.length >= info.maxCompressedBytes) {
      fits = isRaw(chunk, end - start, info.maxCompressedBytes);
      if (fits) output.set(chunk.subarray(0, end - start), start);
    } else {
      fits = decompress(chunk, output, start, end);
    }
  } catch (error) {
    throw corrupt(file, fileOffset, `the chunk can not be decompressed with ${info.compressor}`, error);
  }
  if (!fits) throw corrupt(file, fileOffset, `the chunk does not hold ${end - start} bytes of ${info.compressor}`);
}

/** A raw chunk has the bytes themselves, and zeros up to the size that makes it raw. */
function isRaw(chunk: Uint8Array, plainBytes: number, leastBytes: number): boolean {
  if (chunk.length !== Math.max(plainBytes, leastBytes)) return false;
  for (let at = plainBytes; at < chunk.length; at++) if (chunk[at] !== 0) return false;
  return true;
}

const CRC_HEADER_BYTES = 4;

/**
 * Uncompressed Data.db; CRC.db: i32 chunkSize, then one u32 CRC32 per chunkSize bytes of Data.db.
 *
 * @throws SSTableCorruptError when CRC.db does not cover the file
 * @see org.apache.cassandra.io.util.DataIntegrityMetadata.ChecksumValidator
 */
export async function plainDataFile(data: ByteSource, crc: ByteSource, signal?: AbortSignal): Promise<DataFile> {
  if (crc.byteLength < CRC_HEADER_BYTES) throw corrupt(crc.name, 0, 'shorter than its header');
  const chunkBytes = bigEndian32(await crc.read(0, CRC_HEADER_BYTES, signal), 0);
  const chunkCount = chunkBytes === 0 ? 0 : Math.ceil(data.byteLength / chunkBytes);
  if (chunkBytes < 1 || chunkBytes > 64 * 1024 * 1024 || crc.byteLength < CRC_HEADER_BYTES + 4 * chunkCount) {
    throw corrupt(crc.name, 0, `pieces of ${chunkBytes} bytes do not cover ${data.byteLength} bytes of ${data.name}`);
  }
  const checksums = new WordTable(crc, CRC_HEADER_BYTES, chunkCount, 4);
  return {
    name: data.name,
    byteLength: data.byteLength,
    granularityBytes: chunkBytes,
    async fetch(start, end, signal) {
      const first = Math.floor(start / chunkBytes);
      const last = Math.min(Math.ceil(end / chunkBytes), chunkCount) - 1;
      const expected = await checksums.read(first, last + 1, signal);
      const plainStart = first * chunkBytes;
      const plainEnd = Math.min((last + 1) * chunkBytes, data.byteLength);
      const stored = await data.read(plainStart, plainEnd, signal);
      return {
        start: plainStart,
        end: plainEnd,
        plainBytes: plainEnd - plainStart,
        unpack(output, at) {
          for (let index = 0; index <= last - first; index++) {
            const piece = stored.subarray(index * chunkBytes, (index + 1) * chunkBytes);
            const actual = crc32(piece);
            if (actual !== expected[index]) {
              throw checksumMismatch(data.name, plainStart + index * chunkBytes, expected[index]!, actual);
            }
          }
          output.set(stored, at);
        },
      };
    },
  };
}

function bigEndian32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function checksumMismatch(file: string, offset: number, expected: number, actual: number): Error {
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  return corrupt(file, offset, `checksum ${hex(expected)} stored, ${hex(actual)} computed`);
}
