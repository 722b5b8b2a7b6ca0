import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fixture } from '../golden/fixtures.ts';
import { parseWholeDump, readDump } from '../golden/parse-dump.ts';
import { jsonOf, runRingshift } from './run-ringshift.ts';

const { dataPath, directory, dumpPath } = fixture('4.1-nb-big/statics/nb-1-big');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-sstable-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("dump prints sstabledump's document", async () => {
  const { code, stdout } = await runRingshift(['sstable', 'dump', dataPath]);
  expect(code).toBe(0);
  expect(parseWholeDump(stdout)).toEqual(readDump(dumpPath!));
});

test('dump -k and -x choose partitions, -e shows their keys, --like another release', async () => {
  const keys = async (...flags: string[]) =>
    jsonOf<string[][]>(await runRingshift(['sstable', 'dump', dataPath, '-e', ...flags])).map(([key]) => key);
  const all = await keys();
  expect(all.length).toBeGreaterThan(20);
  expect(await keys('-k', '5', '-k', '28')).toEqual(['5', '28']);
  expect(await keys('-k', '5', '28')).toEqual(['5', '28']);
  expect(await keys('-x', '5', '28')).toEqual(all.filter((key) => key !== '5' && key !== '28'));
  const { stdout } = await runRingshift(['sstable', 'dump', dataPath, '-l', '-k', '5', '--like', '5.0']);
  expect(JSON.parse(stdout)).toMatchObject({ 'table kind': 'REGULAR', partition: { key: ['5'] } });
});

test('dump takes one form at a time', async () => {
  const { code, stderr } = await runRingshift(['sstable', 'dump', dataPath, '-l', '-d']);
  expect([code, stderr]).toEqual([2, 'ringshift: only one of -l, -d and -e at a time\n']);
});

test('info prints the metadata', async () => {
  const info = jsonOf<Record<string, unknown>>(await runRingshift(['sstable', 'info', dataPath, '--json']));
  expect(info).toMatchObject({
    version: 'nb-big',
    partitioner: 'org.apache.cassandra.dht.Murmur3Partitioner',
    bloomFilterChance: 0.01,
    compressor: 'LZ4Compressor',
    partitionKey: ['int'],
    isTransient: false,
    pendingRepair: null,
  });
});

test('verify reads all of a directory, tells each broken SSTable, and exits 1', async () => {
  const copy = join(folder, 'table');
  cpSync(directory, copy, { recursive: true });
  const whole = await runRingshift(['sstable', 'verify', copy]);
  expect(whole.code).toBe(0);
  writeFileSync(join(copy, 'nb-1-big-Digest.crc32'), '1');
  const { code, stdout } = await runRingshift(['sstable', 'verify', copy, '--json']);
  const results = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { name: string; status: string });
  expect(code).toBe(1);
  expect(results.map(({ status }) => status)).toEqual(['broken', 'intact']);
});

test('verify reads a whole snapshot and says what is missing', async () => {
  const snapshot = join(folder, 'snapshot');
  const table = join(snapshot, '10.0.0.1', 'ks', `statics-${'b'.repeat(32)}`, 'snapshots', 'tag');
  cpSync(directory, table, { recursive: true });
  for (const file of readdirSync(table)) if (/nb-2-big-(Statistics|Data)/.test(file)) rmSync(join(table, file));
  const result = await runRingshift(['sstable', 'verify', snapshot, '--json']);
  expect(await runRingshift(['snapshot', 'verify', snapshot, '--json'])).toEqual(result);
  const { status, faults } = jsonOf<{ status: string; faults: { kind: string; where: string }[] }>(result);
  expect([result.code, status]).toEqual([1, 'broken']);
  expect(faults.map(({ kind, where }) => `${kind} ${where.split('/').at(-1)}`)).toEqual([
    'manifest 10.0.0.1',
    'component nb-2-big-Data.db',
    'component nb-2-big-Statistics.db',
  ]);
});

test('verify of what is no SSTable is wrong usage', async () => {
  for (const path of [join(folder, 'none'), join(import.meta.dirname, '..', 'support')]) {
    expect((await runRingshift(['sstable', 'verify', path])).code).toBe(2);
  }
});
