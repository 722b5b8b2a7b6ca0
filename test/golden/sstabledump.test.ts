import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { dumpPartitions } from '#core/sstable/dump.ts';
import type { DumpOptions } from '#core/sstable/dump-options.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { type Fixture, fixture, listFixtures } from './fixtures.ts';
import { type DumpValue, parseWholeDump, readDump } from './parse-dump.ts';

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
  expect(dumped.length).toBe(121);
  expect(new Set(fixtures.map((each) => each.release)).size).toBe(4);
});

// sstabledump's ISO form of write times that far away says nothing any more: that table was dumped with -t.
const isRaw = ({ table }: Fixture) => table === 'extremes';

test.for(dumped)('$title decodes to what sstabledump says of it, to the last field', async (fixture) => {
  const text = await dump(fixture, { rawTimestamps: isRaw(fixture) });
  expect(parseWholeDump(text)).toEqual(readDump(fixture.dumpPath!));
});

// Their many rows are compared once, above.
const smaller = dumped.filter(({ table }) => table !== 'big100k');

test.for(smaller)('$title has a line for each partition in the form -l', async (fixture) => {
  const lines = (await dump(fixture, { form: 'lines', rawTimestamps: isRaw(fixture) })).split('\n');
  expect(lines.pop()).toBe('');
  expect(parseWholeDump(`[${lines.join(',')}]`)).toEqual(readDump(fixture.dumpPath!));
});

test.for(smaller)('$title has the keys of its partitions in the form -e', async (fixture) => {
  const expected = readDump(fixture.dumpPath!) as { partition: { key: DumpValue } }[];
  expect(parseWholeDump(await dump(fixture, { form: 'keys' }))).toEqual(expected.map(({ partition }) => partition.key));
});

const withRows = fixtures.filter((each) => each.rowsPath);

test.for(withRows)('$title has the lines of sstabledump -d, byte for byte', async (fixture) => {
  const expected = gunzipSync(readFileSync(fixture.rowsPath!)).toString('utf8');
  expect(await dump(fixture, { form: 'rows' })).toBe(expected);
});

test('rows of user types, on which sstabledump -d fails, are printed', async () => {
  const text = await dump(fixture('4.1-nb-big/udts/nb-1-big'), { form: 'rows' });
  expect(text.split('\n').length).toBeGreaterThan(10);
  expect(text).toContain('"');
});

test('-t is what it says: every time is a whole number of microseconds or seconds', async () => {
  for (const title of ['4.1-nb-big/ttls/nb-1-big', '5.0-da-bti/tombs/da-2-bti']) {
    const toNumbers = (value: DumpValue, key = ''): DumpValue => {
      if (Array.isArray(value)) return value.map((each) => toNumbers(each));
      if (typeof value === 'string' && /^(tstamp|marked_deleted)$/.test(key)) return String(microsOf(value));
      if (typeof value === 'string' && /^(expires_at|local_delete_time)$/.test(key)) return String(microsOf(value) / 1_000_000n);
      if (value === null || typeof value !== 'object') return value;
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, toNumbers(each as DumpValue, name)]));
    };
    const one = fixture(title);
    expect(parseWholeDump(await dump(one, { rawTimestamps: true }))).toEqual(toNumbers(readDump(one.dumpPath!)));
  }
});

/** An ISO 8601 instant with up to six digits behind the point. */
function microsOf(text: string): bigint {
  const [, whole, fraction = ''] = /^(.*?)(?:\.(\d+))?Z$/.exec(text)!;
  return BigInt(Date.parse(`${whole}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'));
}

test('counters have their totals when asked for', async () => {
  const one = fixture('4.1-nb-big/counters/nb-1-big');
  const lines = gunzipSync(readFileSync(one.rowsPath!)).toString('utf8');
  const expected = [...lines.matchAll(/\[(?:hits|misses)=(-?\d+) /g)].map(([, total]) => total);
  const text = await dump(one, { counterTotals: true });
  expect([...text.matchAll(/"value" : (-?\d+)/g)].map(([, total]) => total)).toEqual(expected);
  expect(expected.length).toBeGreaterThan(10);
});

test('a value is never longer in memory than a row: every piece is one', async () => {
  const one = fixture('4.1-nb-big/bigpart/nb-1-big');
  const sstable = await openSSTable(one.files);
  let longest = 0;
  const options = { form: 'lines', release: '4.1', nowSeconds: 0 } as const;
  for await (const piece of dumpPartitions(openPartitionCursor(sstable), sstable.header, options)) {
    longest = Math.max(longest, piece.length);
  }
  expect(sstable.dataBytes).toBeGreaterThan(100_000);
  expect(longest).toBeLessThan(5000);
});
