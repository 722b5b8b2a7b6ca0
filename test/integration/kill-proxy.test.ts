import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { auth, Client, policies } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { readLog } from '../../proxy-container/src/in-flight/read-log.ts';
import { eventually } from '../support/eventually.ts';
import { FrameRelay } from '../support/frame-relay.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { runVerb } from './support/command.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'kill_proxy_test';
const ROUNDS = 3;
const WRITERS = 6;
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const PORT = 19601;

const TABLES: Record<string, string> = {
  items: 'id int PRIMARY KEY, v int',
  pairs: 'a int, b text, c int, v int, PRIMARY KEY ((a, b), c)',
  sums: 'id int PRIMARY KEY, v int',
};

const queue = mkdtempSync(join(tmpdir(), 'ringshift-kill-proxy-'));

let origin: Client;
let target: Client;
let relay: FrameRelay;
let proxy: ProxyProcess;
/** Below one, of the copies; the others are held on their way until their connection ends. */
let passing = 1;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    for (const [name, columns] of Object.entries(TABLES)) {
      await client.execute(`CREATE TABLE ${KEYSPACE}.${name} (${columns})`);
    }
  }
  relay = new FrameRelay(environment.target);
  relay.fateOf = () => (Math.random() < passing ? {} : { hold: true });
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: 19602 },
    origin: environment.origin,
    target: { host: '127.0.0.1', port: await relay.listen() },
    login: { username, password },
    // What hangs is under way until the proxy dies.
    proxy: { initialPhase: 'dual-async', shadowTimeoutMs: 120_000, instance: 'killed' },
    failedWrites: { kind: 'directory', path: queue },
  });
});

afterAll(async () => {
  await proxy?.stop();
  await relay?.close();
  proxy?.cleanUp();
  rmSync(queue, { recursive: true, force: true });
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

/** The last version of a key that was acknowledged; those above it may be there or not. */
const acknowledged = new Map<string, number>();
/** By each writer in this round. */
const written = new Array<number>(WRITERS).fill(0);

/** Writes to keys of its own until the proxy is gone. */
async function write(writer: number, round: number, signal: AbortSignal): Promise<void> {
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port: PORT },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    keyspace: KEYSPACE,
    policies: { retry: new policies.retry.FallthroughRetryPolicy() },
    socketOptions: { readTimeout: 5_000, connectTimeout: 20_000 },
  });
  const one = async (key: string, work: () => Promise<unknown>, version: number): Promise<void> => {
    await work();
    acknowledged.set(key, version);
    written[writer]!++;
  };
  try {
    await client.connect();
    for (let version = round * 1_000_000 + 1; !signal.aborted; version++) {
      const id = writer * 1000 + (version % 4);
      const prepared = { prepare: true };
      if (writer < 2) {
        const text = 'INSERT INTO items (id, v) VALUES (?, ?)';
        await one(`items ${id}`, () => client.execute(text, [id, version], prepared), version);
      } else if (writer === 2) {
        const text = 'UPDATE pairs SET v = ? WHERE a = ? AND b = ? AND c = ?';
        await one(`pairs ${id}`, () => client.execute(text, [version, id, `b${id}`, 1], prepared), version);
      } else if (writer === 3) {
        const text = `UPDATE items SET v = ${version} WHERE id = ${id}`;
        await one(`items ${id}`, () => client.execute(text), version);
      } else if (writer === 4) {
        const batch = [
          { query: 'INSERT INTO items (id, v) VALUES (?, ?)', params: [id, version] },
          { query: 'INSERT INTO sums (id, v) VALUES (?, ?)', params: [id, version] },
        ];
        await one(`items ${id}`, () => client.batch(batch, prepared), version);
        acknowledged.set(`sums ${id}`, version);
      } else {
        const text = 'UPDATE sums SET v = ? WHERE id = ? IF v != ?';
        await one(`sums ${id}`, () => client.execute(text, [version, id, version], prepared), version);
      }
    }
  } catch (error) {
    // The proxy is gone, as it should be.
    if (!signal.aborted) throw error;
  } finally {
    void client.shutdown().catch(() => undefined);
  }
}

/** All rows of a cluster with their write times: partition and row by its value. */
async function rowsOf(client: Client): Promise<Map<string, { token: string; key: string; value: string }>> {
  const rows = new Map<string, { token: string; key: string; value: string }>();
  for (const [table, key] of [
    ['items', 'id'],
    ['pairs', 'a, b'],
    ['sums', 'id'],
  ] as const) {
    const first = key.split(',')[0]!;
    const text = `SELECT ${first} AS k, token(${key}) AS t, v, writetime(v) AS w FROM ${KEYSPACE}.${table}`;
    const { rows: found } = await client.execute(text, [], { fetchSize: 5000 });
    for (const row of found) {
      rows.set(`${table} ${row['k']}`, {
        token: `${table} ${row['t']}`,
        key: String(row['v']),
        value: `${row['v']}@${row['w']}`,
      });
    }
  }
  return rows;
}

/** Table and token of each partition that is not the same on both clusters. */
async function differing(): Promise<Set<string>> {
  const [one, other] = await Promise.all([rowsOf(origin), rowsOf(target)]);
  const found = new Set<string>();
  for (const name of new Set([...one.keys(), ...other.keys()])) {
    if (one.get(name)?.value !== other.get(name)?.value) found.add((one.get(name) ?? other.get(name))!.token);
  }
  return found;
}

test('a proxy that is killed under load leaves a list of all that differs, and nothing differs after its replay', async () => {
  const owed = new Set<string>();
  for (let round = 1; round <= ROUNDS; round++) {
    passing = 1;
    written.fill(0);
    await proxy.start();
    const killed = new AbortController();
    const writers = Array.from({ length: WRITERS }, (_, writer) => write(writer, round, killed.signal));
    const failed = Promise.all(writers);
    failed.catch(() => undefined);
    await Promise.race([failed, eventually(() => expect(Math.min(...written)).toBeGreaterThan(20))]);
    const before = relay.heldCount;
    passing = 0.3;
    await Promise.race([failed, eventually(() => expect(relay.heldCount).toBeGreaterThan(before + 10))]);
    await Promise.race([failed, sleep(Math.random() * 300)]);
    killed.abort();
    await proxy.kill();
    await failed;
    const { owed: places } = await readLog(join(proxy.folder, 'journal', 'in-flight'));
    const listed = places.flatMap(({ table, tokens }) => [...tokens].map((token) => `${table} ${token}`));
    expect(places.filter(({ isWhole }) => isWhole)).toEqual([]);
    for (const place of listed) owed.add(place);
    const different = await differing();
    expect(different.size).toBeGreaterThan(0);
    expect([...different].filter((place) => !owed.has(place))).toEqual([]);
  }
  passing = 1;
  await proxy.start();
  expect(await proxy.text('/metrics')).toMatch(/^ringshift_recovered_places_total\{kind="copied"\} [1-9]/m);
  await eventually(async () => {
    const { failedWrites } = await proxy.get<{ failedWrites: { journalMessages: number } }>('/status');
    expect(failedWrites.journalMessages).toBe(0);
  });
  // Nothing is under way any more, so nothing has to be waited for between two looks at a difference.
  const configFile = join(proxy.folder, 'replay.yaml');
  writeFileSync(
    configFile,
    stringify({ ...parse(readFileSync(proxy.configFile, 'utf8')), validation: { settleMs: 100 } }),
  );
  const replayed = await runVerb(configFile, 'replay', 'run', '--local');
  expect(replayed, replayed.stderr).toMatchObject({ code: 0, json: { dead: 0, held: null } });
  expect([...(await differing())]).toEqual([]);
  const rows = await rowsOf(target);
  for (const [name, version] of acknowledged) expect(Number(rows.get(name)?.key), name).toBeGreaterThanOrEqual(version);
}, 480_000);
