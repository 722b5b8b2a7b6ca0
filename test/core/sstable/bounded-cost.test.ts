import { expect, test } from 'vitest';
import { clusteringOf } from '#core/model/row.ts';
import type { ByteSource } from '#core/ports.ts';
import { estimateBytes, openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { cutPartition } from '#core/sstable/wide-partitions.ts';
import { MAX_TOKEN } from '#core/token/token.ts';
import { fixture } from '../../golden/fixtures.ts';
import { readAll, readTokens } from '../../golden/read-all.ts';
import { countingFiles } from '../../support/byte-sources.ts';
import { evenToken, manyPartitions, WIDE_KEY, WIDE_TOKEN, widePartition } from '../../support/synthetic-sstable.ts';

const KIB = 1024;
/** Of a real table with the same columns. */
const statistics = (): Promise<ByteSource> => fixture('4.1-nb-big/bigpart/nb-1-big').files.open('Statistics.db');

test('a token range of a table of 10 GB, whose index has 2 GB, touches a bounded number of bytes of each file', async () => {
  const count = 56_000_000;
  const { files, counts } = countingFiles(manyPartitions(await statistics(), count, 150));
  const sstable = await openSSTable(files);
  expect(sstable.dataBytes).toBeGreaterThan(10e9);
  for (const first of [0, 1, 127, 128, 27_999_990, count - 12]) {
    counts.clear();
    const range = { start: evenToken(first, count), end: evenToken(first + 10, count) };
    const tokens = await readTokens(openPartitionCursor(sstable, { range }));
    expect(tokens).toEqual(Array.from({ length: 10 }, (_, index) => evenToken(first + 1 + index, count)));
    // Of Summary.db, which has 12 MB, only what a search looks at.
    const bytes = (component: string) => counts.get(component)?.bytes ?? 0;
    expect(bytes('Summary.db')).toBeLessThan(512 * KIB);
    expect(bytes('Index.db')).toBeLessThanOrEqual(2 * 16 * KIB);
    expect(bytes('Data.db')).toBeLessThanOrEqual(2 * 17 * KIB);
    expect(bytes('CompressionInfo.db')).toBeLessThanOrEqual(2 * 64 * KIB);
    expect([...counts.values()].reduce((sum, { reads }) => sum + reads, 0)).toBeLessThan(40);
  }
  const half = { start: evenToken(count / 2, count), end: MAX_TOKEN };
  expect((await estimateBytes(sstable, half)) / sstable.dataBytes).toBeCloseTo(0.5, 2);
});

test('the middle of a partition of 10 GB is entered without reading what stands before, nor its whole row index', async () => {
  const rows = 10_000_000;
  const { files, counts } = countingFiles(widePartition(await statistics(), rows, 1000));
  const sstable = await openSSTable(files);
  const clusteringAt = (row: number) => {
    const value = Buffer.alloc(4);
    value.writeInt32BE(row);
    return clusteringOf([value]);
  };
  const range = { start: WIDE_TOKEN - 1n, end: WIDE_TOKEN };
  for (const row of [0, 63, 64, 5_000_000, rows - 20]) {
    counts.clear();
    const from = { clustering: clusteringAt(row), side: 1 as const };
    const to = { clustering: clusteringAt(row + 10), side: 1 as const };
    const slice = { key: WIDE_KEY, token: WIDE_TOKEN, from, to };
    const events = await readAll(openPartitionCursor(sstable, { range, slice, windowBytes: 64 * KIB }));
    const found = events.flatMap((event) => (event.kind === 'row' ? event.clustering : []));
    expect(found).toEqual(
      Array.from({ length: 10 }, (_, index) => Buffer.from(clusteringAt(row + 1 + index).bytes).toString('hex')),
    );
    const bytes = (component: string) => counts.get(component)?.bytes ?? 0;
    expect(bytes('Index.db')).toBeLessThan(1024 * KIB);
    expect(bytes('Data.db')).toBeLessThan(512 * KIB);
  }
});

test('what follows a partition of 10 GB is read from the last block of that one, and cutting it reads little', async () => {
  const { files, counts } = countingFiles(widePartition(await statistics(), 10_000_000, 1000));
  const sstable = await openSSTable(files);
  const bytes = (component: string) => counts.get(component)?.bytes ?? 0;
  counts.clear();
  expect(await readTokens(openPartitionCursor(sstable, { range: { start: WIDE_TOKEN, end: MAX_TOKEN } }))).toEqual([]);
  expect(bytes('Data.db')).toBeLessThan(512 * KIB);
  expect(bytes('Index.db')).toBeLessThan(1024 * KIB);
  counts.clear();
  const partition = { key: WIDE_KEY, token: WIDE_TOKEN, bytes: sstable.dataBytes };
  const rows = (await cutPartition(sstable, partition, 10)).map(({ clustering }) => {
    return Buffer.from(clustering.valueAt(0)!).readInt32BE();
  });
  expect(rows).toHaveLength(9);
  for (const [index, row] of rows.entries()) expect(Math.abs(row - (index + 1) * 1_000_000)).toBeLessThan(1000);
  expect(bytes('Data.db')).toBe(0);
  expect(bytes('Index.db')).toBeLessThan(4 * 1024 * KIB);
});

test('rows much larger than a window are read with few growing reads, not put together anew for each window', async () => {
  const { files, counts } = countingFiles(widePartition(await statistics(), 3, 32 * 1024 * KIB));
  const cursor = openPartitionCursor(await openSSTable(files), { windowBytes: 64 * KIB });
  let rows = 0;
  let fills = 0;
  while (await cursor.fill()) {
    fills++;
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) if (event.kind === 'row') rows++;
  }
  expect(rows).toBe(3);
  // Windows of one size would take 1,500, each of which copies what came before.
  expect(fills).toBeLessThan(100);
  expect(counts.get('Data.db')!.reads).toBeLessThan(100);
});
