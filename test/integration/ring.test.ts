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
import { CassandraTools } from './support/cassandra-tools.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { MigrationCommand } from './support/command.ts';
import { ourDump } from './support/dumps.ts';
import { executeAll } from './support/proof.ts';
import { Random } from './support/random.ts';
import { RandomMutations } from './support/random-mutations.ts';
import { type RandomSchema, randomSchema } from './support/random-schema.ts';
import { readTable, sameExpiries } from './support/rows.ts';

const KS = 'ring_proof';
const TAG = 'ring';
const SEED = Number(process.env['RINGSHIFT_TEST_SEED'] ?? 20_261_122);
/** Longer than a node waits for a write: what reaches it later is thrown away. */
const WRITE_TIMEOUT_MS = 2000;
const RING_WAIT = { timeout: 60_000, interval: 250 };

let schema: RandomSchema;
let origin: Client;
let target: Client;
let tools: CassandraTools;
let command: MigrationCommand;
let place: string;

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
      expect((await tools.nodetoolOf(node, 'status')).match(/^UN /gm)).toHaveLength(ringNodes.length);
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
  const { java } = await prepare(() => undefined);
  await Promise.all(ringNodes.map((node) => stopNode(node)));
  const [seed, ...others] = ringNodes;
  await startNode(seed, { java, keepData: false });
  await Promise.all(others.map((node) => startNode(node, { java, keepData: false })));
  origin = await connectAsAdministrator(seed);
  target = await connectToTestCluster('target');
  tools = await CassandraTools.start(java, seed);
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
    for (const node of ringNodes) await tools.nodetoolOf(node, 'flush', KS);
  }
  for (const node of ringNodes) await tools.nodetoolOf(node, 'snapshot', '-t', TAG, KS);
  const at = ({ address, port }: NodeSettings) => ({ host: address, port });
  command = new MigrationCommand(mkdtempSync(join(tmpdir(), 'ringshift-ring-')), at(seed), at(testEnvironment.target));
  place = join(command.folder, 'snapshots');
});

afterAll(async () => {
  tools?.stop();
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
  const hostId = /^ID\s*:\s*(\S+)/m.exec(await tools.nodetoolOf(third, 'info'))?.[1];
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
