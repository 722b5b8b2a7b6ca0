/** A ring of three nodes with two replicas that differ: each missed what was written while it stood still. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { auth, Client, policies, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { NodeSettings } from '../../infra/local/cassandra-config.ts';
import { startNode, stopNode } from '../../infra/local/cassandra-node.ts';
import { dataFiles } from '../../infra/local/cassandra-tools.ts';
import { administrator, connectAsAdministrator } from '../../infra/local/cluster-roles.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { ringNodes } from '../../infra/local/test-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { MigrationCommand } from './support/command.ts';
import { ourDump } from './support/dumps.ts';
import { executeAll } from './support/proof.ts';
import { Random } from './support/random.ts';
import { RandomMutations } from './support/random-mutations.ts';
import { type RandomSchema, randomSchema } from './support/random-schema.ts';
import { readTable, sameExpiries } from './support/rows.ts';
import { nodetool, takeSnapshot } from './support/shared-tools.ts';
import { SteadyLoad, type Work } from './support/steady-load.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KS = 'ring_proof';
const TAG = 'ring';
const SEED = Number(process.env['RINGSHIFT_TEST_SEED'] ?? 20_261_122);
/** Longer than a node waits for a write: what reaches it later is thrown away. */
const WRITE_TIMEOUT_MS = 2000;
const RING_WAIT = { timeout: 60_000, interval: 250 };

let schema: RandomSchema;
let origin: Client;
let target: Client;
let command: MigrationCommand;
let place: string;
let java: string;

/** A client of these nodes alone. */
function clientOf(nodes: readonly NodeSettings[]): Client {
  const { username, password } = administrator;
  const addresses = nodes.map(({ address, port }) => `${address}:${port}`);
  return new Client({
    contactPoints: addresses,
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    socketOptions: { readTimeout: 30_000 },
    queryOptions: { consistency: types.consistencies.one },
    policies: {
      loadBalancing: new policies.loadBalancing.AllowListPolicy(
        new policies.loadBalancing.DCAwareRoundRobinPolicy('dc1'),
        addresses,
      ),
    },
  });
}

/** Writes while a node stands still. */
async function writeWithout(asleep: NodeSettings, client: Client, statements: readonly string[]): Promise<void> {
  const pid = Number(readFileSync(join(asleep.folder, 'pid'), 'utf8'));
  process.kill(pid, 'SIGSTOP');
  try {
    await executeAll(client, statements);
    await delay(WRITE_TIMEOUT_MS + 500);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

/** Waits until every node sees every node: one that stood still is away for the others at first. */
async function wholeRing(): Promise<void> {
  await vi.waitFor(async () => {
    for (const node of ringNodes) {
      expect((await nodetool(node, 'status')).match(/^UN /gm)).toHaveLength(ringNodes.length);
    }
  }, RING_WAIT);
}

/** How many partitions are not the same on the two nodes that have them. */
async function differingPartitions(): Promise<number> {
  const versions = new Map<string, Set<string>>();
  for (const node of ringNodes) {
    const mine = new Map<string, string[]>();
    for (const { name } of schema.tables) {
      for (const file of dataFiles(node, KS, name.split('.')[1]!)) {
        for (const { partition, rows } of (await ourDump(file)) as { partition: { key: unknown }; rows: unknown }[]) {
          const key = JSON.stringify([name, partition.key]);
          mine.set(key, [...(mine.get(key) ?? []), JSON.stringify([partition, rows])].sort());
        }
      }
    }
    for (const [key, parts] of mine) versions.set(key, (versions.get(key) ?? new Set()).add(parts.join()));
  }
  return [...versions.values()].filter((each) => each.size > 1).length;
}

beforeAll(async () => {
  ({ java } = await prepare(() => undefined));
  await Promise.all(ringNodes.map((node) => stopNode(node)));
  const [seed, ...others] = ringNodes;
  await startNode(seed, { java, keepData: false });
  await Promise.all(others.map((node) => startNode(node, { java, keepData: false })));
  origin = await connectAsAdministrator(seed);
  target = await connectToTestCluster('target');
  await wholeRing();
  const random = new Random(SEED);
  schema = randomSchema(random, KS, false);
  await recreateKeyspace(target, KS);
  await origin.execute(`CREATE KEYSPACE ${KS} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2}`);
  for (const statement of schema.statements) {
    await origin.execute(statement);
    await target.execute(statement);
  }
  const baseMicros = BigInt(Date.now() - 3_600_000) * 1000n;
  // Many partitions, so that every pair of nodes has some.
  const mutations = schema.tables.map((table) => new RandomMutations(random, table, baseMicros, [0, 100_000]));
  for (const asleep of ringNodes) {
    const awake = clientOf(ringNodes.filter((node) => node !== asleep));
    await awake.connect();
    const statements = mutations.flatMap((each) => Array.from({ length: 60 }, () => each.next()));
    await writeWithout(asleep, awake, random.shuffle(statements));
    await awake.shutdown();
    await wholeRing();
    for (const node of ringNodes) await nodetool(node, 'flush', KS);
  }
  for (const node of ringNodes) await takeSnapshot(node, TAG, KS);
  const at = ({ address, port }: NodeSettings) => ({ host: address, port });
  command = new MigrationCommand(mkdtempSync(join(tmpdir(), 'ringshift-ring-')), at(seed), at(testEnvironment.target));
  place = join(command.folder, 'snapshots');
});

afterAll(async () => {
  await target?.execute(`DROP KEYSPACE IF EXISTS ${KS}`);
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
  await Promise.all(ringNodes.map((node) => stopNode(node, { hard: true })));
});

async function ship(node: NodeSettings): Promise<void> {
  const where = ['--tag', TAG, '--keyspace', KS, '--to', place, '--contact-point', node.address];
  const shipped = await command.run('snapshot', 'upload', join(node.folder, 'data'), ...where);
  expect(shipped.json['node'], shipped.stderr).toBe(node.address);
}

test('a set that lacks the snapshot of one node is refused, by the name of the node', async () => {
  const [first, second, third] = ringNodes;
  await ship(first);
  await ship(second);
  const refused = await command.startLoad(KS, place);
  expect(refused.code).not.toBe(0);
  const hostId = /^ID\s*:\s*(\S+)/m.exec(await nodetool(third, 'info'))?.[1];
  expect(refused.stderr).toContain(`lacks nodes of the ring: ${hostId}`);
});

test(`the replicas differ, and a load of all of them equals a read at ALL, seed ${SEED}`, async () => {
  await ship(ringNodes[2]);
  expect(await differingPartitions()).toBeGreaterThan(0);
  await command.load(KS, place);
  for (const table of schema.tables) {
    const expected = await readTable(origin, table, { consistency: types.consistencies.all });
    const actual = await readTable(target, table);
    expect(expected.rows.length).toBeGreaterThan(0);
    expect(actual.rows, table.create).toEqual(expected.rows);
    expect(sameExpiries(expected, actual), `the expiries of ${table.create}`).toBe(true);
  }
});

const DEATHS = 'ring_deaths';
const PROXY_PORT = 19_830;

function pidOf(node: NodeSettings): number {
  return Number(readFileSync(join(node.folder, 'pid'), 'utf8'));
}

/** The node that has answered most on one connection, which is one of the proxy's while it is under load. */
async function busiestNode(): Promise<NodeSettings> {
  const answered = await Promise.all(
    ringNodes.map(async (node) => {
      const client = clientOf([node]);
      const { rows } = await client.execute('SELECT request_count FROM system_views.clients');
      await client.shutdown();
      return { node, count: Math.max(...rows.map((row) => Number(row['request_count']))) };
    }),
  );
  return answered.reduce((most, one) => (one.count > most.count ? one : most)).node;
}

/** A client of the proxy that shows every error to the application. */
async function applicationOf(host: string): Promise<Client> {
  const client = new Client({
    contactPoints: [`${host}:${PROXY_PORT}`],
    localDataCenter: 'dc1',
    socketOptions: { readTimeout: 60_000 },
    queryOptions: { consistency: types.consistencies.localOne, isIdempotent: true },
    policies: { retry: new policies.retry.FallthroughRetryPolicy() },
  });
  await client.connect();
  return client;
}

test('a node that is killed costs at most the writes in flight on it, and is used again when it is back', async () => {
  await origin.execute(`CREATE KEYSPACE ${DEATHS} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}`);
  await origin.execute(`CREATE TABLE ${DEATHS}.items (id int PRIMARY KEY, v text)`);
  const insert = `INSERT INTO ${DEATHS}.items (id, v) VALUES (?, ?)`;
  const select = `SELECT v FROM ${DEATHS}.items WHERE id = ?`;
  const everywhere = { prepare: true, consistency: types.consistencies.all };
  for (let id = 0; id < 20; id++) await origin.execute(insert, [id, `row ${id}`], everywhere);
  const { proxyAddress, username, password } = readTestEnvironment();
  const proxy = new ProxyProcess({
    listen: { host: proxyAddress, port: PROXY_PORT },
    admin: { host: proxyAddress, port: PROXY_PORT + 1 },
    origin: { host: ringNodes[0].address, port: ringNodes[0].port },
    target: readTestEnvironment().target,
    login: { username, password },
  });
  await proxy.start();
  const applications = await Promise.all(Array.from({ length: 6 }, () => applicationOf(proxyAddress)));
  const read = (client: Client, prepare: boolean): Work => {
    let id = 0;
    return async () => {
      id = (id + 1) % 20;
      const { rows } = await client.execute(select, [id], { prepare, hints: ['int'] });
      expect(rows[0]?.['v']).toBe(`row ${id}`);
    };
  };
  const write = (client: Client, id: number): Work => {
    return async () => void (await client.execute(insert, [id, 'written'], { prepare: true }));
  };
  const reads = new SteadyLoad(applications.flatMap((one) => [read(one, true), read(one, false)]));
  const writes = new SteadyLoad(applications.map((one, index) => write(one, 100 + index)));
  const wholeRounds = async (): Promise<void> => {
    for (let round = 0; round < 3; round++) await Promise.all([reads.wholeRound(), writes.wholeRound()]);
  };
  try {
    await wholeRounds();
    const dead = await busiestNode();
    process.kill(pidOf(dead), 'SIGKILL');
    await wholeRounds();
    expect(reads.faults).toEqual([]);
    expect(writes.faults.length, writes.faults.join('; ')).toBeLessThanOrEqual(applications.length);
    await startNode(dead, { java, keepData: true });
    await wholeRing();
    // Nobody else is left.
    for (const node of ringNodes) if (node !== dead) process.kill(pidOf(node), 'SIGKILL');
    await eventually(async () => {
      const before = reads.faults.length + writes.faults.length;
      await wholeRounds();
      expect(reads.faults.length + writes.faults.length).toBe(before);
    });
  } finally {
    await Promise.all([reads.end(), writes.end()]);
    await Promise.all(applications.map((one) => one.shutdown()));
    await proxy.stop();
    proxy.cleanUp();
  }
}, 300_000);
