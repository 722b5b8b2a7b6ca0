import type { MigrationConfig, ResolvedCluster } from '#core/config/schema.ts';
import { ConfigError } from '#core/errors.ts';
import { Consistency, type ConsistencyName } from '#core/model/cql-request.ts';

/** @throws ConfigError: a bundle says where a cluster is, and the proxy would connect somewhere else */
export function refuseSecureConnectBundles(clusters: readonly ResolvedCluster[]): void {
  const issues = clusters
    .filter((cluster) => cluster.secureConnectBundle !== null)
    .map(({ name }) => ({
      path: `${name}.secureConnectBundle`,
      message: 'the proxy does not connect through a bundle; set contactPoints, port and tls instead',
    }));
  if (issues.length > 0) throw new ConfigError('the configuration of the proxy', issues);
}

/** The levels of `proxy.targetConsistency` by their numbers in the protocol. */
export function consistencyMap(byName: MigrationConfig['proxy']['targetConsistency']): Map<Consistency, Consistency> {
  return new Map(
    Object.entries(byName).map(([from, to]) => [
      Consistency[from as ConsistencyName],
      Consistency[to as ConsistencyName],
    ]),
  );
}
