import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { tableFolder } from '../../infra/local/cassandra-tools.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { begun, MigrationCommand } from './support/command.ts';
import { takeSnapshot } from './support/shared-tools.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'table_order_test';
const TABLES = ['a', 'b', 'c', 'd'];
const ROWS = 75;

let folder: string;
let command: MigrationCommand;
let ledger: Ledger;
let origin: Client;
let target: Client;
let place: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-order-'));
  const environment = readTestEnvironment();
  command = new MigrationCommand(folder, environment.origin, environment.target);
  ledger = createLedger(createFileLedgerStore(command.ledgerFolder));
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    for (const table of TABLES) await client.execute(`CREATE TABLE ${KEYSPACE}.${table} (id int PRIMARY KEY, v text)`);
  }
  const value = 'x'.repeat(2000);
  for (const table of TABLES) {
    const insert = `INSERT INTO ${KEYSPACE}.${table} (id, v) VALUES (?, ?)`;
    const ids = Array.from({ length: ROWS }, (_, id) => id);
    await Promise.all(ids.map((id) => origin.execute(insert, [id, value], { prepare: true })));
  }
  await takeSnapshot(testEnvironment.origin, 'order', KEYSPACE);
  place = join(folder, 'snapshot');
  const data = join(tableFolder(testEnvironment.origin, KEYSPACE, 'a'), '..', '..');
  const upload = ['--tag', 'order', '--keyspace', KEYSPACE, '--to', place];
  const shipped = await command.run('snapshot', 'upload', data, ...upload);
  expect(shipped.code, shipped.stderr).toBe(0);
});

afterAll(async () => {
  for (const client of [origin, target]) {
    await client?.execute(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
    await client?.shutdown();
  }
  rmSync(folder, { recursive: true, force: true });
});

test('tables are loaded in their order, and one that is put first while the load runs is next', async () => {
  const ordered = await command.run('tables', 'order', `${KEYSPACE}.c=1`, `${KEYSPACE}.b=2`);
  expect(ordered.code, ordered.stderr).toBe(0);
  // One range at a time, each some seconds.
  const slow = ['--target-write-mbps', '0.05', '--run-id', 'ordered'];
  const running = command.startLoad(KEYSPACE, place, ...slow);
  await begun(() => ledger.listRanges('ordered'));
  expect((await ledger.listRanges('ordered')).map(({ table }) => table)).toEqual(['c']);
  await ledger.setTable(KEYSPACE, 'd', 'loading', { now: new Date(), by: 'somebody', facts: { order: 0 } });
  const loaded = await running;
  expect(loaded.json['status'], loaded.stderr).toBe('done');
  const ended = [...(await ledger.listRanges('ordered'))]
    .sort((x, y) => x.updatedAt.localeCompare(y.updatedAt))
    .map(({ table }) => table);
  expect(ended).toEqual(['c', 'd', 'b', 'a']);
  for (const table of TABLES) {
    expect((await target.execute(`SELECT id FROM ${KEYSPACE}.${table}`)).rowLength).toBe(ROWS);
  }
});

test('a table that is demanded again is refused with the old snapshot by name, and the others go on without it', async () => {
  const demanded = await command.run('tables', 'remigrate', `${KEYSPACE}.b`, '--why', 'restored from a backup');
  expect(demanded.code, demanded.stderr).toBe(0);
  const refused = await command.startLoad(KEYSPACE, place, '--dry-run');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/table_order_test\.b: to be loaded again \(restored from a backup\)/);
  const others = await command.startLoad(KEYSPACE, place, '--skip-stale', '--dry-run');
  expect((others.json['tables'] as { table: string }[]).map(({ table }) => table)).toEqual(['d', 'c', 'a']);
});
