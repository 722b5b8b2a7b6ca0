import { expect, test } from 'vitest';
import { type DumpOptions, dumpPartitions } from '#core/sstable/dump.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { type Fixture, listFixtures } from './fixtures.ts';
import { type DumpValue, parseDump, readDump } from './parse-dump.ts';

const fixtures = listFixtures();
const dumped = fixtures.filter((each) => each.dumpPath);
/** When Cassandra's dumps were made: decides what they call expired. */
const DUMPED_AT_SECONDS = Date.parse('2026-11-21T04:00:00Z') / 1000;

async function dump(fixture: Fixture, options: Partial<DumpOptions> = {}): Promise<string> {
  const sstable = await openSSTable(fixture.files);
  const cursor = openPartitionCursor(sstable, { windowBytes: 64 * 1024 });
  const release = fixture.release.startsWith('5.0') ? '5.0' : '4.1';
  let text = '';
  const all: DumpOptions = { form: 'document', release, nowSeconds: DUMPED_AT_SECONDS, ...options };
  for await (const piece of dumpPartitions(cursor, sstable.header, all)) text += piece;
  return text;
}

test('the catalogue holds what the tests are about', () => {
  expect(dumped.length).toBe(103);
  expect(new Set(fixtures.map((each) => each.release)).size).toBe(4);
});

// sstabledump's ISO form of write times that far away says nothing any more: that table was dumped with -t.
const isRaw = ({ table }: Fixture) => table === 'extremes';

test.for(dumped)('$title decodes to what sstabledump says of it, to the last field', async (fixture) => {
  const text = await dump(fixture, { rawTimestamps: isRaw(fixture) });
  expect(parseDump(text)).toEqual(readDump(fixture.dumpPath!));
});
