/** A whole proxy, and the commands, on a ledger that is a keyspace of one of the two clusters. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { CommandResult } from '../../infra/local/processes.ts';
import { jsonOf, runRingshift } from '../cli/run-ringshift.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess, type ProxyProcessOptions } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'cassandra_ledger_test';
const LEDGER = 'ringshift_whole_ledger_test';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const listen = { host, port: 19_690 };
const admin = { host, port: 19_691 };
/** Of the target, and so of the ledger. */
const relayed = { host, port: 19_692 };
const ledger = {
  kind: 'cassandra',
  cluster: 'target',
  keyspace: LEDGER,
  replication: "{'class': 'NetworkTopologyStrategy', 'dc1': 1}",
};
/** A heartbeat a second: what is lost is noticed soon. */
const lease = { pollMs: 200, heartbeatSecs: 1 };

const folder = mkdtempSync(join(tmpdir(), 'ringshift-cassandra-ledger-'));
const proxies: ProxyProcess[] = [];

let origin: Client;
let target: Client;
let relay: TcpRelay;
let proxy: ProxyProcess;

function newProxy(options: Partial<ProxyProcessOptions> = {}): ProxyProcess {
  const made = new ProxyProcess({
    ...{ listen, admin, ledger, origin: environment.origin, target: relayed, login: { username, password } },
    gates: { keyspaces: [KEYSPACE] },
    failedWrites: { kind: 'directory', path: join(folder, 'queue') },
    ...options,
    proxy: { lease, instance: 'one', ...options.proxy },
  });
  proxies.push(made);
  return made;
}

const run = (...verb: readonly string[]): Promise<CommandResult> =>
  runRingshift([...verb, '--json', '--config', proxy.configFile]);

async function succeed<T>(...verb: readonly string[]): Promise<T> {
  const result = await run(...verb);
  expect(result.code, `${result.stdout}${result.stderr}`).toBe(0);
  return jsonOf<T>(result);
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, v int)`);
  }
  await target.execute(`DROP KEYSPACE IF EXISTS ${LEDGER}`);
  relay = new TcpRelay(relayed.host, relayed.port, environment.target);
  await relay.restore();
  proxy = newProxy();
});

afterAll(async () => {
  for (const one of proxies) {
    await one.kill();
    one.cleanUp();
  }
  await relay?.cut();
  await target?.execute(`DROP KEYSPACE IF EXISTS ${LEDGER}`);
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
  rmSync(folder, { recursive: true, force: true });
});

const valuesOf = async (client: Client): Promise<Map<number, number>> => {
  const { rows } = await client.execute(`SELECT id, v FROM ${KEYSPACE}.items`);
  return new Map(rows.map((row) => [Number(row['id']), Number(row['v'])]));
};

interface ProxyRow {
  readonly instance: string;
  readonly leaseUntil: string;
  readonly actingEpoch?: number;
}
interface PhaseNow {
  readonly phase: { readonly active: { readonly phase: string; readonly epoch: number } };
  readonly proxies: readonly ProxyRow[];
}

test('a start without the tables of the ledger ends, and says what makes them', async () => {
  const { code, stderr } = await runRingshift(['proxy', '--config', proxy.configFile], {
    RINGSHIFT_LOG_LEVEL: 'error',
  });
  expect(stderr).toContain('ringshift state init');
  expect(code).toBe(1);
}, 300_000);

test('made by state init, it takes proxies, their heartbeats and a change of phase, and a killed one goes on in it', async () => {
  await succeed('state', 'init');
  await proxy.start();
  const client = await connectToProxy(listen, KEYSPACE);
  await client.execute('INSERT INTO items (id, v) VALUES (1, 1)');
  await succeed('phase', 'set', 'dual-async', '--why', 'test');
  await client.execute('INSERT INTO items (id, v) VALUES (2, 1)');
  await eventually(async () => expect((await valuesOf(target)).get(2)).toBe(1));
  const before = await succeed<PhaseNow>('phase', 'get');
  expect(before.phase.active).toMatchObject({ phase: 'dual-async' });
  const { epoch } = before.phase.active;
  expect(before.proxies).toMatchObject([{ instance: 'one', actingEpoch: epoch }]);
  await proxy.kill();
  await client.shutdown();
  await proxy.start();
  const other = await connectToProxy(listen, KEYSPACE);
  await other.execute('INSERT INTO items (id, v) VALUES (3, 1)');
  await eventually(async () => expect((await valuesOf(target)).get(3)).toBe(1));
  const after = await succeed<PhaseNow>('phase', 'get');
  expect(after.phase.active).toEqual(before.phase.active);
  expect(after.proxies).toMatchObject([{ instance: 'one', actingEpoch: epoch }]);
  expect(Date.parse(after.proxies[0]!.leaseUntil)).toBeGreaterThan(Date.parse(before.proxies[0]!.leaseUntil));
  await other.shutdown();
}, 300_000);

test('while its node is away the data path goes on, and heartbeats when it is back', async () => {
  const client = await connectToProxy(listen, KEYSPACE);
  await relay.cut();
  await eventually(async () => {
    const { ledger: seen } = await proxy.get<{ ledger: { awayMs: number; error: string | null } }>('/status');
    expect(seen).toMatchObject({ awayMs: expect.any(Number), error: expect.stringContaining('record') });
    // Longer than a lease.
    expect(seen.awayMs).toBeGreaterThan(3 * lease.heartbeatSecs * 1000);
  });
  await client.execute('INSERT INTO items (id, v) VALUES (4, 1)');
  expect((await valuesOf(origin)).get(4)).toBe(1);
  const { code, stdout } = await run('state', 'probe');
  expect(code).not.toBe(0);
  expect(stdout).toMatch(/can't be reached|not reachable/);
  await relay.restore();
  await eventually(async () => {
    const { ledger: seen } = await proxy.get<{ ledger: { error: string | null } }>('/status');
    expect(seen.error).toBe(null);
  });
  await client.shutdown();
}, 300_000);

test('its records move into a directory', async () => {
  const file = join(folder, 'export.jsonl');
  await succeed('state', 'export', file);
  const { keys } = await succeed<{ keys: string[] }>('state', 'list');
  expect(keys).toContain('phase.json');
  expect(keys).toContain('proxies/one.json');
  const config = join(folder, 'directory.yaml');
  const cluster = { contactPoints: [host] };
  writeFileSync(
    config,
    stringify({ origin: cluster, target: cluster, ledger: { kind: 'file', path: join(folder, 'ledger') } }),
  );
  const inDirectory = (...verb: readonly string[]) => runRingshift([...verb, '--json', '--config', config]);
  expect(await inDirectory('state', 'import', file, '--while-running')).toMatchObject({ code: 0 });
  const moved = jsonOf<{ keys: string[] }>(await inDirectory('state', 'list'));
  expect(moved.keys.sort()).toEqual(keys.sort());
}, 300_000);

test('told to end, it leaves the ledger, also one that does not answer', async () => {
  expect(await proxy.stop()).toBe(0);
  expect((await succeed<{ keys: string[] }>('state', 'list', 'proxies/')).keys).toEqual([]);
  await proxy.start();
  relay.mute();
  expect(await proxy.stop()).toBe(0);
  relay.unmute();
}, 300_000);

test('with onLedgerLoss: stop clients are refused from the end of the lease on, until it is back', async () => {
  const stopping = newProxy({ proxy: { instance: 'two', onLedgerLoss: 'stop' } });
  await stopping.start();
  const client = await connectToProxy(listen, KEYSPACE);
  await client.execute('INSERT INTO items (id, v) VALUES (5, 1)');
  await relay.cut();
  await eventually(() => expect(client.execute('INSERT INTO items (id, v) VALUES (6, 1)')).rejects.toThrow(/ledger/));
  await relay.restore();
  await eventually(() => client.execute('INSERT INTO items (id, v) VALUES (7, 1)'));
  await client.shutdown();
  expect(await stopping.stop()).toBe(0);
}, 300_000);

test.each([
  ['the origin refuses its login', { originConfig: { auth: { username, password: 'wrong' } } }, /origin/],
  ['the origin is not there', { origin: { host, port: 19_699 } }, /origin/],
  ['the cluster of the ledger is not there', { target: { host, port: 19_699 } }, /target/],
])(
  'a start that fails ends though the ledger holds connections: %s',
  async (_, options, reason) => {
    const failing = newProxy({ ...options, proxy: { instance: 'failing' } });
    const { code, stderr, stdout } = await runRingshift(['proxy', '--config', failing.configFile], {
      RINGSHIFT_LOG_LEVEL: 'error',
    });
    expect(stderr).toMatch(reason);
    expect(stderr).not.toContain('wrong');
    expect(code, stdout).toBe(1);
  },
  300_000,
);
