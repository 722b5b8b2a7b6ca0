import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tableFolder } from '../../infra/local/cassandra-tools.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { MigrationCommand } from './support/command.ts';
import { Random } from './support/random.ts';
import { nodetool, takeSnapshot } from './support/shared-tools.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KS = 'load_counters_test';
const TABLES = [
  `CREATE TABLE ${KS}.hits (a text, b int, c int, n counter, m counter, total counter static, PRIMARY KEY ((a, b), c))
    WITH CLUSTERING ORDER BY (c DESC)`,
  `CREATE TABLE ${KS}.plain (id int PRIMARY KEY, v text)`,
];

let folder: string;
let command: MigrationCommand;
let origin: Client;
let target: Client;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-counters-'));
  const environment = readTestEnvironment();
  command = new MigrationCommand(folder, environment.origin, environment.target);
  origin = await connectToTestCluster('origin');
  target = await connectToTestCluster('target');
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KS);
    for (const statement of TABLES) await client.execute(statement);
  }
});

afterAll(async () => {
  for (const client of [origin, target]) {
    await client?.execute(`DROP KEYSPACE IF EXISTS ${KS}`);
    await client?.shutdown();
  }
  rmSync(folder, { recursive: true, force: true });
});

const random = new Random(20_261_121);
const row = () => `a = 'a${random.below(12)}' AND b = ${random.below(2)} AND c = ${random.below(9) - 4}`;

/** Increments and decrements over several SSTables, so that one counter has shards in many. */
async function count(client: Client, flushes: number): Promise<void> {
  for (let flush = 0; flush < flushes; flush++) {
    for (let i = 0; i < 250; i++) {
      const by = random.below(2000) - 900;
      const set = ['n = n + ?', 'm = m + ?', 'n = n + ?'][random.below(3)]!;
      await client.execute(`UPDATE ${KS}.hits SET ${set} WHERE ${row()}`, [by], { prepare: true });
    }
    await client.execute(`UPDATE ${KS}.hits SET total = total + ${flush + 1} WHERE a = 'a${flush}' AND b = 0`);
    await nodetool(testEnvironment.origin, 'flush', KS);
  }
}

async function rowsOf(client: Client): Promise<string[]> {
  const { rows } = await client.execute(`SELECT a, b, c, n, m, total FROM ${KS}.hits`, [], { fetchSize: 5000 });
  return rows.map((each) => each.values().map(String).join(' ')).sort();
}

async function snapshot(tag: string): Promise<string> {
  await takeSnapshot(testEnvironment.origin, tag, KS);
  const place = join(folder, tag);
  const data = join(tableFolder(testEnvironment.origin, KS, 'hits'), '..', '..');
  const shipped = await command.run('snapshot', 'upload', data, '--tag', tag, '--keyspace', KS, '--to', place);
  expect(shipped.code, shipped.stderr).toBe(0);
  return place;
}

test('counters are loaded by adding what the target lacks: twice the same, later increments and deletions included', async () => {
  await count(origin, 3);
  // Deleted before the first load, so the target never hears of them.
  await origin.execute(`DELETE FROM ${KS}.hits WHERE a = 'a1' AND b = 0`);
  await origin.execute(`DELETE FROM ${KS}.hits WHERE a = 'a2' AND b = 0 AND c > 0`);
  await origin.execute(`DELETE n FROM ${KS}.hits WHERE a = 'a3' AND b = 1 AND c = 0`);
  const first = await snapshot('first');
  const ordinary = await command.startLoad(KS, first);
  expect(ordinary.json['status'], ordinary.stderr).toBe('done');
  expect(await readFile(join(command.ledgerFolder, 'tables', `${KS}.hits.json`), 'utf8')).toContain('counter table');
  expect(await rowsOf(target)).toEqual([]);

  const loaded = await command.startLoad(KS, first, '--counters');
  expect(loaded.json['status'], loaded.stderr).toBe('done');
  const expected = await rowsOf(origin);
  expect(expected.length).toBeGreaterThan(50);
  expect(await rowsOf(target)).toEqual(expected);
  const again = await command.startLoad(KS, first, '--counters');
  expect(again.json['status'], again.stderr).toBe('done');
  expect(await rowsOf(target)).toEqual(expected);

  // What was counted since comes with a later snapshot.
  for (let i = 0; i < 50; i++)
    await origin.execute(`UPDATE ${KS}.hits SET m = m - 7 WHERE a = 'a5' AND b = 1 AND c = ${i % 3}`);
  const later = await command.startLoad(KS, await snapshot('second'), '--counters');
  expect(later.json['status'], later.stderr).toBe('done');
  expect(await rowsOf(target)).toEqual(await rowsOf(origin));
});

test('a run that was stopped in the middle is resumed and counts nothing twice', async () => {
  await target.execute(`TRUNCATE ${KS}.hits`);
  const place = join(folder, 'second');
  expect(readdirSync(folder)).toContain('second');
  const started = await command.startLoad(KS, place, '--counters', '--run-id', 'cut');
  expect(started.json['status'], started.stderr).toBe('done');
  // As if it had died before it could say so: all is on the target, and one row has 100 that are to be taken back.
  const range = join(command.ledgerFolder, 'ranges', 'cut');
  const names = readdirSync(range);
  for (const name of names) {
    const text = await readFile(join(range, name), 'utf8');
    await writeFile(
      join(range, name),
      text.replace('"state":"done"', '"state":"running"').replace(/"checkpoint":"-?\d+"/, '"checkpoint":null'),
    );
  }
  await target.execute(`UPDATE ${KS}.hits SET m = m + 100 WHERE a = 'a5' AND b = 1 AND c = 1`);
  const resumed = await command.run('load', 'resume', 'cut', '--local', '--run-id', 'again');
  expect(resumed.json['status'], resumed.stderr).toBe('done');
  expect(await rowsOf(target)).toEqual(await rowsOf(origin));
});

test('a counter that was deleted on the target is told of, and is there after truncating', async () => {
  const [one] = (await origin.execute(`SELECT a, b, c, m FROM ${KS}.hits`)).rows.filter((each) => each['m'] !== null);
  const place = [one!['a'], one!['b'], one!['c']];
  await target.execute(`DELETE m FROM ${KS}.hits WHERE a = ? AND b = ? AND c = ?`, place, { prepare: true });
  const loaded = await command.startLoad(KS, join(folder, 'second'), '--counters');
  expect(loaded.json['status'], loaded.stderr).toBe('differences');
  expect(loaded.code).toBe(1);
  const record = JSON.parse(await readFile(join(command.ledgerFolder, 'tables', `${KS}.hits.json`), 'utf8'));
  expect(record).toMatchObject({ state: 'suspect' });
  expect(JSON.stringify(record)).toContain('runcate the table on the target');

  await target.execute(`TRUNCATE ${KS}.hits`);
  const again = await command.startLoad(KS, join(folder, 'second'), '--counters');
  expect(again.json['status'], again.stderr).toBe('done');
  expect(await rowsOf(target)).toEqual(await rowsOf(origin));
});
