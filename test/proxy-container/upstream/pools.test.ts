import { afterEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeHostEvent } from '#core/cql/schema-change.ts';
import { Counters } from '../../../proxy-container/src/counters/counters.ts';
import { Flusher } from '../../../proxy-container/src/transport/frame-writer.ts';
import { Cluster } from '../../../proxy-container/src/upstream/cluster.ts';
import { ControlConnection } from '../../../proxy-container/src/upstream/control-connection.ts';
import { encodePlainQuery } from '../../../proxy-container/src/upstream/handshake.ts';
import { NodeList } from '../../../proxy-container/src/upstream/node-list.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { MockCluster } from '../../support/mock-cluster.ts';

const READ = 'SELECT v FROM ks.t WHERE id = 1';
const FIRST = '127.0.0.1';
const SECOND = '127.0.0.2';

const ends: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function startTwoNodes(): Promise<{ world: TestProxy; second: MockCluster }> {
  const second = new MockCluster();
  const world = await startTestProxy({}, { secondOriginNode: second });
  ends.push(() => world.stop());
  return { world, second };
}

const readsOf = (node: MockCluster): number => node.texts(Opcode.QUERY).length;

test('reads go to all nodes in equal shares', async () => {
  const { world, second } = await startTwoNodes();
  const client = await world.connect();
  const read = () => client.request(Opcode.QUERY, 0, encodePlainQuery(READ, 4), 20_000);
  await eventually(async () => {
    await read();
    expect(readsOf(world.origin)).toBeGreaterThan(0);
    expect(readsOf(second)).toBeGreaterThan(0);
  });
  const before = [readsOf(world.origin), readsOf(second)];
  for (let round = 0; round < 100; round++) await read();
  expect([readsOf(world.origin) - before[0]!, readsOf(second) - before[1]!]).toEqual([50, 50]);
});

test('the share of a node that dies goes to the others, and comes back with it', async () => {
  const { world, second } = await startTwoNodes();
  const { port } = world.origin;
  const client = await world.connect();
  const read = () => client.request(Opcode.QUERY, 0, encodePlainQuery(READ, 4), 20_000);
  const reachesSecond = () =>
    eventually(async () => {
      const before = readsOf(second);
      await read();
      await read();
      expect(readsOf(second)).toBeGreaterThan(before);
    });
  await reachesSecond();
  await second.close();
  for (let round = 0; round < 20; round++) expect((await read())[4]).toBe(Opcode.RESULT);
  await second.listen(port, SECOND);
  await reachesSecond();
});

test('a login is used by the pool where it has no connection to that node, and closed where it has', async () => {
  const world = await startTestProxy();
  ends.push(() => world.stop());
  await world.connect();
  const connections = () => world.proxy.status().clusters.find(({ name }) => name === 'origin')?.connections;
  const before = connections();
  for (let round = 0; round < 5; round++) await world.connect();
  expect(connections()).toBe(before);
});

function newCluster(port: number): Cluster {
  const side = { contactPoints: [FIRST], port };
  const config = migrationConfigSchema.parse({ origin: side, target: side });
  const cluster = new Cluster(
    'origin',
    { ...config.origin, name: 'origin', credentials: null },
    new Flusher(),
    new Counters(),
  );
  ends.push(() => cluster.close());
  return cluster;
}

const identity = (keyspace: string | undefined, options: Record<string, string> = {}) => ({
  version: 4,
  startup: new Map(Object.entries(options)),
  credentials: undefined,
  keyspace,
});

test('nodes that were discovered get connections; those that left lose them when what is under way has ended', async () => {
  const [first, second] = [new MockCluster(), new MockCluster()];
  const port = await first.listen();
  await second.listen(port, SECOND);
  ends.push(
    () => first.close(),
    () => second.close(),
  );
  const cluster = newCluster(port);
  cluster.setDiscovered([FIRST, SECOND]);
  const pool = cluster.pool(identity(undefined));
  pool.addUser();
  await pool.acquire(20_000);
  const hosts = () => pool.connections.map(({ host }) => host).sort();
  await eventually(() => expect(hosts()).toEqual([FIRST, SECOND]));
  const leaving = pool.connections.find(({ host }) => host === SECOND)!;
  second.kept = [];
  const reply = leaving.request(Opcode.QUERY, 0, encodePlainQuery(READ, 4), 20_000);
  await eventually(() => expect(second.kept).toHaveLength(1));
  cluster.setDiscovered([FIRST]);
  expect(hosts()).toEqual([FIRST]);
  expect(leaving.isClosed).toBe(false);
  second.kept[0]!();
  expect((await reply)[4]).toBe(Opcode.RESULT);
  await eventually(() => expect(leaving.isClosed).toBe(true));
});

test('what a cluster tells of its nodes is taken up: they are read again', async () => {
  const world = await startTestProxy();
  ends.push(() => world.stop());
  const before = world.origin.peerReads;
  world.origin.event(encodeHostEvent('TOPOLOGY_CHANGE', 'NEW_NODE', { address: '10.0.0.9', port: 9042 }));
  await eventually(() => expect(world.origin.peerReads).toBeGreaterThan(before));
});

test('the number of pools is bounded, and those that nobody uses make room', () => {
  const cluster = newCluster(1);
  const pools = Array.from({ length: 1000 }, (_, index) => cluster.pool(identity(`ks${index}`)));
  for (const pool of pools) pool.addUser();
  expect(cluster.hasRoomFor(identity('one more'))).toBe(false);
  expect(cluster.hasRoomFor(identity('ks7'))).toBe(true);
  pools[3]!.removeUser();
  expect(cluster.hasRoomFor(identity('one more'))).toBe(true);
});

test('pools differ by keyspace and by every STARTUP option, in any order', () => {
  const cluster = newCluster(1);
  const one = cluster.pool(identity('ks', { CQL_VERSION: '3.0.0', DRIVER_NAME: 'a' }));
  expect(cluster.pool(identity('ks', { DRIVER_NAME: 'a', CQL_VERSION: '3.0.0' }))).toBe(one);
  const others: Record<string, string>[] = [{ THROW_ON_OVERLOAD: '1' }, { NO_COMPACT: 'true' }, { DRIVER_NAME: 'b' }];
  for (const options of others) {
    expect(cluster.pool(identity('ks', { CQL_VERSION: '3.0.0', DRIVER_NAME: 'a', ...options }))).not.toBe(one);
  }
  expect(cluster.pool(identity('Ks', { CQL_VERSION: '3.0.0', DRIVER_NAME: 'a' }))).not.toBe(one);
});

test('a list of nodes keeps its contact points and names those that are gone', () => {
  const nodes = new NodeList(['a']);
  expect(nodes.setDiscovered(['b', 'c'])).toEqual([]);
  expect(nodes.hosts).toEqual(['a', 'b', 'c']);
  expect(nodes.setDiscovered(['c'])).toEqual(['b']);
  expect(nodes.hosts).toEqual(['a', 'c']);
});

test('nodes take turns, the least connected first, those that failed last', () => {
  const nodes = new NodeList(['a', 'b', 'c']);
  expect([0, 1, 2].map(() => nodes.inOrder(0)[0])).toEqual(['a', 'b', 'c']);
  expect(nodes.inOrder(0, (host) => (host === 'b' ? 0 : 1))[0]).toBe('b');
  nodes.noteFailure('b', 0);
  expect(nodes.inOrder(100, () => 0).at(-1)).toBe('b');
  expect(nodes.uncovered(100, new Set(['a', 'c']))).toBeUndefined();
  expect(nodes.uncovered(10_000, new Set(['a', 'c']))).toBe('b');
});

test('a control connection that is stopped while it connects leaves no connection behind', async () => {
  const node = new MockCluster();
  ends.push(() => node.close());
  const opened: UpstreamConnection[] = [];
  const cluster = newCluster(await node.listen());
  const connect = cluster.connect.bind(cluster);
  cluster.connect = async (...given) => {
    const connection = await connect(...given);
    opened.push(connection);
    return connection;
  };
  const control = new ControlConnection(cluster, createLogger('test', 'silent'));
  const kept: (() => void)[] = [];
  node.kept = kept;
  control.start();
  await eventually(() => expect(kept).toHaveLength(1));
  const stopped = control.stop();
  node.kept = undefined;
  for (const answer of kept) answer();
  await stopped;
  expect(opened.map(({ isClosed }) => isClosed)).toEqual([true, true]);
  expect(control.state).toBe('stopped');
});
