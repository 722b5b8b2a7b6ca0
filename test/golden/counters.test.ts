import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { renderPlain } from '#core/model/render-value.ts';
import { counterTotal } from '#core/sstable/counter-context.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { listFixtures } from './fixtures.ts';

interface CounterRow {
  readonly pk: string;
  readonly ck: number;
  readonly hits: number | null;
  readonly misses: number | null;
}

test("the newest counter cells of all SSTables have the totals that Cassandra's SELECT returned", async () => {
  const newest = new Map<string, { timestampMicros: bigint; total: bigint }>();
  for (const { files } of listFixtures().filter((each) => each.title.startsWith('5.0-oa-big/counters/'))) {
    const sstable = await openSSTable(files);
    const { keyTypes, clusteringTypes, regularColumns } = sstable.header;
    const cursor = openPartitionCursor(sstable);
    let pk = '';
    while (await cursor.fill()) {
      for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
        if (event.kind === 'partition') pk = renderPlain(keyTypes[0]!, event.key);
        if (event.kind !== 'row') continue;
        const ck = renderPlain(clusteringTypes[0]!, event.clustering.valueAt(0)!);
        for (const cell of event.cells) {
          const id = `${pk} ${ck} ${regularColumns[cell.column]!.name}`;
          if (cell.isTombstone || cell.timestampMicros < (newest.get(id)?.timestampMicros ?? 0n)) continue;
          newest.set(id, { timestampMicros: cell.timestampMicros, total: counterTotal(cell.value) });
        }
      }
    }
  }
  const text = gunzipSync(readFileSync(new URL('expected-select-json/counters.jsonl.gz', import.meta.url)));
  const rows = text.toString('utf8').trim().split('\n').map((line) => JSON.parse(line) as CounterRow);
  expect(rows.length).toBeGreaterThan(10);
  for (const row of rows) {
    for (const column of ['hits', 'misses'] as const) {
      const expected = row[column];
      if (expected !== null) expect(newest.get(`${row.pk} ${row.ck} ${column}`)?.total).toBe(BigInt(expected));
    }
  }
});
