import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MigrationError, SnapshotIncompleteError, SSTableCorruptError } from '#core/errors.ts';
import { dumpPartitions } from '#core/sstable/dump.ts';
import type { PartitionCursor } from '#core/model/row.ts';
import type { SerializationHeader } from '#core/sstable/serialization-header.ts';
import { openPartitionCursor, openSSTable, openWithoutSchema } from '#core/sstable/sstable.ts';
import { withTotals } from '#core/sstable/totals.ts';
import { verifySSTable } from '#core/sstable/verify.ts';
import type { TokenRange } from '#core/token/token-range.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { fixture } from './fixtures.ts';
import { readTokens } from './read-all.ts';

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

// Of each format: LZ4, not compressed, and one with a row index; and every other compressor, raw chunks among them.
const TITLES = [
  '4.1-nb-big/statics/nb-1-big',
  '4.1-nb-big/udts/nb-1-big',
  '4.1-nb-big/bigpart/nb-2-big',
  '5.0-oa-big/colls/oa-1-big',
  '5.0-oa-big/udts/oa-1-big',
  '5.0-oa-big/bigpart/oa-2-big',
  '5.0-da-bti/statics/da-1-bti',
  '5.0-da-bti/udts/da-1-bti',
  '5.0-da-bti/bigpart/da-2-bti',
  '4.1-nb-codecs/deflate/nb-2-big',
  '4.1-nb-codecs/noop/nb-2-big',
  '4.1-nb-codecs/ratio/nb-2-big',
  '4.1-nb-codecs/zstd/nb-2-big',
  '4.1-nb-big/types_all/nb-1-big',
];
// Of Cassandra 3.0 and 3.11; LZ4, Snappy, Deflate and not compressed.
const TITLES_3 = [
  '3.x/3.0.6/statics/ma-1-big',
  '3.x/3.0.7/types/mb-1-big',
  '3.x/3.0.16/udts/mc-1-big',
  '3.x/3.11.3/wide/mc-1-big',
  '3.x/3.11.10/tombs/md-1-big',
  '3.x/3.11.19/colls/me-1-big',
];

const copyOf = (title: string) => MemoryFiles.of(fixture(title).files, ALL);

/** All that a full read tells of an SSTable, as a checksum; or the error that it ends with. */
async function fullRead(files: MemoryFiles): Promise<string | MigrationError> {
  const hash = createHash('sha1');
  const options = { form: 'rows', release: '5.0', nowSeconds: 0 } as const;
  return outcomeOf(async () => {
    const sstable = await openWithoutSchema(files);
    const cursor = withTotals(openPartitionCursor(sstable), sstable.stats, sstable.data.name);
    for await (const text of dumpPartitions(cursor, sstable.header, options)) hash.update(text);
    return hash.digest('hex');
  });
}

/** Faults of the program itself are thrown on: a damaged file must be told as one. */
async function outcomeOf<T>(work: () => Promise<T>): Promise<T | MigrationError> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MigrationError) return error;
    throw error;
  }
}

async function withChange<T>(files: MemoryFiles, component: string, changed: Uint8Array, work: () => Promise<T>): Promise<T> {
  const before = files.components.get(component)!;
  files.components.set(component, changed);
  try {
    return await work();
  } finally {
    files.components.set(component, before);
  }
}

const flipped = (bytes: Uint8Array, at: number, flip: number) => bytes.with(at, bytes[at]! ^ flip);
const without = (bytes: Uint8Array, at: number) => Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + 1)]);

test.for([...TITLES, ...TITLES_3])('every flipped or missing byte of Data.db of %s is detected, with file and offset', async (title) => {
  const files = await copyOf(title);
  const data = files.components.get('Data.db')!;
  const at = fc.integer({ min: 0, max: usedBytes(files) - 1 });
  // 0: the byte is missing.
  await fc.assert(
    fc.asyncProperty(at, fc.integer({ min: 0, max: 255 }), async (position, flip) => {
      const changed = flip === 0 ? without(data, position) : flipped(data, position, flip);
      const error = await withChange(files, 'Data.db', changed, () => fullRead(files));
      expect(error).toBeInstanceOf(SSTableCorruptError);
      expect((error as SSTableCorruptError).message).toMatch(/(Data|CompressionInfo|CRC)\.db, offset /);
      expect((error as SSTableCorruptError).context).toMatchObject({ file: expect.stringMatching(/\.db$/) });
    }),
    { numRuns: 40 },
  );
});

test.for(['4.1-nb-big/empties/nb-1-big', '5.0-oa-big/multipk/oa-2-big', '5.0-da-bti/multipk/da-2-bti'])(
  'each byte of Data.db of %s is told when it is another one, missing, or the last',
  async (title) => {
    const files = await copyOf(title);
    const data = files.components.get('Data.db')!;
    const used = usedBytes(files);
    for (let position = 0; position < used; position++) {
      for (const changed of [flipped(data, position, 1), flipped(data, position, 0x80), without(data, position)]) {
        const error = await withChange(files, 'Data.db', changed, () => fullRead(files));
        expect(error).toBeInstanceOf(SSTableCorruptError);
      }
      const cut = await withChange(files, 'Data.db', data.slice(0, position), () => fullRead(files));
      expect(cut).toBeInstanceOf(SSTableCorruptError);
    }
    // What lies behind the used bytes is an empty chunk: reading never touches it, the digest does.
    for (let position = used; position < data.length; position++) {
      await withChange(files, 'Data.db', flipped(data, position, 1), async () => {
        expect(typeof (await fullRead(files))).toBe('string');
        expect(await outcomeOf(() => verifySSTable(files))).toBeInstanceOf(SSTableCorruptError);
      });
    }
  },
);

/** Compaction may leave one more chunk that is empty. */
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

describe('a byte of another component', () => {
  const metadata = ['Statistics.db', 'CompressionInfo.db', 'CRC.db'] as const;

  test.for(TITLES)('of %s that is flipped or missing never changes what a full read gives', async (title) => {
    const files = await copyOf(title);
    const expected = await fullRead(files);
    expect(typeof expected).toBe('string');
    const present = metadata.filter((component) => files.components.has(component));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...present), fc.nat(), fc.nat({ max: 255 }), async (component, seed, flip) => {
        const bytes = files.components.get(component)!;
        const position = seed % bytes.length;
        const changed = flip === 0 ? without(bytes, position) : flipped(bytes, position, flip);
        const outcome = await withChange(files, component, changed, () => fullRead(files));
        if (!(outcome instanceof MigrationError)) expect(outcome).toBe(expected);
        else if (component === 'Statistics.db') expect(outcome).toBeInstanceOf(SSTableCorruptError);
      }),
      { numRuns: 80 },
    );
  });

  // Before version na Statistics.db has no checksums: another base of the write times makes other write times. What tells
  // is the checksum in the snapshot's manifest, which a load and a verification compare.
  test.for(TITLES_3)('of %s that is flipped or missing never changes what rows there are, or what they hold', async (title) => {
    const files = await copyOf(title);
    const read = async () => outcomeOf(async () => valuesOf(openPartitionCursor(await openWithoutSchema(files))));
    const expected = await read();
    const { header } = await openWithoutSchema(files);
    const shapeOf = ({ keyTypes, clusteringTypes, clusteringReversed, staticColumns, regularColumns }: SerializationHeader) => {
      return { keyTypes, clusteringTypes, clusteringReversed, staticColumns, regularColumns };
    };
    const present = metadata.filter((component) => files.components.has(component));
    let told = 0;
    for (const component of present) {
      const bytes = files.components.get(component)!;
      // Most of Statistics.db are empty histograms.
      const step = Math.max(1, Math.floor(bytes.length / 211));
      for (let position = 0; position < bytes.length; position += step) {
        for (const changed of [flipped(bytes, position, 0x01), flipped(bytes, position, 0x80), without(bytes, position)]) {
          await withChange(files, component, changed, async () => {
            const outcome = await read();
            if (outcome instanceof MigrationError) told++;
            else if (!isDeepStrictEqual(outcome, expected)) {
              // Only where the header itself reads otherwise, which nothing but a checksum can tell.
              expect(component).toBe('Statistics.db');
              expect(shapeOf((await openWithoutSchema(files)).header)).not.toEqual(shapeOf(header));
            }
          });
        }
      }
    }
    expect(told).toBeGreaterThan(10);
  });

  // The indexes carry no checksums: a range is read from the partition before it, which proves that none is left out.
  test.for([...TITLES, ...TITLES_3])('of the index of %s never changes a range', async (title) => {
    const files = await copyOf(title);
    const tokens = await readTokens(openPartitionCursor(await openSSTable(files)));
    const bounds = [tokens[0]! - 1n, tokens[0]!, ...tokens.slice(1, -1), tokens.at(-1)!];
    const index = ['Index.db', 'Summary.db', 'Partitions.db', 'Rows.db'].filter((component) => {
      return (files.components.get(component)?.length ?? 0) > 0;
    });
    const bound = fc.constantFrom(...bounds);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...index),
        fc.nat(),
        fc.nat({ max: 255 }),
        bound,
        bound,
        async (component, seed, flip, one, other) => {
          const range = one < other ? { start: one, end: other } : { start: other, end: one };
          fc.pre(one !== other);
          const bytes = files.components.get(component)!;
          const position = seed % bytes.length;
          const changed = flip === 0 ? without(bytes, position) : flipped(bytes, position, flip);
          const expected = tokens.filter((token) => token > range.start && token <= range.end);
          await withChange(files, component, changed, async () => {
            const outcome = await rangeRead(files, range);
            if (!(outcome instanceof MigrationError)) expect(outcome).toEqual(expected);
          });
        },
      ),
      { numRuns: 300 },
    );
  });
});

function rangeRead(files: MemoryFiles, range: TokenRange): Promise<bigint[] | MigrationError> {
  return outcomeOf(async () => readTokens(openPartitionCursor(await openSSTable(files), { range })));
}

/** Keys, clusterings and values, without times. */
async function valuesOf(cursor: PartitionCursor): Promise<string[]> {
  const lines: string[] = [];
  const hex = (value: Uint8Array | null | undefined) => value && Buffer.from(value).toString('hex');
  while (await cursor.fill()) {
    for (let event = cursor.next(); event; event = cursor.next()) {
      if (event.kind === 'partition') lines.push(`partition ${hex(event.key)}`);
      if (event.kind !== 'row') continue;
      const cells = [...event.cells, ...event.multiCells.flatMap((each) => each.cells)];
      const texts = cells.map(({ column, path, value }) => `${column} ${hex(path)} ${hex(value)}`);
      lines.push([...event.clustering.values().map(hex), ...texts].join(';'));
    }
  }
  return lines;
}

test('a Data.db cut at any length fails to be verified', async () => {
  const files = await copyOf('4.1-nb-big/udts/nb-1-big');
  const data = files.components.get('Data.db')!;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: data.length - 1 }), async (length) => {
      files.components.set('Data.db', data.slice(0, length));
      expect(await outcomeOf(() => verifySSTable(files))).toBeInstanceOf(SSTableCorruptError);
    }),
    { numRuns: 60 },
  );
});

test('whole partitions that are missing at the end are told by the totals', async () => {
  const files = await copyOf('4.1-nb-big/udts/nb-1-big');
  const sstable = await openSSTable(files);
  const cursor = openPartitionCursor(sstable);
  let last = 0;
  while (await cursor.fill()) {
    for (let event = cursor.next(); event; event = cursor.next()) if (event.kind === 'partition') last = cursor.position;
  }
  const data = files.components.get('Data.db')!.slice(0, last);
  const checksums = new DataView(new ArrayBuffer(4 + 4 * Math.ceil(last / 65_536)));
  checksums.setInt32(0, 65_536);
  for (let at = 0; at < last; at += 65_536) checksums.setUint32(4 + at / 16_384, crc32(data.subarray(at, at + 65_536)));
  files.components.set('Data.db', data);
  files.components.set('CRC.db', new Uint8Array(checksums.buffer));
  expect(await fullRead(files)).toMatchObject({ message: expect.stringMatching(/but Statistics\.db says/) });
});

test('a compressed SSTable without CompressionInfo.db is incomplete, not uncompressed', async () => {
  const files = await copyOf('5.0-oa-big/simple/oa-1-big');
  files.components.delete('CompressionInfo.db');
  await expect(openSSTable(files)).rejects.toThrow(SnapshotIncompleteError);
});

test('a component that TOC.txt names must be there, unless nobody reads it', async () => {
  const files = await copyOf('5.0-oa-big/simple/oa-1-big');
  expect((await verifySSTable(files)).missingOptional).toEqual(['Filter.db']);
  files.components.delete('Summary.db');
  await expect(verifySSTable(files)).rejects.toThrow(/Summary.db missing/);
});

test('a digest of other data is detected', async () => {
  const files = await copyOf('5.0-oa-big/simple/oa-1-big');
  files.components.set('Digest.crc32', new TextEncoder().encode('12345'));
  await expect(verifySSTable(files)).rejects.toThrow(/whole file has checksum/);
});

test('components that nobody knows are left alone, as ScyllaDB leaves one beside the others', async () => {
  const files = await copyOf('3.x/3.11.19/colls/me-1-big');
  const before = await fullRead(files);
  files.components.set('Scylla.db', new TextEncoder().encode('anything'));
  const toc = files.components.get('TOC.txt')!;
  files.components.set('TOC.txt', new Uint8Array([...toc, ...new TextEncoder().encode('Scylla.db\n')]));
  expect(await fullRead(files)).toBe(before);
  expect((await verifySSTable(files)).components).toContain('Scylla.db');
  files.components.delete('Scylla.db');
  expect((await verifySSTable(files)).missingOptional).toContain('Scylla.db');
});
