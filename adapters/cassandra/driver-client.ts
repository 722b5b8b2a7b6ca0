/** The control plane's client: cassandra-driver. Schema, agreement, clocks; never the data path. */
import { readFile } from 'node:fs/promises';
import cassandra from 'cassandra-driver';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { AuthenticationFailedError, ClusterUnreachableError, describeError } from '#core/errors.ts';

export type DriverClient = cassandra.Client;

/**
 * Connects. The caller shuts it down.
 * @throws ClusterUnreachableError, AuthenticationFailedError: one line with host, port and remedy
 */
export async function connectDriver(cluster: ResolvedCluster): Promise<DriverClient> {
  const client = new cassandra.Client({
    ...(cluster.secureConnectBundle
      ? { cloud: { secureConnectBundle: cluster.secureConnectBundle } }
      : {
          contactPoints: cluster.contactPoints.map((host) => `${host}:${cluster.port}`),
          localDataCenter: cluster.localDatacenter,
        }),
    ...(cluster.credentials
      ? {
          authProvider: new cassandra.auth.PlainTextAuthProvider(
            cluster.credentials.username,
            cluster.credentials.password,
          ),
        }
      : {}),
    ...(cluster.tls.enabled ? { sslOptions: await tlsOptions(cluster) } : {}),
    policies: { addressResolution: addressTranslator(cluster.addressMap) },
    socketOptions: { connectTimeout: cluster.connectTimeoutMs, readTimeout: cluster.requestTimeoutMs },
    queryOptions: { consistency: cassandra.types.consistencies.one, prepare: true, fetchSize: 1000 },
    pooling: { coreConnectionsPerHost: { 0: 1, 1: 1 } },
  });
  try {
    await client.connect();
    return client;
  } catch (cause) {
    await client.shutdown().catch(() => undefined);
    throw toConnectError(cluster, cause);
  }
}

/** Advertised address → reachable address. The driver insists on an instance of its own class, so one is changed. */
function addressTranslator(map: Readonly<Record<string, string>>) {
  return Object.assign(cassandra.policies.defaultAddressTranslator(), {
    translate(address: string, port: number, callback: (endPoint: string) => void) {
      callback(`${map[address] ?? address}:${port}`);
    },
  });
}

async function tlsOptions(cluster: ResolvedCluster) {
  const { caFile, certFile, keyFile, verifyHostname } = cluster.tls;
  const read = async (file: string | null) => (file === null ? undefined : [await readFile(file)]);
  return {
    ca: await read(caFile),
    cert: await read(certFile),
    key: await read(keyFile),
    rejectUnauthorized: true,
    ...(verifyHostname ? {} : { checkServerIdentity: () => undefined }),
  };
}

function toConnectError(cluster: ResolvedCluster, cause: unknown): Error {
  const where = `${cluster.name} (${cluster.contactPoints.map((host) => `${host}:${cluster.port}`).join(', ')})`;
  const inner = Object.values((cause as { innerErrors?: Record<string, unknown> }).innerErrors ?? {});
  const first = inner[0] ?? cause;
  const name = (first as Error).name;
  if (name === 'AuthenticationError' || /authenticat|password|username/i.test(describeError(first))) {
    return new AuthenticationFailedError(
      `${where} refused the login of ${cluster.credentials?.username ?? '(nobody: no auth configured)'}; check ${cluster.name}.auth`,
      { cause },
    );
  }
  if (name === 'ArgumentError' && /datacenter|localDataCenter/i.test(describeError(first))) {
    return new ClusterUnreachableError(`${where}: ${describeError(first)}; check ${cluster.name}.localDatacenter`, {
      cause,
    });
  }
  return new ClusterUnreachableError(
    `${where} can't be reached: ${describeError(first)}; check ${cluster.name}.contactPoints, the port and the network`,
    { cause },
  );
}
