import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SnapshotIncompleteError, SSTableCorruptError } from '#core/errors.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { verifySSTable } from '#core/sstable/verify.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { fixture } from './fixtures.ts';
import { readAll } from './read-all.ts';

const ALL = [
  'Data.db',
  'Statistics.db',
  'CompressionInfo.db',
  'CRC.db',
  'Digest.crc32',
  'Index.db',
  'Summary.db',
  'TOC.txt',
  'Partitions.db',
  'Rows.db',
];

// LZ4 in several chunks, Snappy, Deflate, Zstd, no compression; of each format.
const TITLES = [
  '4.1-nb-big/statics/nb-1-big',
  '4.1-nb-big/wide/nb-1-big',
  '4.1-nb-big/types_all/nb-1-big',
  '5.0-oa-big/colls/oa-1-big',
  '5.0-oa-big/udts/oa-1-big',
  '5.0-da-bti/statics/da-1-bti',
];

test.for(TITLES)('every flipped byte of Data.db of %s is detected, with file and offset', async (title) => {
  const files = await MemoryFiles.of(fixture(title).files, ALL);
  const data = files.components.get('Data.db')!;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: usedBytes(files) - 1 }),
      fc.integer({ min: 1, max: 255 }),
      async (at, flip) => {
        data[at]! ^= flip;
        try {
          const error = await failureOf(readAll(openPartitionCursor(await openSSTable(files))));
          expect(error).toBeInstanceOf(SSTableCorruptError);
          expect((error as SSTableCorruptError).message).toContain('Data.db, offset ');
          expect((error as SSTableCorruptError).context).toMatchObject({ file: expect.stringContaining('Data.db') });
        } finally {
          data[at]! ^= flip;
        }
      },
    ),
    { numRuns: 60 },
  );
});

/** Compaction may leave one more chunk that is empty; reading never touches it, the digest does. */
function usedBytes(files: MemoryFiles): number {
  const info = files.components.get('CompressionInfo.db');
  const data = files.components.get('Data.db')!;
  if (!info) return data.length;
  const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
  let at = 2 + view.getUint16(0);
  const options = view.getInt32(at);
  at += 4;
  for (let left = options * 2; left > 0; left--) at += 2 + view.getUint16(at);
  const chunkBytes = view.getInt32(at);
  const used = Math.ceil(Number(view.getBigInt64(at + 8)) / chunkBytes);
  const listed = view.getInt32(at + 16);
  return used < listed ? Number(view.getBigInt64(at + 20 + 8 * used)) : data.length;
}

test('every flipped byte of Statistics.db is detected, from version na on', async () => {
  const files = await MemoryFiles.of(fixture('4.1-nb-big/multipk/nb-1-big').files, ALL);
  const bytes = files.components.get('Statistics.db')!;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: bytes.length - 1 }), async (at) => {
      bytes[at]! ^= 0x41;
      try {
        expect(await failureOf(openSSTable(files))).toBeInstanceOf(SSTableCorruptError);
      } finally {
        bytes[at]! ^= 0x41;
      }
    }),
    { numRuns: 300 },
  );
});

test('a Data.db cut at any length fails to be verified', async () => {
  const files = await MemoryFiles.of(fixture('4.1-nb-big/udts/nb-1-big').files, ALL);
  const data = files.components.get('Data.db')!;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: data.length - 1 }), async (length) => {
      files.components.set('Data.db', data.slice(0, length));
      expect(await failureOf(verifySSTable(files))).toBeInstanceOf(SSTableCorruptError);
    }),
    { numRuns: 60 },
  );
});

test('a compressed SSTable without CompressionInfo.db is incomplete, not uncompressed', async () => {
  const files = await MemoryFiles.of(fixture('5.0-oa-big/simple/oa-1-big').files, ALL);
  files.components.delete('CompressionInfo.db');
  await expect(openSSTable(files)).rejects.toThrow(SnapshotIncompleteError);
});

test('a component that TOC.txt names must be there, unless nobody reads it', async () => {
  const files = await MemoryFiles.of(fixture('5.0-oa-big/simple/oa-1-big').files, ALL);
  expect((await verifySSTable(files)).missingOptional).toEqual(['Filter.db']);
  files.components.delete('Summary.db');
  await expect(verifySSTable(files)).rejects.toThrow(/Summary.db missing/);
});

test('a digest of other data is detected', async () => {
  const files = await MemoryFiles.of(fixture('5.0-oa-big/simple/oa-1-big').files, ALL);
  files.components.set('Digest.crc32', new TextEncoder().encode('12345'));
  await expect(verifySSTable(files)).rejects.toThrow(/whole file has checksum/);
});

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return undefined;
}
