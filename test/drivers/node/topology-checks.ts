/** How the driver finds the cluster, and the tables by which it does. */
import { type Client, type Host, types } from 'cassandra-driver';
import { check, checkProxy, columnsOf, keyspace, place, same, withClient } from './checks.ts';

const QUERIES = [
  'SELECT * FROM system.local',
  "SELECT * FROM system.local WHERE key='local'",
  'SELECT tokens, rpc_address, key FROM system.local',
  'SELECT key AS k, host_id AS id FROM system.local',
  'SELECT count(*) FROM system.local',
  'SELECT DISTINCT key FROM system.local',
  'SELECT JSON key, rpc_address FROM system.local',
  'SELECT cast(rpc_port AS text), writetime(cluster_name) FROM system.local',
  'SELECT * FROM system.peers',
  'SELECT count(*) FROM system.peers',
  'SELECT * FROM system.peers_v2',
  'SELECT peer, native_port FROM system.peers_v2',
  'SELECT count(*) FROM system.peers_v2',
  'SELECT JSON * FROM system.peers_v2',
];

function onlyNode(client: Client): Host {
  const nodes = client.hosts.values();
  same(nodes.length, 1);
  return nodes[0]!;
}

interface Inner {
  readonly controlConnection: { readonly protocolVersion: number };
  readonly metadata: { checkSchemaAgreement(): Promise<boolean> };
}

/** What the driver's types leave out. */
function inner(client: Client): Inner {
  return client as unknown as Inner;
}

export async function topologyChecks(client: Client): Promise<void> {
  await check('negotiates the protocol version by itself', async () => inner(client).controlConnection.protocolVersion);

  await check('knows version, data center and rack of the node', async () => {
    const { cassandraVersion, datacenter, rack, hostId } = onlyNode(client);
    same([onlyNode(client).isUp(), hostId !== null], [true, true]);
    return [cassandraVersion, datacenter, rack];
  });

  await checkProxy('sees the proxy as its only node', async () => {
    same(onlyNode(client).address, `${place.host}:${place.port}`);
    return true;
  });

  await check('computes tokens and replicas', async () => {
    const key = Buffer.from([0, 0, 0, 7]);
    const replicas = client.getReplicas(keyspace, key);
    same(
      replicas?.map((one) => one.address),
      [onlyNode(client).address],
    );
    return String(client.metadata.newToken([key]));
  });

  await check('all nodes agree on the schema', () => inner(client).metadata.checkSchemaAgreement());

  await check('reads any projection of the topology tables', async () => {
    const shapes: Record<string, unknown> = {};
    for (const query of QUERIES) {
      const result = await client.execute(query);
      shapes[query] = [columnsOf(result), result.rows.length];
    }
    return shapes;
  });

  await check('prepares queries of the topology tables', async () => {
    const prepare = { prepare: true };
    const byKey = 'SELECT key, rpc_address FROM system.local WHERE key = ?';
    const found = await client.execute(byKey, ['local'], prepare);
    same(found.rows[0]?.['key'], 'local');
    same((await client.execute(byKey, ['elsewhere'], prepare)).rowLength, 0);
    const byPeer = 'SELECT * FROM system.peers_v2 WHERE peer = :p AND peer_port = :port';
    const peer = { p: types.InetAddress.fromString('127.1.2.3'), port: 1 };
    const peers = await client.execute(byPeer, peer, prepare);
    const count = await client.execute('SELECT count(*) FROM system.local', [], prepare);
    return [columnsOf(found), columnsOf(peers), peers.rowLength, String(count.rows[0]?.['count'])];
  });

  await check('finds the cluster again with another client', () => {
    return withClient({ keyspace: undefined }, async (other) => [other.hosts.length, other.keyspace ?? null]);
  });
}
