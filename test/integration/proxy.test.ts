import { setTimeout as sleep } from 'node:timers/promises';
import { auth, Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'proxy_test';
const TENANT = 'e19206ba-c584-11e8-882a-0a580a30028e';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const relayPlace = { host, port: 19043 };

let origin: Client;
let target: Client;
let relay: TcpRelay;
let proxy: ProxyProcess;
let app: Client;

/** The Node driver as an application uses it; without timestamps of its own, so that the proxy's are seen. */
async function connectThroughProxy(keyspace?: string): Promise<Client> {
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port: 19042 },
    localDataCenter: 'dc1',
    socketOptions: { readTimeout: 60_000 },
    authProvider: new auth.PlainTextAuthProvider(username, password),
    queryOptions: { consistency: types.consistencies.localOne },
    policies: { timestampGeneration: null as never },
    ...(keyspace ? { keyspace } : {}),
  });
  await client.connect();
  return client;
}

async function rowsOf(client: Client, query: string): Promise<unknown[]> {
  const result = await client.execute(query, [], { prepare: false, fetchSize: 5000 });
  return result.rows.map((row) => JSON.stringify(row.values().map(String))).sort();
}

async function eventually(what: () => Promise<boolean>, message: string): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt++) {
    if (await what()) return;
    await sleep(100);
  }
  throw new Error(message);
}

async function shadowsSettled(): Promise<void> {
  await eventually(async () => (await proxy.counters())['shadowInFlight'] === 0, 'shadow writes did not settle');
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, v text, n int, tags set<text>)`);
    await client.execute(
      `CREATE TABLE ${KEYSPACE}.files (system_domain_id uuid, id uuid, name text, PRIMARY KEY (system_domain_id, id))`,
    );
    await client.execute(`CREATE TABLE ${KEYSPACE}.events (id int, at timeuuid, v text, PRIMARY KEY (id, at))`);
    await client.execute(`CREATE TABLE ${KEYSPACE}.counts (id int PRIMARY KEY, c counter)`);
    await client.execute(`CREATE TABLE ${KEYSPACE}.lists (id int PRIMARY KEY, l list<int>)`);
  }
  relay = new TcpRelay(relayPlace.host, relayPlace.port, environment.target);
  await relay.restore();
  proxy = new ProxyProcess({
    listen: { host, port: 19042 },
    admin: { host, port: 18080 },
    origin: environment.origin,
    target: relayPlace,
    login: { username, password },
    filterRules: `tenants: { columns: [system_domain_id], exclude: [${TENANT}] }`,
  });
  await proxy.start();
  app = await connectThroughProxy(KEYSPACE);
});

afterAll(async () => {
  await app?.shutdown();
  await proxy?.stop();
  await relay?.cut();
  proxy?.cleanUp();
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

test('a driver finds the proxy as the only node, with the metadata of the cluster behind it', async () => {
  expect([...app.hosts.keys()]).toEqual([`${host}:19042`]);
  const table = await app.metadata.getTable(KEYSPACE, 'items');
  expect(table?.columns.map((column) => column.name).sort()).toEqual(['id', 'n', 'tags', 'v']);
});

test('in origin-only writes stay on the origin and have a write time of the proxy', async () => {
  const before = Date.now() * 1000;
  await app.execute('INSERT INTO items (id, v) VALUES (?, ?)', [-1, 'origin only'], { prepare: true });
  const [row] = (await origin.execute(`SELECT v, writetime(v) AS w FROM ${KEYSPACE}.items WHERE id = -1`)).rows;
  expect(row?.['v']).toBe('origin only');
  expect(Number(row?.['w'])).toBeGreaterThanOrEqual(before);
  expect(await rowsOf(target, `SELECT * FROM ${KEYSPACE}.items WHERE id = -1`)).toEqual([]);
  await origin.execute(`DELETE FROM ${KEYSPACE}.items WHERE id = -1`);
});

test('every kind of write reaches both clusters with the same write time in dual-async', async () => {
  await proxy.setPhase('dual-async');
  await app.execute('INSERT INTO items (id, v, n) VALUES (?, ?, ?)', [1, 'prepared', 1], { prepare: true });
  await app.execute("INSERT INTO items (id, v, n) VALUES (2, 'text', 2)");
  await app.execute('UPDATE items SET v = ?, tags = tags + ? WHERE id = ?', ['updated', ['a', 'b'], 3], {
    prepare: true,
  });
  await app.batch(
    [
      { query: 'INSERT INTO items (id, v) VALUES (?, ?)', params: [4, 'batch'] },
      { query: 'DELETE n FROM items WHERE id = ?', params: [1] },
    ],
    { prepare: true },
  );
  await app.batch([{ query: "INSERT INTO items (id, v) VALUES (5, 'plain batch')" }], { prepare: false });
  await app.execute("BEGIN BATCH INSERT INTO items (id, v) VALUES (6, 'text batch') APPLY BATCH");
  await app.execute('INSERT INTO items (id, v) VALUES (?, ?) USING TTL 1000', [7, 'ttl'], { prepare: true });
  await shadowsSettled();
  const query = `SELECT id, v, n, tags, writetime(v), writetime(n), ttl(v) > 0 FROM ${KEYSPACE}.items`.replace(
    ', ttl(v) > 0',
    '',
  );
  const onOrigin = await rowsOf(origin, query);
  expect(onOrigin).toHaveLength(7);
  expect(await rowsOf(target, query)).toEqual(onOrigin);
});

test('functions are evaluated once, in texts and in prepared statements', async () => {
  await app.execute("INSERT INTO events (id, at, v) VALUES (1, now(), 'text')");
  await app.execute('INSERT INTO events (id, at, v) VALUES (?, now(), ?)', [2, 'middle'], { prepare: true });
  await app.execute('INSERT INTO events (at, id, v) VALUES (now(), ?, ?)', [3, 'first'], { prepare: true });
  await app.execute('INSERT INTO events (id, v, at) VALUES (?, ?, now())', [4, 'last'], { prepare: true });
  await app.execute('INSERT INTO events (id, at, v) VALUES (:id, now(), :v)', { id: 5, v: 'named' }, { prepare: true });
  await shadowsSettled();
  const onOrigin = await rowsOf(origin, `SELECT id, at, v, writetime(v) FROM ${KEYSPACE}.events`);
  expect(onOrigin).toHaveLength(5);
  expect(await rowsOf(target, `SELECT id, at, v, writetime(v) FROM ${KEYSPACE}.events`)).toEqual(onOrigin);
});

test('an excluded tenant stays on the origin, prepared or not, and others do not', async () => {
  const other = types.Uuid.random();
  const insert = 'INSERT INTO files (system_domain_id, id, name) VALUES (?, ?, ?)';
  await app.execute(insert, [types.Uuid.fromString(TENANT), types.Uuid.random(), 'excluded'], { prepare: true });
  await app.execute(
    `INSERT INTO files (system_domain_id, id, name) VALUES (${TENANT}, ${types.Uuid.random()}, 'text')`,
  );
  await app.execute(insert, [other, types.Uuid.random(), 'migrates'], { prepare: true });
  await shadowsSettled();
  expect(await rowsOf(origin, `SELECT name FROM ${KEYSPACE}.files`)).toHaveLength(3);
  expect(await rowsOf(target, `SELECT name FROM ${KEYSPACE}.files`)).toEqual(['["migrates"]']);
  expect((await proxy.counters())['filteredWrites']).toBe(2);
});

test('a conditional write is decided by the primary alone, and what it left is copied with its write time', async () => {
  const first = await app.execute("INSERT INTO items (id, v) VALUES (100, 'lwt') IF NOT EXISTS", [], { prepare: true });
  const again = await app.execute("INSERT INTO items (id, v) VALUES (100, 'other') IF NOT EXISTS", [], {
    prepare: true,
  });
  expect([first.wasApplied(), again.wasApplied()]).toEqual([true, false]);
  await shadowsSettled();
  const query = `SELECT v, writetime(v) FROM ${KEYSPACE}.items WHERE id = 100`;
  const onOrigin = await rowsOf(origin, query);
  expect(onOrigin).toHaveLength(1);
  expect(await rowsOf(target, query)).toEqual(onOrigin);
  for (const client of [origin, target]) await client.execute(`DELETE FROM ${KEYSPACE}.items WHERE id = 100`);
});

test('counters and lists are copied once', async () => {
  await app.execute('UPDATE counts SET c = c + ? WHERE id = ?', [3, 1], { prepare: true });
  await app.execute('UPDATE lists SET l = l + ? WHERE id = ?', [[1, 2], 1], { prepare: true });
  await shadowsSettled();
  expect(await rowsOf(target, `SELECT c FROM ${KEYSPACE}.counts`)).toEqual(['["3"]']);
  expect(await rowsOf(target, `SELECT l FROM ${KEYSPACE}.lists`)).toEqual(
    await rowsOf(origin, `SELECT l FROM ${KEYSPACE}.lists`),
  );
});

test('DDL is made on both clusters before the client hears of it', async () => {
  await app.execute('CREATE TABLE made_here (id int PRIMARY KEY, v text)');
  await app.execute('INSERT INTO made_here (id, v) VALUES (?, ?)', [1, 'x'], { prepare: true });
  await shadowsSettled();
  expect(await rowsOf(target, `SELECT * FROM ${KEYSPACE}.made_here`)).toEqual(['["1","x"]']);
  await app.execute('TRUNCATE made_here');
  expect(await rowsOf(target, `SELECT * FROM ${KEYSPACE}.made_here`)).toEqual([]);
});

test('errors come as the cluster gave them, and an unknown prepared id is prepared again by the driver', async () => {
  await expect(app.execute('SELECT nothing FROM items')).rejects.toMatchObject({ code: 0x2200 });
  await expect(app.execute('SELEC')).rejects.toMatchObject({ code: 0x2000 });
  await expect(app.execute('SELECT * FROM no_such_table')).rejects.toMatchObject({ code: 0x2200 });
});

test('what a target that is away misses is in the journal, and the application sees nothing of it', async () => {
  const before = await proxy.counters();
  await relay.cut();
  const values = Array.from({ length: 50 }, (_, index) => 1000 + index);
  for (const id of values) {
    await app.execute('INSERT INTO items (id, v, n) VALUES (?, ?, ?)', [id, 'while away', id], { prepare: true });
  }
  await app.execute('UPDATE counts SET c = c + ? WHERE id = ?', [1, 1], { prepare: true });
  await eventually(async () => {
    const now = await proxy.counters();
    return now['journaled']! - before['journaled']! >= 50 && now['shadowUnqueueable']! > before['shadowUnqueueable']!;
  }, 'the failed writes are not in the journal');
  const status = await proxy.get<{ failedWrites: { journalMessages: number } }>('/status');
  expect(status.failedWrites.journalMessages).toBeGreaterThanOrEqual(50);
  await relay.restore();
  for (const client of [origin, target]) {
    for (const id of values) await client.execute(`DELETE FROM ${KEYSPACE}.items WHERE id = ${id}`);
  }
  await eventually(async () => {
    const [, cluster] = (await proxy.get<{ clusters: { state: string }[] }>('/status')).clusters;
    return cluster?.state === 'up';
  }, 'the target did not come back');
});

test('phases are switched under traffic without an error or a stale read, and both clusters are equal', async () => {
  const errors: unknown[] = [];
  let isRunning = true;
  let operations = 0;
  const worker = async (index: number): Promise<void> => {
    for (let round = 0; isRunning; round++) {
      const id = 10_000 + index * 20 + (round % 20);
      try {
        await app.execute('INSERT INTO items (id, v, n) VALUES (?, ?, ?)', [id, `round ${round}`, round], {
          prepare: true,
        });
        const read = await app.execute('SELECT n FROM items WHERE id = ?', [id], { prepare: true });
        if (read.rows[0]?.['n'] !== round) errors.push(`stale read of ${id}: ${read.rows[0]?.['n']} is not ${round}`);
        operations += 2;
      } catch (error) {
        errors.push(error);
      }
    }
  };
  const workers = Array.from({ length: 16 }, (_, index) => worker(index));
  const traffic = async (): Promise<void> => {
    const goal = operations + 300;
    await eventually(async () => operations >= goal || errors.length > 0, 'the traffic stands still');
  };
  for (const phase of ['dual-sync', 'target-primary', 'dual-sync', 'target-primary']) {
    await traffic();
    await proxy.setPhase(phase);
  }
  await traffic();
  isRunning = false;
  await Promise.all(workers);
  await shadowsSettled();
  expect(errors).toEqual([]);
  expect(operations).toBeGreaterThan(100);
  const query = `SELECT id, v, n, writetime(v), writetime(n) FROM ${KEYSPACE}.items`;
  const onOrigin = await rowsOf(origin, query);
  expect(onOrigin.length).toBeGreaterThan(300);
  expect(await rowsOf(target, query)).toEqual(onOrigin);
});

test('a page that was begun on one cluster is continued there', async () => {
  await proxy.setPhase('dual-sync');
  await origin.execute(`CREATE TABLE IF NOT EXISTS ${KEYSPACE}.pages (id int, c int, side text, PRIMARY KEY (id, c))`);
  await target.execute(`CREATE TABLE IF NOT EXISTS ${KEYSPACE}.pages (id int, c int, side text, PRIMARY KEY (id, c))`);
  for (let c = 0; c < 30; c++) {
    await origin.execute(`INSERT INTO ${KEYSPACE}.pages (id, c, side) VALUES (1, ${c}, 'origin')`);
    await target.execute(`INSERT INTO ${KEYSPACE}.pages (id, c, side) VALUES (1, ${c}, 'target')`);
  }
  const query = 'SELECT c, side FROM pages WHERE id = 1';
  const first = await app.execute(query, [], { prepare: true, fetchSize: 10 });
  await proxy.setPhase('target-primary');
  const second = await app.execute(query, [], { prepare: true, fetchSize: 10, pageState: first.pageState });
  const third = await app.execute(query, [], { prepare: true, fetchSize: 10, pageState: second.pageState });
  const all = [...first.rows, ...second.rows, ...third.rows];
  expect(all.map((row) => row['c'])).toEqual(Array.from({ length: 30 }, (_, index) => index));
  expect(new Set(all.map((row) => row['side']))).toEqual(new Set(['origin']));
  const fresh = await app.execute(query, [], { prepare: true, fetchSize: 10 });
  expect(fresh.rows[0]?.['side']).toBe('target');
});

test('in target-only the origin gets nothing, and a restarted proxy goes on in that phase', async () => {
  await expect(proxy.setPhase('target-only')).rejects.toThrow(/filter/);
  await proxy.setPhase('target-only', { abandonFiltered: true });
  await app.execute('INSERT INTO items (id, v) VALUES (?, ?)', [77, 'target only'], { prepare: true });
  expect(await rowsOf(origin, `SELECT v FROM ${KEYSPACE}.items WHERE id = 77`)).toEqual([]);
  expect(await rowsOf(target, `SELECT v FROM ${KEYSPACE}.items WHERE id = 77`)).toEqual(['["target only"]']);
  expect(await proxy.stop()).toBe(0);
  await proxy.start();
  expect((await proxy.get<{ phase: string }>('/status')).phase).toBe('target-only');
});
