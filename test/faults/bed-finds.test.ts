/** The beds themselves: with one protection taken away each time, they must find what it protects from. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { auth, Client, policies } from 'cassandra-driver';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { runRingshift } from '../cli/run-ringshift.ts';
import { connectToTestCluster, recreateKeyspace } from '../integration/support/clusters.ts';
import { readTestEnvironment } from '../integration/support/test-environment.ts';
import { readMarks } from '../support/faults/bring-together.ts';
import { differingPartitions, unnoted } from '../support/faults/differing-partitions.ts';
import { owedByMarks } from '../support/faults/owed-places.ts';
import { TestQueue } from '../support/faults/test-queue.ts';
import { until } from '../support/faults/until.ts';
import { type Fate, FrameRelay } from '../support/frame-relay.ts';
import { ProxyProcess } from '../support/proxy-process.ts';

const KEYSPACE = 'bed_finds_test';
const COLUMNS = { plain: 'v, writetime(v)', counts: 'c' };
const ROWS = 20;
const PORT = 19_830;
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;

let origin: Client;
let target: Client;
let app: Client;
let relay: FrameRelay;
let queue: TestQueue;
let proxy: ProxyProcess;

const differing = () => differingPartitions({ origin, target }, [KEYSPACE], COLUMNS);
const marks = async () => owedByMarks(await readMarks(proxy.configFile, [KEYSPACE]));
const ids = Array.from({ length: ROWS }, (_, id) => id);

async function writeAll(v: string): Promise<void> {
  const insert = `INSERT INTO ${KEYSPACE}.plain (id, v) VALUES (?, ?)`;
  await Promise.all(ids.map((id) => app.execute(insert, [id, v], { prepare: true })));
}

/** Until no copy is under way and no failed one waits to be sent. */
function settled(): Promise<void> {
  return until('the copies are settled', async () => {
    const { failedWrites, counters } = await proxy.get<{
      failedWrites: { journalMessages: number; suspectMarksWaiting: number };
      counters: Record<string, number>;
    }>('/status');
    const { journalMessages, suspectMarksWaiting } = failedWrites;
    return (counters['shadowInFlight'] ?? 0) + journalMessages + suspectMarksWaiting === 0;
  });
}

async function replay(): Promise<void> {
  // To the target itself, as the function does.
  const config = parse(readFileSync(proxy.configFile, 'utf8')) as { target: object };
  config.target = { ...config.target, contactPoints: [environment.target.host], port: environment.target.port };
  const file = join(proxy.folder, 'direct.yaml');
  writeFileSync(file, stringify(config));
  await until('the queue is empty', async () => {
    await runRingshift(['replay', 'run', '--local', '--config', file, '--json']);
    const { waiting, dead } = await queue.depth();
    expect(dead).toBe(0);
    return waiting === 0;
  });
}

beforeAll(async () => {
  [origin, target, queue] = await Promise.all([
    connectToTestCluster('origin'),
    connectToTestCluster('target'),
    TestQueue.create(`bed-finds-${process.pid}`),
  ]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.plain (id int PRIMARY KEY, v text)`);
    await client.execute(`CREATE TABLE ${KEYSPACE}.counts (id int PRIMARY KEY, c counter)`);
  }
  relay = new FrameRelay(environment.target);
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: 18_830 },
    origin: environment.origin,
    target: { host: '127.0.0.1', port: await relay.listen() },
    login: { username, password },
    proxy: { initialPhase: 'dual-async', shadowTimeoutMs: 3_000 },
    failedWrites: { queueUrl: queue.url },
  });
  await proxy.start();
  app = new Client({
    contactPoints: [host],
    protocolOptions: { port: PORT },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    socketOptions: { readTimeout: 60_000 },
    policies: {
      timestampGeneration: null as never,
      reconnection: new policies.reconnection.ConstantReconnectionPolicy(250),
    },
  });
  await app.connect();
  await writeAll('before');
  await settled();
  await replay();
  expect(await differing()).toEqual([]);
});

afterEach(() => {
  relay.fateOf = () => ({});
});

afterAll(async () => {
  await app?.shutdown();
  await proxy?.stop();
  await relay?.close();
  proxy?.cleanUp();
  await queue?.remove();
  for (const client of [origin, target]) {
    await client?.execute(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
    await client?.shutdown();
  }
});

const losing = (): Fate => ({ lose: 'request' });

test('were failed writes replayed with the time of the replay, rows would differ', async () => {
  relay.fateOf = losing;
  await writeAll('first');
  await settled();
  relay.fateOf = () => ({});
  await writeAll('second');
  await settled();
  const bodies = await queue.takeAll();
  const now = `${Date.now()}000`;
  const changed = bodies.map((body) => body.replaceAll(/("timestampMicros":"?)\d+/g, `$1${now}`));
  expect(changed).not.toEqual(bodies);
  await queue.send(changed);
  await replay();
  expect(await differing()).toHaveLength(ROWS);
  // As they are they change nothing: what is newer stays.
  await target.execute(`TRUNCATE ${KEYSPACE}.plain`);
  await writeAll('third');
  await settled();
  await queue.send(bodies);
  await replay();
  expect(await differing()).toEqual([]);
});

test('were marks dropped, counters would differ and nobody would know', async () => {
  relay.fateOf = losing;
  const count = `UPDATE ${KEYSPACE}.counts SET c = c + 1 WHERE id = ?`;
  await Promise.all(ids.map((id) => app.execute(count, [id], { prepare: true })));
  await settled();
  const found = await differing();
  expect(found).toHaveLength(ROWS);
  expect(unnoted(found, await marks())).toEqual([]);
  expect(unnoted(found, [])).toHaveLength(ROWS);
});

test.each([true, false])(
  'a proxy that is killed while copies are under way loses none with its log (%s)',
  async (hasLog) => {
    relay.fateOf = () => ({ hold: true });
    await writeAll(`killed ${hasLog}`);
    await proxy.kill();
    if (!hasLog) rmSync(join(proxy.folder, 'journal', 'in-flight'), { recursive: true });
    relay.fateOf = () => ({});
    await proxy.start();
    await settled();
    await replay();
    const found = (await differing()).filter(({ table }) => table === 'plain');
    const silent = unnoted(found, await marks());
    if (hasLog) expect(silent).toEqual([]);
    else expect(silent.length).toBeGreaterThan(0);
  },
);
