/** A proxy whose clock jumps while it is away, between real clusters (CORRECTNESS: trap 13). */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Client } from 'cassandra-driver';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'restart_clock_test';
const OFF_MS = 7_200_000;
const TTL_SECONDS = 1200;
/** Of an end of life: rounding, and how long a busy machine takes between two looks. */
const TOLERANCE_MS = 5_000;
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const listen = { host, port: 19_680 };
const main = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const shiftedClock = new URL('../support/faults/shifted-clock.ts', import.meta.url).href;

const queue = mkdtempSync(join(tmpdir(), 'ringshift-restart-clock-'));
const offsetFile = join(queue, 'clock');

let origin: Client;
let target: Client;
let relay: TcpRelay;
let proxy: ProxyProcess;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, v int)`);
  }
  relay = new TcpRelay(host, 19_682, environment.target);
  await relay.restore();
  proxy = new ProxyProcess({
    listen,
    admin: { host, port: 19_681 },
    origin: environment.origin,
    target: { host, port: 19_682 },
    originConfig: { localDatacenter: 'dc1' },
    login: { username, password },
    proxy: { instance: 'shifted' },
    failedWrites: { kind: 'directory', path: join(queue, 'queue') },
    env: { NODE_OPTIONS: `--import=${shiftedClock}`, RINGSHIFT_CLOCK_OFFSET_FILE: offsetFile },
  });
});

afterEach(() => proxy.kill());

afterAll(async () => {
  await relay?.cut();
  proxy?.cleanUp();
  rmSync(queue, { recursive: true, force: true });
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

/** Starts it with a clock that is off by so much. Clocks that differ make it unready, and it serves all the same. */
async function startWith(offsetMs: number): Promise<Client> {
  writeFileSync(offsetFile, String(offsetMs));
  await proxy.start({ until: offsetMs === 0 ? 'ready' : 'listening' });
  // The write times are the proxy's.
  return connectToProxy(listen, KEYSPACE, { policies: { timestampGeneration: null as never } });
}

/** Value and write time of a row. */
async function rowOf(client: Client, id: number): Promise<{ v: number; writtenAt: bigint } | undefined> {
  const { rows } = await client.execute(`SELECT v, writetime(v) AS w FROM ${KEYSPACE}.items WHERE id = ${id}`);
  const [row] = rows;
  return row && { v: Number(row['v']), writtenAt: BigInt(String(row['w'])) };
}

/** When a row ends, by the clock of its cluster. */
async function endOf(client: Client, id: number): Promise<number> {
  const text = `SELECT ttl(v) AS t, toUnixTimestamp(now()) AS now FROM ${KEYSPACE}.items WHERE id = ${id}`;
  const { rows } = await client.execute(text);
  expect(rows[0]?.['t'], 'a row that lives').toBeGreaterThan(0);
  return Number(String(rows[0]!['now'])) + Number(rows[0]!['t']) * 1000;
}

/** Both clusters have this value with one write time, which is returned. */
function sameOnBoth(id: number, v: number): Promise<bigint> {
  return eventually(async () => {
    const [mine, theirs] = await Promise.all([rowOf(origin, id), rowOf(target, id)]);
    expect(mine?.v).toBe(v);
    expect(theirs).toEqual(mine);
    return mine!.writtenAt;
  });
}

async function reasons(): Promise<string> {
  const response = await fetch(`http://${host}:19681/health/ready`);
  return response.status === 200 ? '' : await response.text();
}

/** Writes with a TTL while the target is away, so that the journal has it. */
async function writeQueued(client: Client, id: number): Promise<void> {
  const { journaled = 0 } = await proxy.counters();
  await relay.cut();
  await client.execute(`INSERT INTO items (id, v) VALUES (${id}, 1) USING TTL ${TTL_SECONDS}`);
  await eventually(async () => expect((await proxy.counters())['journaled']).toBeGreaterThan(journaled));
  await eventually(async () => {
    const { failedWrites } = await proxy.get<{ failedWrites: { journalMessages: number } }>('/status');
    expect(failedWrites.journalMessages).toBe(0);
  });
  await relay.restore();
}

async function kill(client: Client): Promise<void> {
  await proxy.kill();
  await client.shutdown();
}

const AHEAD = { copied: 1, alone: 2, queued: 3 };
const BACK = { late: 4, queued: 5 };

test('killed and started with its clock hours back, it gives later write times, with copies and without', async () => {
  let client = await startWith(OFF_MS);
  expect(await reasons()).toMatch(/the clock of the (origin|target) differs by -7[12]\d{5} ms/);
  await proxy.setPhase('dual-async');
  await client.execute(`INSERT INTO items (id, v) VALUES (${AHEAD.copied}, 1)`);
  await sameOnBoth(AHEAD.copied, 1);
  await writeQueued(client, AHEAD.queued);
  await proxy.setPhase('origin-only');
  for (let v = 1; v <= 20; v++) await client.execute(`UPDATE items SET v = ${v} WHERE id = ${AHEAD.alone}`);
  await kill(client);
  const before = await rowOf(origin, AHEAD.alone);
  expect(before).toMatchObject({ v: 20 });
  expect(before!.writtenAt).toBeGreaterThan(BigInt(Date.now() + OFF_MS / 2) * 1000n);

  client = await startWith(0);
  await client.execute(`UPDATE items SET v = 21 WHERE id = ${AHEAD.alone}`);
  const after = await rowOf(origin, AHEAD.alone);
  expect(after).toMatchObject({ v: 21 });
  expect(after!.writtenAt).toBeGreaterThan(before!.writtenAt);
  await proxy.setPhase('dual-async');
  await client.execute(`UPDATE items SET v = 2 WHERE id = ${AHEAD.copied}`);
  expect(await sameOnBoth(AHEAD.copied, 2)).toBeGreaterThan(after!.writtenAt);
  await kill(client);
}, 300_000);

test('with a clock hours behind those of the clusters it is not ready, and its writes win over theirs all the same', async () => {
  const client = await startWith(-OFF_MS);
  expect(await reasons()).toMatch(/the clock of the (origin|target) differs by 7[12]\d{5} ms/);
  // A coordinator's time; the table in which the proxy's own write times run ahead of that is another one.
  for (const one of [origin, target]) {
    await one.execute(`INSERT INTO ${KEYSPACE}.items (id, v) VALUES (${BACK.late}, 0)`);
  }
  await client.execute(`UPDATE items SET v = 1 WHERE id = ${BACK.late}`);
  await sameOnBoth(BACK.late, 1);
  await writeQueued(client, BACK.queued);
  await kill(client);
}, 300_000);

test('what such proxies have queued ends on the other cluster when it does on the first one', async () => {
  const replay = ['replay', 'run', '--local', '--json', '--config', proxy.configFile];
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...replay]);
  expect(JSON.parse(stdout)).toMatchObject({ dead: 0, held: null });
  for (const id of [AHEAD.queued, BACK.queued]) {
    await sameOnBoth(id, 1);
    const [mine, theirs] = await Promise.all([endOf(origin, id), endOf(target, id)]);
    expect(Math.abs(mine - theirs), `row ${id}`).toBeLessThan(TOLERANCE_MS);
  }
}, 300_000);
