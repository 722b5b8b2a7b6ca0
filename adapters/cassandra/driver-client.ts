/** The control plane's client: cassandra-driver. Schema, agreement, clocks; never the data path. */
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import cassandra from 'cassandra-driver';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { AuthenticationFailedError, ClusterUnreachableError, describeError } from '#core/errors.ts';
import { openCertificates } from '../certificates.ts';
import { withRemedy } from '../cql/connect-remedy.ts';
import { reasonOf } from '../cql/connection-errors.ts';

export type DriverClient = cassandra.Client;

/**
 * Connects. The caller shuts it down.
 * @throws ClusterUnreachableError, AuthenticationFailedError, PrerequisiteError: one line with host, port and remedy
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
    ...(cluster.tls.enabled ? { sslOptions: tlsOptions(cluster) } : {}),
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

/**
 * The driver asks nodes by their addresses, contact points that are names too: a certificate may name one of those instead.
 */
function tlsOptions({ name, tls, contactPoints }: ResolvedCluster) {
  const verify = (address: string, certificate: PeerCertificate): Error | undefined => {
    const fault = checkServerIdentity(address, certificate);
    const isNamed = contactPoints.some((host) => checkServerIdentity(host, certificate) === undefined);
    return isNamed ? undefined : fault;
  };
  return {
    ...openCertificates(tls, `${name}.tls`).value.material,
    rejectUnauthorized: true,
    checkServerIdentity: tls.verifyHostname ? verify : () => undefined,
  };
}

function toConnectError(cluster: ResolvedCluster, cause: unknown): Error {
  // By `host:port`.
  const inner = Object.entries((cause as { innerErrors?: Record<string, unknown> }).innerErrors ?? {});
  const [node, first] = inner[0] ?? [undefined, cause];
  const name = (first as Error).name;
  if (name === 'AuthenticationError' || /authenticat|password|username/i.test(describeError(first))) {
    const user = cluster.credentials?.username ?? '(nobody: no auth configured)';
    return withRemedy(cluster, new AuthenticationFailedError(`login of ${user}`, { cause }));
  }
  if (name === 'ArgumentError' && /datacenter|localDataCenter/i.test(describeError(first))) {
    return new ClusterUnreachableError(
      `the ${cluster.name}: ${describeError(first)}; check ${cluster.name}.localDatacenter`,
      { cause },
    );
  }
  const reason = reasonOf(first) ?? describeError(first);
  const where = node === undefined ? `the ${cluster.name}` : `the ${cluster.name} at ${node}`;
  return withRemedy(cluster, new ClusterUnreachableError(`${where} can't be reached: ${reason}`, { cause }));
}
