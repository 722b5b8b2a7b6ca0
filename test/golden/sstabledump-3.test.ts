import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { dumpPartitions } from '#core/sstable/dump.ts';
import { openPartitionCursor, openWithoutSchema } from '#core/sstable/sstable.ts';
import { listFixtures3, RELEASES_3 } from './fixtures.ts';
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

test.for(fixtures.filter((each) => each.dumpPath))('$title decodes to what sstabledump says of it', async (fixture) => {
  const sstable = await openWithoutSchema(fixture.files);
  let text = '';
  const rawTimestamps = fixture.table === 'types';
  for await (const piece of dumpPartitions(openPartitionCursor(sstable, { windowBytes: 64 * 1024 }), sstable.header, {
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
  const sstable = await openWithoutSchema(fixture.files);
  const cursor = openPartitionCursor(sstable, { windowBytes: 64 * 1024 });
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
