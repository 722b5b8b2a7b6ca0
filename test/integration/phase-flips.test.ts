/** Three proxies on two real clusters: what drivers see while the phase changes, a proxy restarts, the origin goes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Client, policies, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { PythonLoad } from './support/python-load.ts';
import { readYourWrites, SteadyLoad, scan } from './support/steady-load.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'phase_flips';
const PORT = 19_800;
const HOSTS = ['127.0.58.11', '127.0.58.12', '127.0.58.13'] as const;
const SCANNED_ROWS = 60;
const environment = readTestEnvironment();
const { username, password } = environment;
const relay = new TcpRelay('127.0.58.10', PORT, environment.origin);
const ledger = mkdtempSync(join(tmpdir(), 'ringshift-ledger-'));

let origin: Client;
let target: Client;
const proxies = HOSTS.map(
  (host, index) =>
    new ProxyProcess({
      listen: { host, port: PORT },
      admin: { host, port: PORT + 1 },
      origin: { host: '127.0.58.10', port: PORT },
      target: environment.target,
      login: { username, password },
      ledger,
      gates: { keyspaces: [KEYSPACE], quietMinutes: 0 },
      proxy: {
        instance: `proxy-${index + 1}`,
        lease: { pollMs: 200 },
        topology: { sisters: HOSTS.map((sister) => `${sister}:${PORT}`) },
        reads: { samplePercent: 100 },
      },
    }),
);
const [first, second, third] = proxies as [ProxyProcess, ProxyProcess, ProxyProcess];
const clients: Client[] = [];

/** The Node driver; with `retry` its own policy is asked, else every error is one of the application. */
async function connect(hosts: readonly string[], retry?: policies.retry.RetryPolicy): Promise<Client> {
  const client = await connectToProxy({ host: hosts[0]!, port: PORT }, KEYSPACE, {
    contactPoints: [...hosts],
    queryOptions: { consistency: types.consistencies.localOne, isIdempotent: true },
    policies: {
      retry: retry ?? new policies.retry.FallthroughRetryPolicy(),
      loadBalancing: new policies.loadBalancing.AllowListPolicy(
        new policies.loadBalancing.RoundRobinPolicy(),
        hosts.map((host) => `${host}:${PORT}`),
      ),
    },
  });
  clients.push(client);
  return client;
}

/** Any step, also the one back from target-only, which means that the origin lacks what was written since. */
async function setPhase(phase: string): Promise<void> {
  await first.setPhase(phase);
}

async function sumOf(counter: string, of: readonly ProxyProcess[]): Promise<number> {
  const counters = await Promise.all(of.map((proxy) => proxy.counters()));
  return counters.reduce((sum, one) => sum + (one[counter] ?? Number.NaN), 0);
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, version int)`);
    await client.execute(`CREATE TABLE ${KEYSPACE}.scanned (id int PRIMARY KEY, v text)`);
    for (let id = 0; id < SCANNED_ROWS; id++) {
      const insert = `INSERT INTO ${KEYSPACE}.scanned (id, v) VALUES (?, ?) USING TIMESTAMP 1`;
      await client.execute(insert, [id, `row ${id}`], { prepare: true });
    }
  }
  await relay.restore();
  await first.start();
  await second.start();
});

afterAll(async () => {
  await Promise.all(clients.map((client) => client.shutdown()));
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await relay.cut();
  for (const proxy of proxies) proxy.cleanUp();
  rmSync(ledger, { recursive: true, force: true });
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

test('through all phases and back no client of two drivers sees an error, a stale row or an unknown statement', async () => {
  const [a, b, both] = await Promise.all([connect([HOSTS[0]]), connect([HOSTS[1]]), connect(HOSTS.slice(0, 2))]);
  const hosts = [HOSTS[0], HOSTS[1]] as const;
  const python = await PythonLoad.start({ hosts, port: PORT, username, password, keyspace: KEYSPACE, row: 4 });
  const load = new SteadyLoad([
    readYourWrites(a, b, 'items', 1),
    readYourWrites(b, a, 'items', 2),
    readYourWrites(both, both, 'items', 3),
    scan(a, 'scanned', SCANNED_ROWS, true),
    scan(both, 'scanned', SCANNED_ROWS, false),
    python.round(SCANNED_ROWS),
  ]);
  try {
    await load.wholeRound();
    for (const phase of ['dual-async', 'dual-sync', 'target-primary', 'target-only']) {
      await setPhase(phase);
      await load.wholeRound();
    }
    await withoutOrigin(a);
    await load.wholeRound();
    await setPhase('target-primary');
    await originIsBack(load);
    await asValidated('items', 'scanned');
    for (const phase of ['dual-sync', 'dual-async', 'origin-only']) {
      await setPhase(phase);
      await load.wholeRound();
    }
  } finally {
    await load.end();
    await python.end();
  }
  expect(load.faults).toEqual([]);
  expect(load.count).toBeGreaterThan(100);
  expect(await sumOf('preparedMisses', [first, second])).toBe(0);
  for (const proxy of [first, second]) {
    const { reads } = await proxy.get<{ reads: { equal: number; different: number } }>('/status');
    expect(reads.equal).toBeGreaterThan(0);
    expect(reads.different).toBe(0);
  }
});

/** In target-only: everything that a driver does works with no origin, also on a proxy that starts then. */
async function withoutOrigin(connected: Client): Promise<void> {
  await relay.cut();
  await third.start();
  const fresh = await connect([HOSTS[1]]);
  const late = await connect([HOSTS[2]]);
  for (const [index, client] of [connected, fresh, late].entries()) {
    const table = `made_${index}`;
    await client.execute(`CREATE TABLE ${table} (id int PRIMARY KEY, v text)`);
    await client.execute(`INSERT INTO ${table} (id, v) VALUES (?, ?)`, [1, 'x'], { prepare: true });
    const { rows } = await client.execute(`SELECT v FROM ${table} WHERE id = ?`, [1], { prepare: true });
    expect(rows[0]?.['v']).toBe('x');
    const nodes = await client.execute('SELECT host_id FROM system.peers');
    expect(nodes.rows).toHaveLength(2);
    const known = await client.execute(
      'SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?',
      [KEYSPACE],
      {
        prepare: true,
      },
    );
    expect(known.rows.map((row) => row['table_name'])).toContain(table);
    expect((await client.metadata.getTable(KEYSPACE, table))?.name).toBe(table);
  }
  for (const proxy of proxies) expect(await proxy.get('/health/ready')).toBeDefined();
}

/** Copies arrive on the origin again, so that it may answer: the rows of the load are all written anew. */
async function originIsBack(load: SteadyLoad): Promise<void> {
  await relay.restore();
  await eventually(async () => {
    const before = await sumOf('shadowFailed', proxies);
    const succeeded = await Promise.all(
      [first, second].map(async (proxy) => (await proxy.counters())['shadowSucceeded']),
    );
    await load.wholeRound();
    await load.wholeRound();
    const after = await Promise.all([first, second].map(async (proxy) => (await proxy.counters())['shadowSucceeded']));
    expect(await sumOf('shadowFailed', proxies)).toBe(before);
    for (const [index, count] of after.entries()) expect(count).toBeGreaterThan(succeeded[index]!);
  });
}

/** As a validation would leave them: nobody goes back to an origin that was left out before that. */
async function asValidated(...tables: string[]): Promise<void> {
  const { store } = createLedger(createFileLedgerStore(ledger));
  const at = new Date().toISOString();
  for (const table of tables) {
    const record = { version: 1, keyspace: KEYSPACE, table, state: 'validated', since: at, runId: null, reasons: [] };
    await store.put(`tables/${KEYSPACE}.${table}.json`, JSON.stringify({ ...record, validatedAt: at }));
  }
}

test('what differs between the clusters is found by reads in dual-sync, and told without data', async () => {
  await setPhase('dual-async');
  await setPhase('dual-sync');
  await target.execute(`UPDATE ${KEYSPACE}.scanned USING TIMESTAMP 2 SET v = 'altered' WHERE id = 7`);
  const client = await connect([HOSTS[0]]);
  for (const prepare of [true, false]) {
    const { rows } = await client.execute('SELECT v, id FROM scanned WHERE id = ?', [7], { prepare, hints: ['int'] });
    expect(rows[0]?.['v']).toBe('row 7');
  }
  await eventually(async () => {
    const { reads } = await first.get<{ reads: { different: number; differences: object[] } }>('/status');
    expect(reads.different).toBe(2);
    expect(reads.differences[0]).toMatchObject({ keyspace: KEYSPACE, table: 'scanned', primaryRows: 1, shadowRows: 1 });
    expect(JSON.stringify(reads)).not.toMatch(/altered|row 7/);
  });
  await target.execute(`UPDATE ${KEYSPACE}.scanned USING TIMESTAMP 3 SET v = 'row 7' WHERE id = 7`);
  await setPhase('dual-async');
  await setPhase('origin-only');
});

const { RetryPolicy } = policies.retry;
type Of<Method extends keyof policies.retry.RetryPolicy> = Parameters<policies.retry.RetryPolicy[Method]>;
/** Of the driver's `retryDecision`, which its types lack. */
const RETRY = 1;

/** The driver's own policy, which notes how often one request was tried again. */
class CountingPolicy extends RetryPolicy {
  most = 0;

  #note(info: policies.retry.OperationInfo, decided: policies.retry.DecisionInfo): policies.retry.DecisionInfo {
    if (decided.decision === RETRY) this.most = Math.max(this.most, info.nbRetry + 1);
    return decided;
  }

  override onUnavailable(...given: Of<'onUnavailable'>): policies.retry.DecisionInfo {
    return this.#note(given[0], super.onUnavailable(...given));
  }

  override onReadTimeout(...given: Of<'onReadTimeout'>): policies.retry.DecisionInfo {
    return this.#note(given[0], super.onReadTimeout(...given));
  }

  override onWriteTimeout(...given: Of<'onWriteTimeout'>): policies.retry.DecisionInfo {
    return this.#note(given[0], super.onWriteTimeout(...given));
  }

  override onRequestError(...given: Of<'onRequestError'>): policies.retry.DecisionInfo {
    return this.#note(given[0], super.onRequestError(...given));
  }
}

test.each([
  ['restarted', (proxy: ProxyProcess) => proxy.stop()],
  ['killed and started again', (proxy: ProxyProcess) => proxy.kill()],
] as const)('while one of three proxies is %s no driver retries a request more than once', async (_, end) => {
  const retries = Array.from({ length: 3 }, () => new CountingPolicy());
  const drivers = await Promise.all(retries.map((policy) => connect(HOSTS, policy)));
  const load = new SteadyLoad(
    drivers.flatMap((driver, index) =>
      [0, 1, 2, 3].map((n) => readYourWrites(driver, drivers[(index + 1) % 3]!, 'items', 10 + 4 * index + n)),
    ),
  );
  try {
    await load.wholeRound();
    const { startedAt } = await third.get<{ startedAt: string }>('/status');
    await end(third);
    await load.wholeRound();
    await third.start();
    expect((await third.get<{ startedAt: string }>('/status')).startedAt).not.toBe(startedAt);
    await eventually(async () => {
      const before = (await third.counters())['reads']!;
      await load.wholeRound();
      expect((await third.counters())['reads']).toBeGreaterThan(before);
    });
  } finally {
    await load.end();
  }
  expect(load.faults).toEqual([]);
  for (const policy of retries) expect(policy.most).toBeLessThanOrEqual(1);
});
