/** Secondary indexes of a real 5.0 and a real 4.1 around a bulk load, driven by the command alone. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { openLedger } from '#adapters/ledger.ts';
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import { listSavedIndexes, type SavedIndexes } from '#core/ledger/saved-indexes.ts';
import { withIndexPorts } from '../../cli/index-ports.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { jsonOf, mainFile, runRingshift } from '../cli/run-ringshift.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { takeSnapshot } from './support/shared-tools.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const AUTHOR = { by: 'test', why: 'test' };
const KS = 'load_indexes';
const TAG = 'load-indexes';
const ROWS = 300;
const TABLE = `CREATE TABLE ${KS}.assets (id int PRIMARY KEY, owner text, "Kind" text, attrs map<text, int>, note text)`;
const LEGACY = [
  `CREATE INDEX by_owner ON ${KS}.assets (owner)`,
  `CREATE INDEX "by_Kind" ON ${KS}.assets ("Kind")`,
  `CREATE INDEX by_attr ON ${KS}.assets (keys(attrs))`,
];
const SAI = `CREATE CUSTOM INDEX by_note ON ${KS}.assets (note) USING 'StorageAttachedIndex' WITH OPTIONS = {'case_sensitive': 'false', 'normalize': 'true'}`;

/** The cluster that is loaded; the 4.1 of the origin is loaded with its own snapshot, which changes nothing there. */
const sides = { '5.0': 'target', '4.1': 'origin' } as const;
type Release = keyof typeof sides;

let folder: string;
let place: string;
let clients: Record<Release, Client>;

const configOf = (name: string) => join(folder, `${name}.yaml`);
const ringshift = (config: string, ...args: string[]) =>
  runRingshift([...args, '--json', '--config', configOf(config)]);
const startLoad = (config: string, ...more: string[]) =>
  ringshift(
    config,
    ...['load', 'start', '--keyspace', KS, '--snapshot', place, '--local', '--allow-early-snapshot', ...more],
  );

/** DESCRIBE's own texts, which is what must be the same afterwards. */
async function indexTexts(client: Client): Promise<string[]> {
  const { rows } = await client.execute(`DESCRIBE KEYSPACE ${KS}`, [], { prepare: false });
  return rows
    .filter((row) => row['type'] === 'index')
    .map((row) => String(row['create_statement']))
    .sort();
}

async function saved(config: string): Promise<SavedIndexes | undefined> {
  const result = await ringshift(config, 'indexes', 'status');
  return jsonOf<{ tables: SavedIndexes[] }>(result).tables.find(({ keyspace }) => keyspace === KS);
}

function writeConfig(name: string, release: Release, login: { username: string; password: string }): void {
  const environment = readTestEnvironment();
  const at = environment[sides[release]];
  const cluster = (to: { host: string; port: number }, { username, password }: typeof login) =>
    `{ contactPoints: [${to.host}], port: ${to.port}, auth: { username: ${username}, password: ${password} } }`;
  writeFileSync(
    configOf(name),
    `origin: ${cluster(environment.origin, environment)}
target: ${cluster(at, login)}
ledger: { kind: file, path: ${join(folder, `ledger-${name}`)} }
bulkLoad: { consistency: LOCAL_ONE, tombstones: all }
`,
  );
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-indexes-'));
  place = join(folder, 'snapshots');
  clients = { '5.0': await connectToTestCluster('target'), '4.1': await connectToTestCluster('origin') };
  for (const client of Object.values(clients)) {
    await recreateKeyspace(client, KS);
    await client.execute(TABLE);
    for (const statement of LEGACY) await client.execute(statement);
  }
  await clients['5.0'].execute(SAI);
  for (let id = 0; id < ROWS; id++) {
    await clients['4.1'].execute(
      `INSERT INTO ${KS}.assets (id, owner, "Kind", attrs, note) VALUES (?, ?, ?, ?, ?)`,
      [id, `owner ${id % 3}`, 'k', { [`attr${id % 2}`]: id }, `Note ${id}`],
      { prepare: true },
    );
  }
  await takeSnapshot(testEnvironment.origin, TAG, KS);
  writeConfig('5.0', '5.0', readTestEnvironment());
  writeConfig('4.1', '4.1', readTestEnvironment());
  const data = join(testEnvironment.origin.folder, 'data');
  const shipped = await ringshift('5.0', 'snapshot', 'upload', data, '--tag', TAG, '--keyspace', KS, '--to', place);
  expect(shipped, shipped.stderr).toMatchObject({ code: 0 });
});

afterAll(async () => {
  for (const client of Object.values(clients ?? {})) {
    await client.execute(`DROP KEYSPACE IF EXISTS ${KS}`);
    await client.execute('DROP ROLE IF EXISTS without_alter');
    await client.shutdown();
  }
  rmSync(folder, { recursive: true, force: true });
});

test.each(['5.0', '4.1'] as const)(
  'on %s the indexes are dropped, the load runs, and they are rebuilt and the same',
  async (release) => {
    const client = clients[release];
    const before = await indexTexts(client);
    expect(before.length).toBe(release === '5.0' ? 4 : 3);
    const loaded = await startLoad(release);
    expect(loaded, loaded.stderr).toMatchObject({ code: 0 });
    expect(jsonOf(loaded)).toMatchObject({ status: 'done', owedIndexes: [] });
    expect(await indexTexts(client)).toEqual(before);
    const record = await saved(release);
    expect(record).toMatchObject({ state: 'restored' });
    // Each was created again, after its text had been saved.
    expect(record?.indexes.map(({ state }) => state)).toEqual(before.map(() => 'built'));
    expect(record?.indexes.every(({ createdAt }) => createdAt !== null)).toBe(true);
    expect(record?.indexes.map(({ statement }) => `${statement.replace('IF NOT EXISTS ', '')};`).sort()).toEqual(
      before,
    );
    const count = async (where: string) =>
      (await client.execute(`SELECT id FROM ${KS}.assets WHERE ${where}`)).rowLength;
    expect(await count(`owner = 'owner 1'`)).toBe(ROWS / 3);
    expect(await count(`attrs CONTAINS KEY 'attr0'`)).toBe(ROWS / 2);
    expect(await count(`"Kind" = 'k'`)).toBe(ROWS);
    if (release === '5.0') expect(await count(`note = 'nOTE 7'`)).toBe(1);
    const status = await runRingshift(['load', 'status', '--config', configOf(release)]);
    expect(status.stdout).toContain(`index by_owner on ${KS}.assets: built (restored by`);
  },
);

test('--skip-indexes and an empty list leave them in place, and a list may name one', async () => {
  const before = await indexTexts(clients['5.0']);
  const skipped = await startLoad('5.0', '--skip-indexes');
  expect(skipped.stderr).toMatch(/stay in place.*by_owner on assets.*indexes: skip/);
  const list = join(folder, 'indexes.yaml');
  await writeFile(list, '[]');
  expect((await startLoad('5.0', '--indexes', list)).stderr).toMatch(/by_note on assets.*not in the list/);
  await writeFile(list, `- { keyspace: ${KS}, table: assets, name: by_attr }\n`);
  const one = await startLoad('5.0', '--indexes', list);
  expect(jsonOf(one)).toMatchObject({ status: 'done' });
  expect((await saved('5.0'))?.indexes.map(({ name }) => name)).toEqual(['by_attr']);
  await writeFile(list, `- { keyspace: ${KS}, table: assets, name: by_nothing }\n`);
  const wrong = await startLoad('5.0', '--indexes', list);
  expect(wrong.code).toBe(2);
  expect(wrong.stderr + wrong.stdout).toContain('has no index by_nothing');
  expect(await indexTexts(clients['5.0'])).toEqual(before);
});

test('a role that may not create indexes is refused before any is dropped', async () => {
  const client = clients['5.0'];
  await client.execute(`CREATE ROLE IF NOT EXISTS without_alter WITH PASSWORD = 'p' AND LOGIN = true`);
  await client.execute('GRANT SELECT ON ALL KEYSPACES TO without_alter');
  await client.execute('GRANT MODIFY ON ALL KEYSPACES TO without_alter');
  writeConfig('poor', '5.0', { username: 'without_alter', password: 'p' });
  const before = await indexTexts(client);
  const refused = await startLoad('poor');
  expect(refused.code).toBe(1);
  expect(refused.stderr + refused.stdout).toMatch(/no ALTER permission.*GRANT ALTER ON KEYSPACE/s);
  expect(await indexTexts(client)).toEqual(before);
  expect(await saved('poor')).toBeUndefined();
  expect(jsonOf(await startLoad('poor', '--skip-indexes'))).toMatchObject({ status: 'done' });
});

test('a load that fails leaves every index restored, and once repaired it is resumed to the end', async () => {
  const before = await indexTexts(clients['5.0']);
  const file = join(
    place,
    readdirSync(place, { recursive: true, encoding: 'utf8' }).find((name) => name.endsWith('-Data.db'))!,
  );
  const bytes = await readFile(file);
  const broken = Buffer.from(bytes);
  const at = Math.floor(bytes.length / 2);
  broken[at] = broken[at]! ^ 0x20;
  await writeFile(file, broken);
  const failed = await startLoad('5.0', '--run-id', 'fails');
  expect(failed.code).toBe(1);
  expect(jsonOf(failed)).toMatchObject({ status: 'failed', owedIndexes: [] });
  expect(await indexTexts(clients['5.0'])).toEqual(before);
  expect(await saved('5.0')).toMatchObject({ runId: 'fails', state: 'restored' });

  await writeFile(file, bytes);
  const resumed = await ringshift('5.0', 'load', 'resume', 'fails', '--run-id', 'goes-on', '--local', '--wait');
  expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
  expect(jsonOf(resumed)).toMatchObject({ runId: 'goes-on', status: 'done' });
  expect(await indexTexts(clients['5.0'])).toEqual(before);
  expect(await saved('5.0')).toMatchObject({ runId: 'goes-on', state: 'restored' });
  const again = await ringshift('5.0', 'load', 'resume', 'goes-on', '--run-id', 'nothing-left', '--local');
  expect(jsonOf(again)).toMatchObject({ status: 'done', rangeCount: 0 });
  expect((await ringshift('5.0', 'load', 'resume', 'no-such-run', '--local')).code).toBe(2);
});

test('an interrupted load of one process restores its indexes before it ends', async () => {
  const before = await indexTexts(clients['5.0']);
  const config = await readMigrationConfig(configOf('5.0'));
  const { store } = await openLedger(config, AUTHOR);
  // So slow that it can't come to its end by itself.
  const args = ['load', 'start', '--keyspace', KS, '--snapshot', place, '--local', '--allow-early-snapshot'];
  const more = ['--run-id', 'interrupted', '--target-write-mbps', '0.0001', '--config', configOf('5.0')];
  const load = spawn(process.execPath, [mainFile, ...args, ...more], { stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => load.once('exit', resolve));
  const isDropped = async () =>
    (await listSavedIndexes(store)).some(({ runId, state }) => runId === 'interrupted' && state === 'dropped');
  while (load.exitCode === null && !(await isDropped())) await sleep(50);
  expect(await indexTexts(clients['5.0'])).toEqual([]);
  // Once the first range is under way.
  while (load.exitCode === null && (await (await openLedger(config, AUTHOR)).readRange('interrupted', 0)) === undefined)
    await sleep(50);
  load.kill('SIGINT');
  expect(await ended).toBe(1);
  expect(await indexTexts(clients['5.0'])).toEqual(before);
  expect(await saved('5.0')).toMatchObject({ runId: 'interrupted', state: 'restored' });
  expect((await (await openLedger(config, AUTHOR)).readRun('interrupted'))?.state).toBe('failed');
});

test('what a load that vanished owes is restored by stopping it, or by indexes restore once it is known to have ended', async () => {
  const client = clients['5.0'];
  const before = await indexTexts(client);
  const config = await readMigrationConfig(configOf('5.0'));
  const ledger = await openLedger(config, AUTHOR);
  const vanish = async (runId: string): Promise<void> => {
    const last = await ledger.readRun('fails');
    await ledger.startRun({ ...last!, runId, state: 'running', startedAt: new Date().toISOString(), endedAt: null });
    await withIndexPorts({ config, ledger }, (ports) => dropIndexes(runId, ports));
    expect(await indexTexts(client)).toEqual([]);
  };
  await vanish('vanishes');
  const refused = await ringshift('5.0', 'indexes', 'restore');
  expect(refused.code).toBe(1);
  expect(refused.stderr + refused.stdout).toContain('ringshift load stop vanishes');
  const stopped = await ringshift('5.0', 'load', 'stop', 'vanishes');
  expect(jsonOf(stopped)).toMatchObject({ state: 'stopped', indexes: { status: 'done', built: 4 } });
  expect(await indexTexts(client)).toEqual(before);

  await vanish('ends-badly');
  // As after a half-finished restore: one is back already.
  await client.execute(SAI);
  await ledger.endRun('ends-badly', 'failed', new Date());
  expect((await ringshift('5.0', 'indexes', 'status')).code).toBe(1);
  const restored = await ringshift('5.0', 'indexes', 'restore');
  expect(jsonOf(restored)).toMatchObject({ status: 'done', total: 4, built: 4 });
  expect(await indexTexts(client)).toEqual(before);
  expect((await ringshift('5.0', 'indexes', 'status')).code).toBe(0);
});
