import { auth, Client, type ClientOptions, types } from 'cassandra-driver';
import { readTestEnvironment } from './test-environment.ts';

/**
 * A connected driver client for one of the test clusters, independent of the product's own CQL code. End it with
 * `await client.shutdown()`.
 */
export async function connectToTestCluster(
  side: 'origin' | 'target',
  more: Partial<ClientOptions> = {},
): Promise<Client> {
  const environment = readTestEnvironment();
  const { host, port } = environment[side];
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(environment.username, environment.password),
    socketOptions: { readTimeout: 30_000 },
    queryOptions: { consistency: types.consistencies.localOne },
    ...more,
  });
  await client.connect();
  return client;
}

/** A connected driver client behind a proxy, patient enough for a busy machine. */
export async function connectToProxy(
  { host, port }: { readonly host: string; readonly port: number },
  keyspace: string,
  more: Partial<ClientOptions> = {},
): Promise<Client> {
  const { username, password } = readTestEnvironment();
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    socketOptions: { readTimeout: 60_000, connectTimeout: 30_000 },
    queryOptions: { consistency: types.consistencies.localOne },
    keyspace,
    ...more,
  });
  await client.connect();
  return client;
}

/** Makes an empty keyspace of this name (one replica), dropping what an earlier test left. */
export async function recreateKeyspace(client: Client, keyspace: string): Promise<void> {
  await client.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`);
  await client.execute(`CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}`);
}
