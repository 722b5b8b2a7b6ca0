import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { markVanished } from '#core/jobs/mark-vanished.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

/** A proxy on a host like Cloud Run, whose disk is gone with it. */
const KEYSPACE = 'ephemeral_test';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const PORT = 19_620;
const folder = mkdtempSync(join(tmpdir(), 'ringshift-ephemeral-'));
const queue = join(folder, 'queue');
const ledger = createLedger(createFileLedgerStore(join(folder, 'ledger')));
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
/** When every lease of now has long run out. */
const later = { nowMillis: () => Date.now() + 60_000 };

let origin: Client;
let target: Client;
let client: Client | undefined;
let relay: TcpRelay;
let proxy: ProxyProcess;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const cluster of [origin, target]) {
    await recreateKeyspace(cluster, KEYSPACE);
    for (const table of ['first', 'second', 'untouched']) {
      await cluster.execute(`CREATE TABLE ${KEYSPACE}.${table} (id int PRIMARY KEY, name text)`);
    }
  }
  relay = new TcpRelay(host, 19_622, environment.target);
  await relay.restore();
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: 19_621 },
    origin: environment.origin,
    target: { host, port: 19_622 },
    login: { username, password },
    ledger: join(folder, 'ledger'),
    proxy: { initialPhase: 'dual-async', lease: { pollMs: 100, heartbeatSecs: 1 }, shadowTimeoutMs: 1000 },
    failedWrites: { kind: 'directory', path: queue },
    env: { K_SERVICE: 'shop' },
  });
  await start();
  await relay.cut();
});

afterAll(async () => {
  await client?.shutdown();
  await proxy?.kill();
  await relay?.cut();
  proxy?.cleanUp();
  rmSync(folder, { recursive: true, force: true });
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

async function start(): Promise<void> {
  await client?.shutdown();
  await proxy.start();
  client = await connectToProxy({ host, port: PORT }, KEYSPACE);
}

const write = (table: string, id: number) =>
  client!.execute(`INSERT INTO ${table} (id, name) VALUES (?, 'missed')`, [id], { prepare: true });

async function record(): Promise<ProxyRecord | undefined> {
  return (await ledger.listProxies())[0];
}

const waiting = async () =>
  (await proxy.get<{ failedWrites: { journalMessages: number } }>('/status')).failedWrites.journalMessages;

const inQueue = () => {
  const messages = join(queue, 'messages');
  return existsSync(messages) ? readdirSync(messages).length : 0;
};

function takeQueueAway(): void {
  renameSync(queue, `${queue}.away`);
  writeFileSync(queue, '');
}

function bringQueueBack(): void {
  rmSync(queue);
  renameSync(`${queue}.away`, queue);
}

/** Ends the process and its disk at once. */
async function vanish(): Promise<void> {
  await proxy.kill();
  rmSync(join(proxy.folder, 'journal'), { recursive: true });
}

test('it tells which tables it writes, and brings what fails to the queue', async () => {
  await write('first', 1);
  // Not eventually: one that vanishes now has told already.
  expect(await record()).toMatchObject({ storage: 'ephemeral', tables: [`${KEYSPACE}.first`] });
  await eventually(async () => {
    expect(inQueue()).toBe(1);
    expect(await waiting()).toBe(0);
  });
});

test('the tables that it wrote are marked when it is gone with its disk, and only these', async () => {
  takeQueueAway();
  const lostAt = Date.now();
  await write('second', 2);
  expect((await record())?.tables).toEqual([`${KEYSPACE}.first`, `${KEYSPACE}.second`]);
  await eventually(async () => {
    expect(await waiting()).toBeGreaterThan(0);
    const { durableAt } = (await record())!;
    expect(Date.parse(durableAt!)).toBeLessThan(lostAt);
  });
  expect(await markVanished({ ledger, clock: { nowMillis: () => Date.now() }, logger })).toEqual([]);

  const killedAt = Date.now();
  await vanish();
  expect(await markVanished({ ledger, clock: later, logger })).toEqual(['test']);
  const marks = await ledger.listSuspects();
  expect(marks.map(({ table }) => table).sort()).toEqual(['first', 'second']);
  for (const mark of marks) {
    expect(mark).toMatchObject({ keyspace: KEYSPACE, code: 'vanished', lacking: 'target', range: null, by: 'test' });
    expect(Date.parse(mark.from!)).toBeLessThan(lostAt);
    expect(Date.parse(mark.at)).toBeGreaterThanOrEqual(killedAt);
  }
  expect((await ledger.readTable(KEYSPACE, 'second'))?.state).toBe('suspect');
  expect(await ledger.readTable(KEYSPACE, 'untouched')).toBeUndefined();
  // What is marked is true: nothing else knows of this write any more.
  expect((await origin.execute(`SELECT id FROM ${KEYSPACE}.second`)).rowLength).toBe(1);
  expect((await target.execute(`SELECT id FROM ${KEYSPACE}.second`)).rowLength).toBe(0);
});

test('its successor of the same name starts with the tables of nobody, and says good-bye when all is in the queue', async () => {
  await proxy.kill();
  bringQueueBack();
  await start();
  expect((await record())?.tables).toEqual([]);
  await write('first', 3);
  expect((await record())?.tables).toEqual([`${KEYSPACE}.first`]);
  await eventually(async () => expect(await waiting()).toBe(0));
  expect(await proxy.stop()).toBe(0);
  expect(await record()).toBeUndefined();
});

test('one that is drained while the queue is away says no good-bye, so that what it takes with it is marked', async () => {
  for (const { keyspace, table, id } of await ledger.listSuspects()) await ledger.removeSuspect(keyspace, table, id);
  await proxy.kill();
  await start();
  // Before the first failure, which is when the journal opens it.
  takeQueueAway();
  await write('second', 4);
  await eventually(async () => expect(await waiting()).toBeGreaterThan(0));
  await proxy.stop();
  rmSync(join(proxy.folder, 'journal'), { recursive: true });
  expect(await record()).toBeDefined();
  expect(await markVanished({ ledger, clock: later, logger })).toEqual(['test']);
  expect((await ledger.listSuspects()).map(({ table }) => table)).toEqual(['second']);
});

test('the ledger knows of a table before the first write to it leaves, as text and in a batch as well', async () => {
  bringQueueBack();
  await start();
  await relay.restore();
  const lacks = async (table: string) => !(await record())?.tables?.includes(`${KEYSPACE}.${table}`);
  const insert = (table: string, id: number) => `INSERT INTO ${KEYSPACE}.${table} (id, name) VALUES (${id}, 'x')`;
  expect([await lacks('first'), await lacks('untouched')]).toEqual([true, true]);
  await client!.execute(insert('first', 5));
  expect([await lacks('first'), await lacks('untouched')]).toEqual([false, true]);
  await client!.batch([insert('first', 6), insert('untouched', 6)]);
  expect(await lacks('untouched')).toBe(false);

  // Of one that nobody knows, a client is told by the cluster, as without the proxy.
  await expect(client!.execute(insert('nowhere', 7))).rejects.toThrow(/nowhere/);
  for (const cluster of [origin, target]) {
    await eventually(async () => {
      const { rows } = await cluster.execute(`SELECT id FROM ${KEYSPACE}.first WHERE id IN (5, 6)`);
      expect(rows.map((row) => row['id'])).toEqual([5, 6]);
    });
  }
});

test('a ledger that is away keeps nobody from writing a table for the first time', async () => {
  await client!.execute(`DROP TABLE IF EXISTS ${KEYSPACE}.late`);
  await client!.execute(`CREATE TABLE ${KEYSPACE}.late (id int PRIMARY KEY, name text)`);
  const at = join(folder, 'ledger');
  renameSync(at, `${at}.away`);
  writeFileSync(at, '');
  try {
    await write('late', 8);
    await client!.execute(`INSERT INTO ${KEYSPACE}.late (id, name) VALUES (9, 'x')`);
  } finally {
    rmSync(at);
    renameSync(`${at}.away`, at);
  }
  await eventually(async () => expect((await record())?.tables).toContain(`${KEYSPACE}.late`));
  expect((await origin.execute(`SELECT id FROM ${KEYSPACE}.late`)).rowLength).toBe(2);
});
