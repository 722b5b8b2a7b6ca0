import { MAX_PROTOCOL_VERSION } from '#core/cql/protocol.ts';
import { decodeInet, decodeText } from '#core/cql/value-codec.ts';
import type { ShownCluster } from '#core/ledger/records.ts';

/** The version that all servers of today speak. */
export const PROBE_VERSION = 4;
const SHOWN_COLUMNS = ['cluster_name', 'data_center', 'rack', 'release_version', 'cql_version', 'partitioner'];

/** What a cluster says of itself. */
export interface ClusterFacts {
  readonly maxVersion: number;
  readonly supported: ReadonlyMap<string, readonly string[]>;
  readonly shown: ShownCluster;
  readonly datacenters: ReadonlySet<string>;
}

export type Rows = readonly (readonly (Buffer | null)[])[];

/** What the node that is asked says of itself and of its peers. */
export async function readFacts(
  query: (text: string) => Promise<Rows>,
  localDatacenter: string,
): Promise<Pick<ClusterFacts, 'shown' | 'datacenters'> & { readonly nearAddresses: readonly string[] }> {
  const [local, peers] = await Promise.all([
    query(`SELECT ${SHOWN_COLUMNS.join(', ')} FROM system.local`),
    query('SELECT data_center, rack, rpc_address FROM system.peers'),
  ]);
  const text = (value: Buffer | null | undefined, otherwise: string) => (value ? decodeText(value) : otherwise);
  const near = peers.filter(([datacenter]) => text(datacenter, '') === localDatacenter);
  const [clusterName, datacenter, rack, releaseVersion, cqlVersion, partitioner] = local[0] ?? [];
  const isLocal = near.length === 0 || text(datacenter, '') === localDatacenter;
  const datacenters = [datacenter, ...peers.map(([name]) => name)];
  return {
    nearAddresses: near.flatMap(([, , address]) => (address ? [decodeInet(address)] : [])),
    datacenters: new Set(datacenters.flatMap((name) => (name ? [text(name, '')] : []))),
    shown: {
      clusterName: text(clusterName, 'cluster'),
      datacenter: isLocal ? text(datacenter, localDatacenter) : localDatacenter,
      rack: text(isLocal ? rack : near[0]?.[1], 'rack1'),
      releaseVersion: text(releaseVersion, '4.0.0'),
      cqlVersion: text(cqlVersion, '3.4.5'),
      partitioner: text(partitioner, 'org.apache.cassandra.dht.Murmur3Partitioner'),
    },
  };
}

/** `3/v3, 4/v4, 5/v5, 6/v6-beta` → 5. A server that does not say (ScyllaDB) speaks v4. */
export function highestVersion(entries: readonly string[] | undefined): number {
  let highest = 0;
  for (const entry of entries ?? []) {
    const match = /^(\d+)\/v\d+$/.exec(entry.trim());
    if (match) highest = Math.max(highest, Math.min(Number(match[1]), MAX_PROTOCOL_VERSION));
  }
  return highest === 0 ? PROBE_VERSION : highest;
}
