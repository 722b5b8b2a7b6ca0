import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auth, Client, policies, type types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { venvPython } from '../../infra/local/paths.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'sisters_test';
const PORT = 19_055;
const ADDRESSES = ['127.0.55.1', '127.0.55.2', '127.0.55.3'] as const;
const environment = readTestEnvironment();
const { username, password } = environment;
const ledger = mkdtempSync(join(tmpdir(), 'ringshift-sisters-'));
const proxies = ADDRESSES.map((host, index) => {
  const proxy = {
    instance: `sister-${index}`,
    initialPhase: 'dual-async',
    topology: { sisters: ADDRESSES },
  };
  const { origin, target } = environment;
  const listen = { host, port: PORT };
  return new ProxyProcess({
    listen,
    admin: { host, port: PORT + 1 },
    origin,
    target,
    login: { username, password },
    ledger,
    proxy,
  });
});

/** Retries as the driver does by itself, and notes what would be the second retry of a request. */
class CountingRetries extends policies.retry.RetryPolicy {
  retried = 0;
  again = 0;
  override onRequestError(info: { nbRetry: number }, consistency: types.consistencies, error: Error) {
    if (info.nbRetry > 0) this.again++;
    else this.retried++;
    return super.onRequestError(info as never, consistency, error);
  }
}

const retries = new CountingRetries();
let client: Client;
let python: PythonClient;

/** A program for the Python driver that works on until its input ends; what it tells are lines of JSON. */
class PythonClient {
  readonly #child: ChildProcess;
  #output = '';
  #errors = '';

  constructor(program: string) {
    this.#child = spawn(venvPython, ['-u', '-c', program], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
  }

  /** The last line that it wrote. */
  get told(): Record<string, unknown> {
    const last = this.#output.split('\n').findLast((line) => line.startsWith('{'));
    if (last === undefined) throw new Error(`nothing yet: ${this.#errors.slice(-2000)}`);
    return JSON.parse(last) as Record<string, unknown>;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.stdin?.end();
    await new Promise((resolve) => this.#child.once('exit', resolve));
  }
}

const PROGRAM = `
import json, select, sys, time
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, RetryPolicy, TokenAwarePolicy

counts = {'done': 0, 'failed': 0, 'retried': 0, 'again': 0}
class Counting(RetryPolicy):
    def on_request_error(self, query, consistency, error, retry_num):
        counts['again' if retry_num > 0 else 'retried'] += 1
        return RetryPolicy.on_request_error(self, query, consistency, error, retry_num)

profile = ExecutionProfile(load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy('dc1')), retry_policy=Counting())
cluster = Cluster(['${ADDRESSES[0]}'], port=${PORT}, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    auth_provider=PlainTextAuthProvider('${username}', '${password}'), reconnection_policy=ConstantReconnectionPolicy(0.5, None))
session = cluster.connect('${KEYSPACE}')
insert = session.prepare('INSERT INTO items (id, v) VALUES (?, ?)')
insert.is_idempotent = True
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    futures = [session.execute_async(insert, (number + i, 'python')) for i in range(20)]
    number += 20
    for future in futures:
        try:
            future.result()
            counts['done'] += 1
        except Exception as error:
            counts['failed'] += 1
            counts['error'] = repr(error)
        host = str(future.coordinator_host)
        counts[host] = counts.get(host, 0) + 1
    hosts = cluster.metadata.all_hosts()
    ring = cluster.metadata.token_map
    counts['up'] = sorted(host.address for host in hosts if host.is_up)
    counts['owners'] = sorted({host.address for i in range(200) for host in cluster.metadata.get_replicas('${KEYSPACE}', i.to_bytes(4, 'big'))})
    counts['tokens'] = len(ring.ring)
    counts['agrees'] = cluster.control_connection.wait_for_schema_agreement()
    print(json.dumps(counts))
cluster.shutdown()
`;

const readsOf = async (index: number) => (await proxies[index]!.counters())['reads'] ?? 0;
const upHosts = () =>
  [...client.hosts.values()]
    .filter((host) => host.isUp())
    .map((host) => host.address)
    .sort();
const everywhere = ADDRESSES.map((address) => `${address}:${PORT}`);

async function work(requests: number): Promise<void> {
  for (let done = 0; done < requests; done += 20) {
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        client.execute(`SELECT v FROM ${KEYSPACE}.items WHERE id = ?`, [done + index], { prepare: true }),
      ),
    );
  }
}

beforeAll(async () => {
  const direct = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const one of direct) await recreateKeyspace(one, KEYSPACE);
  await Promise.all(direct.map((one) => one.shutdown()));
  // The third is listed and does not live yet.
  await Promise.all(proxies.slice(0, 2).map((proxy) => proxy.start()));
  client = new Client({
    contactPoints: [ADDRESSES[0]],
    protocolOptions: { port: PORT },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    pooling: { warmup: true },
    policies: { retry: retries, reconnection: new policies.reconnection.ConstantReconnectionPolicy(500) },
    queryOptions: { isIdempotent: true },
    socketOptions: { readTimeout: 30_000 },
  });
  await client.connect();
});

afterAll(async () => {
  await Promise.all([python?.end(), client?.shutdown()]);
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  for (const proxy of proxies) proxy.cleanUp();
  rmSync(ledger, { recursive: true, force: true });
});

test('a driver that reached one instance knows both, and its requests are spread over them', async () => {
  expect([...client.hosts.keys()].sort()).toEqual(everywhere);
  await client.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, v text)`);
  // Made through one instance, and at once there for the other.
  await client.execute(`INSERT INTO ${KEYSPACE}.items (id, v) VALUES (?, ?)`, [1, 'node'], { prepare: true });
  await eventually(() => expect(upHosts()).toEqual(everywhere.slice(0, 2)));
  const before = await Promise.all([readsOf(0), readsOf(1)]);
  await work(200);
  const after = await Promise.all([readsOf(0), readsOf(1)]);
  for (const [index, count] of after.entries()) expect(count - before[index]!).toBeGreaterThan(40);
});

test('an instance that comes is used by the drivers that were there before', async () => {
  await proxies[2]!.start();
  await eventually(async () => {
    await work(20);
    expect(upHosts()).toEqual(everywhere);
  });
  const before = await readsOf(2);
  await work(300);
  expect((await readsOf(2)) - before).toBeGreaterThan(50);
});

test('the Python driver owns its keys by the tokens of all instances, and writes through each', async () => {
  python = new PythonClient(PROGRAM);
  await eventually(() => expect(python.told['up']).toEqual([...ADDRESSES]));
  await eventually(() => expect(everywhere.every((host) => Number(python.told[host]) > 20)).toBe(true));
  expect(python.told).toMatchObject({ owners: [...ADDRESSES], tokens: 3 * 128, agrees: true, failed: 0 });
});

test('while one of three stops and comes back no request fails, nor is it tried more than twice', async () => {
  const nodes = work(2000);
  const done = Number(python.told['done']);
  expect(await proxies[1]!.stop()).toBe(0);
  await nodes;
  await eventually(() => expect(Number(python.told['done'])).toBeGreaterThan(done + 200));
  await proxies[1]!.start();
  await eventually(async () => {
    await work(40);
    expect(upHosts()).toEqual(everywhere);
    expect(python.told['up']).toEqual([...ADDRESSES]);
  });
  expect(python.told).toMatchObject({ failed: 0, again: 0 });
  expect(retries.again).toBe(0);
});
