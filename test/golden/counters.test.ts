import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { totalsOf } from '#core/jobs/counter-statements.ts';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import { renderPlain } from '#core/model/render-value.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '#core/sstable/sstable.ts';
import { listFixtures } from './fixtures.ts';

interface CounterRow {
  readonly pk: string;
  readonly ck: number;
  readonly hits: number | null;
  readonly misses: number | null;
}

/** Merges all SSTables of the fixture, in the order of `order`, and gives what a SELECT of the table would. */
async function merged(order: (titles: string[]) => string[]): Promise<Map<string, (bigint | null)[]>> {
  const fixtures = listFixtures().filter((each) => each.title.startsWith('5.0-oa-big/counters/'));
  const titles = order(fixtures.map(({ title }) => title));
  const sstables = await Promise.all(
    titles.map((title) => openSSTable(fixtures.find((each) => each.title === title)!.files)),
  );
  // A file names only the columns that it has.
  const [{ keyTypes, clusteringTypes, clusteringReversed, regularColumns }] = sstables
    .map(({ header }) => header)
    .sort((a, b) => b.regularColumns.length - a.regularColumns.length) as [SSTable['header']];
  const schema: TableSchema = {
    keyspace: 'ks',
    table: 'counters',
    partitionKey: [{ name: 'pk', type: keyTypes[0]! }],
    clustering: [{ name: 'ck', type: clusteringTypes[0]!, reversed: clusteringReversed[0]! }],
    staticColumns: [],
    regularColumns,
    droppedColumns: [],
    defaultTimeToLiveSeconds: 0,
    gcGraceSeconds: 864_000,
    isCounter: true,
  };
  const columns = { static: [], regular: regularColumns };
  const inputs = sstables.map((sstable) => ({ cursor: openPartitionCursor(sstable, { columns }) }));
  const cursor = mergePartitions(inputs, schema);
  const rows = new Map<string, (bigint | null)[]>();
  let pk = '';
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
      if (event.kind === 'partition') pk = renderPlain(keyTypes[0]!, event.key);
      if (event.kind !== 'row') continue;
      const totals = totalsOf(event);
      const ck = renderPlain(clusteringTypes[0]!, event.clustering.valueAt(0)!);
      if (totals.size > 0)
        rows.set(
          `${pk} ${ck}`,
          regularColumns.map((_, column) => totals.get(column) ?? null),
        );
    }
  }
  return rows;
}

test.each([
  ['as they were written', (titles: string[]) => titles],
  ['the other way round', (titles: string[]) => titles.reverse()],
  ['each twice', (titles: string[]) => [...titles, ...titles]],
])("merged counters are what Cassandra's SELECT returned, with the SSTables %s", async (_, order) => {
  const text = gunzipSync(readFileSync(new URL('expected-select-json/counters.jsonl.gz', import.meta.url)));
  const expected = text.toString('utf8').trim().split('\n').map((line) => JSON.parse(line) as CounterRow);
  const rows = await merged(order);
  expect(expected.length).toBeGreaterThan(10);
  expect(rows.size).toBe(expected.length);
  const big = (value: number | null) => (value === null ? null : BigInt(value));
  for (const row of expected) expect(rows.get(`${row.pk} ${row.ck}`)).toEqual([big(row.hits), big(row.misses)]);
});
