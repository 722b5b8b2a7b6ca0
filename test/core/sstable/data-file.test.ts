import { crc32, deflateSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { encodeLz4Block, lz4CompressBound } from '#core/bytes/lz4.ts';
import { SSTableCorruptError, SSTableUnsupportedError } from '#core/errors.ts';
import { compressedDataFile } from '#core/sstable/data-file.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { fixture } from '../../golden/fixtures.ts';
import { readAll } from '../../golden/read-all.ts';
import { MemoryFiles, memorySource } from '../../support/byte-sources.ts';

type Compress = (plain: Uint8Array) => Uint8Array;

const COMPRESSORS: Readonly<Record<string, Compress>> = {
  DeflateCompressor: (plain) => deflateSync(plain),
  ZstdCompressor: (plain) => zstdCompressSync(plain),
  NoopCompressor: (plain) => plain,
  LZ4Compressor: (plain) => {
    const out = Buffer.alloc(4 + lz4CompressBound(plain.length));
    out.writeUInt32LE(plain.length, 0);
    return out.subarray(0, 4 + encodeLz4Block(plain, out, 4));
  },
};

const CHUNK_BYTES = 4096;

/** An uncompressed fixture, compressed by a second, dumb writer. */
async function compressed(name: string, compress: Compress, maxCompressedBytes: number, extraChunk: Uint8Array | null) {
  const files = await MemoryFiles.of(fixture('4.1-nb-big/udts/nb-1-big').files, ['Data.db', 'Statistics.db', 'CRC.db']);
  const plain = files.components.get('Data.db')!;
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < plain.length; at += CHUNK_BYTES) {
    const piece = plain.subarray(at, at + CHUNK_BYTES);
    const packed = compress(piece);
    // What does not get small enough is stored raw.
    chunks.push(packed.length >= maxCompressedBytes ? piece : packed);
  }
  if (extraChunk) chunks.push(extraChunk);
  const offsets: number[] = [];
  const stored: Buffer[] = [];
  let position = 0;
  for (const chunk of chunks) {
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(crc32(chunk));
    offsets.push(position);
    stored.push(Buffer.from(chunk), crc);
    position += chunk.length + 4;
  }
  const info = Buffer.alloc(2 + name.length + 4 + 4 + 4 + 8 + 4 + 8 * chunks.length);
  let at = info.writeUInt16BE(name.length, 0);
  at += info.write(name, at, 'latin1');
  at = info.writeInt32BE(0, at);
  at = info.writeInt32BE(CHUNK_BYTES, at);
  at = info.writeInt32BE(maxCompressedBytes, at);
  at = info.writeBigInt64BE(BigInt(plain.length), at);
  at = info.writeInt32BE(chunks.length, at);
  for (const offset of offsets) at = info.writeBigInt64BE(BigInt(offset), at);
  files.components.set('Data.db', Buffer.concat(stored));
  files.components.set('CompressionInfo.db', info);
  files.components.delete('CRC.db');
  return files;
}

async function eventsOfPlain() {
  return readAll(openPartitionCursor(await openSSTable(fixture('4.1-nb-big/udts/nb-1-big').files)));
}

for (const [name, compress] of Object.entries(COMPRESSORS)) {
  test(`${name} chunks give the same partitions as the uncompressed file`, async () => {
    const files = await compressed(name, compress, 0x7fffffff, null);
    expect(await readAll(openPartitionCursor(await openSSTable(files)))).toEqual(await eventsOfPlain());
  });

  test(`${name} chunks that did not get smaller are raw, and an empty chunk at the end is not read`, async () => {
    // Some chunks of this file get below 1,200 bytes, others do not.
    const empty = name === 'LZ4Compressor' ? new Uint8Array(5) : new Uint8Array(0);
    const files = await compressed(name, compress, 1200, empty);
    expect(await readAll(openPartitionCursor(await openSSTable(files)))).toEqual(await eventsOfPlain());
  });
}

test('a compressor that is not known is refused by name, with what to do', async () => {
  const files = await compressed('ZstdWithDictsCompressor', (plain) => plain, 0x7fffffff, null);
  const failure = await openSSTable(files).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(SSTableUnsupportedError);
  expect((failure as Error).message).toMatch(/ZstdWithDictsCompressor is not read.*upgradesstables/);
});

test('a damaged chunk offset does not make it read the rest of a large file', async () => {
  const offsets = Buffer.alloc(16);
  offsets.writeBigInt64BE(1000n, 0);
  offsets.writeBigInt64BE(2000n, 8);
  const info = {
    compressor: 'LZ4Compressor',
    chunkBytes: CHUNK_BYTES,
    maxCompressedBytes: 0x7fffffff,
    dataBytes: 2 * CHUNK_BYTES,
    chunkCount: 2,
    listedChunkCount: 2,
    offsetsStart: 0,
  };
  let bytesRead = 0;
  const large = {
    name: 'Data.db',
    byteLength: 50_000_000_000,
    read: async (start: number, end: number) => {
      bytesRead += end - start;
      return new Uint8Array(0);
    },
  };
  const open = () => compressedDataFile(large, info, memorySource(offsets, 'CompressionInfo.db'));
  await expect(open().fetch(CHUNK_BYTES, 2 * CHUNK_BYTES)).rejects.toBeInstanceOf(SSTableCorruptError);
  expect(bytesRead).toBe(0);
  offsets.writeBigInt64BE(2000n | (1n << 34n), 8);
  await expect(open().fetch(0, CHUNK_BYTES)).rejects.toThrow('CompressionInfo.db, offset 0');
  expect(bytesRead).toBe(0);
  offsets.writeBigInt64BE(2000n, 8);
  await open().fetch(0, CHUNK_BYTES);
  expect(bytesRead).toBe(1000);
});
