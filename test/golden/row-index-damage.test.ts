import { expect, test } from 'vitest';
import { SSTableCorruptError } from '#core/errors.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import type { PartitionSlice } from '#core/model/clustering-bound.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { fixture } from './fixtures.ts';
import { readAll } from './read-all.ts';
import { expectSame } from '../support/expect-same.ts';

const COMPONENTS = ['Data.db', 'Statistics.db', 'CompressionInfo.db', 'Index.db', 'Summary.db', 'Partitions.db', 'Rows.db'];

test.for([
  ['4.1-nb-big/blocks/nb-2-big', 'Index.db'],
  ['5.0-oa-big/blocks/oa-2-big', 'Index.db'],
  ['5.0-da-bti/blocks/da-2-bti', 'Rows.db'],
] as const)('a flipped byte of the row index of %s is told, or leads to the same rows', async ([title, component]) => {
  const files = await MemoryFiles.of(fixture(title).files, COMPONENTS);
  const slices: PartitionSlice[] = [];
  let current: { key: Uint8Array; token: bigint; rows: number } | undefined;
  const cursor = openPartitionCursor(await openSSTable(files));
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
      if (event.kind === 'partition') current = { key: event.key, token: event.token, rows: 0 };
      // Late in each partition, so that the index is asked.
      if (event.kind === 'row' && ++current!.rows === 25) {
        const { key, token } = current!;
        slices.push({ key, token, from: { clustering: event.clustering, side: 1 } });
      }
    }
  }
  expect(slices.length).toBeGreaterThan(1);
  const read = async (slice: PartitionSlice) => {
    const range = { start: slice.token - 1n, end: slice.token };
    return readAll(openPartitionCursor(await openSSTable(files), { range, slice }));
  };
  const expected = await Promise.all(slices.map(read));
  const bytes = files.components.get(component)!;
  let told = 0;
  for (let at = 0; at < bytes.length; at++) {
    // Another bit of each byte; blocks are many, so that each field of them meets every bit.
    for (const flip of [1 << ((at * 5) & 7)]) {
      bytes[at]! ^= flip;
      for (const [index, slice] of slices.entries()) {
        const outcome = await read(slice).catch((error: unknown) => error);
        if (Array.isArray(outcome)) expectSame(outcome, expected[index], `bit ${flip} of byte ${at}`);
        else if (!(outcome instanceof SSTableCorruptError)) expect({ at, flip, outcome }).toBe('a corrupt SSTable');
        if (!Array.isArray(outcome)) told++;
      }
      bytes[at]! ^= flip;
    }
  }
  expect(told).toBeGreaterThan(20);
});
