import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { CqlType } from '#core/model/cql-type.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import { dumpPartitions } from '#core/sstable/dump.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '#core/sstable/sstable.ts';
import { type Fixture, listFixtures3, RELEASES_3 } from './fixtures.ts';
import { parseDump } from './parse-dump.ts';

const fixtures = listFixtures3();

test('every version of the format before 4.0 is there, with dumps of its own release', () => {
  for (const [release, version] of Object.entries(RELEASES_3)) {
    const own = fixtures.filter((each) => each.release === `3.x/${release}`);
    expect(own.length).toBeGreaterThanOrEqual(13);
    // sstabledump fails at the null clusterings of compact storage.
    expect(own.filter((each) => !each.dumpPath).map((each) => each.table)).toEqual(['compact']);
    expect(own.every((each) => each.files.version === version)).toBe(true);
  }
});

/** In 3.0 every user type is frozen, and says so in the schema only. */
function freeze(type: CqlType): CqlType {
  return type.kind === 'udt' ? { ...type, frozen: true } : type;
}

function openAs(fixture: Fixture, sstable: SSTable) {
  const columns = (stored: readonly ColumnDefinition[]) =>
    fixture.release.startsWith('3.x/3.0.') ? stored.map((each) => ({ ...each, type: freeze(each.type) })) : stored;
  const header = {
    ...sstable.header,
    staticColumns: columns(sstable.header.staticColumns),
    regularColumns: columns(sstable.header.regularColumns),
  };
  const wanted = { static: header.staticColumns, regular: header.regularColumns };
  return { header, cursor: openPartitionCursor(sstable, { columns: wanted, windowBytes: 64 * 1024 }) };
}

test.for(fixtures.filter((each) => each.dumpPath))('$title decodes to what sstabledump says of it', async (fixture) => {
  const { header, cursor } = openAs(fixture, await openSSTable(fixture.files));
  let text = '';
  const rawTimestamps = fixture.table === 'types';
  for await (const piece of dumpPartitions(cursor, header, {
    form: 'document',
    release: '4.1',
    nowSeconds: 0,
    rawTimestamps,
  })) {
    text += piece;
  }
  expect(parseDump(text)).toEqual(parseDump(gunzipSync(readFileSync(fixture.dumpPath!)).toString('utf8')));
});

test.for(fixtures)('$title holds as many rows and cells as Cassandra counted when it wrote it', async (fixture) => {
  const sstable = await openSSTable(fixture.files);
  const { cursor } = openAs(fixture, sstable);
  let rows = 0;
  let columnsSet = 0;
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
      if (event.kind !== 'row') continue;
      rows += 1;
      columnsSet += event.cells.length + event.multiCells.filter(({ cells }) => cells.length > 0).length;
    }
  }
  expect({ rows, columnsSet }).toEqual({ rows: sstable.stats.totalRows, columnsSet: sstable.stats.totalColumnsSet });
});

test('the files of 3.0 call a frozen user type by its name only, so that the schema has to say it', async () => {
  for (const fixture of fixtures.filter((each) => each.table === 'udts')) {
    const { header } = await openSSTable(fixture.files);
    const type = header.regularColumns.find((column) => column.name === 'fp')!.type;
    expect(type).toMatchObject({ kind: 'udt', frozen: !fixture.release.startsWith('3.x/3.0.') });
  }
});
