import { setTimeout as sleep } from 'node:timers/promises';
import { auth, Client, types } from 'cassandra-driver';
import { ClusterUnreachableError, describeError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { NodeSettings } from './cassandra-config.ts';

/** A log-in of a local cluster. These passwords are public: the nodes listen on loopback addresses only. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

/** Cassandra's built-in administrator; the launcher alone uses it. */
export const administrator: Login = { username: 'cassandra', password: 'cassandra' };
/** The application's role. */
export const appLogin: Login = { username: 'app', password: 'app-local-password' };
/** The role of this product's tools. */
export const ringshiftLogin: Login = { username: 'ringshift', password: 'ringshift-local-password' };

/** A driver client for one local node. Straight to the node: not through the proxy. */
export function connectTo(settings: Pick<NodeSettings, 'address' | 'port'>, login: Login): Client {
  return new Client({
    contactPoints: [settings.address],
    protocolOptions: { port: settings.port },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(login.username, login.password),
    socketOptions: { connectTimeout: 5000, readTimeout: 30_000 },
    queryOptions: { consistency: types.consistencies.localOne },
  });
}

/** Connects as the administrator; a new node makes that role some moments after it first answers. */
export async function connectAsAdministrator(settings: NodeSettings): Promise<Client> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const client = connectTo(settings, administrator);
    try {
      await client.connect();
      return client;
    } catch (error) {
      await client.shutdown().catch(() => {});
      if (Date.now() > deadline) {
        throw new ClusterUnreachableError(`cannot log in to ${settings.name}: ${describeError(error)}`);
      }
      await sleep(250);
    }
  }
}

/**
 * The statements that make both roles. `ringshift` may read and write data on both sides; only on the target may it
 * also create, alter and drop, which `schema copy` and the rebuilding of indexes need. `app` gets nothing here: see
 * {@link appGrants}.
 */
export function roleStatements(side: ClusterName): string[] {
  const create = ({ username, password }: Login): string =>
    `CREATE ROLE IF NOT EXISTS ${username} WITH PASSWORD = '${password}' AND LOGIN = true`;
  const permissions = side === 'target' ? ['SELECT', 'MODIFY', 'CREATE', 'ALTER', 'DROP'] : ['SELECT', 'MODIFY'];
  return [
    create(appLogin),
    create(ringshiftLogin),
    ...permissions.map((permission) => `GRANT ${permission} ON ALL KEYSPACES TO ${ringshiftLogin.username}`),
    // Which indexes a node has built; all keyspaces do not include it.
    ...(side === 'target' ? [`GRANT SELECT ON system."IndexInfo" TO ${ringshiftLogin.username}`] : []),
  ];
}

/** What the application may do: read and write its own keyspaces, which must exist. */
export function appGrants(keyspaces: readonly string[]): string[] {
  return keyspaces.flatMap((keyspace) =>
    ['SELECT', 'MODIFY'].map((permission) => `GRANT ${permission} ON KEYSPACE ${keyspace} TO ${appLogin.username}`),
  );
}

/** Runs statements as the administrator, one after another. */
export async function runAsAdministrator(settings: NodeSettings, statements: readonly string[]): Promise<void> {
  const client = await connectAsAdministrator(settings);
  try {
    for (const statement of statements) await client.execute(statement);
  } finally {
    await client.shutdown();
  }
}
