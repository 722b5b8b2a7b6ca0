import type { CqlType, NativeTypeName } from '#core/model/cql-type.ts';

/** Tables of keyspace `system` by which a driver finds the nodes of a cluster. */
export type TopologyTable = 'local' | 'peers' | 'peers_v2';

/** One of them as the proxy shows it. */
export interface SystemTable {
  readonly name: TopologyTable;
  readonly partitionKey: readonly string[];
  /** In the order of SELECT *: key, clustering, then by name. */
  readonly columns: ReadonlyMap<string, CqlType>;
}

const native = (name: NativeTypeName): CqlType => ({ kind: 'native', name });
const text = native('text');
const inet = native('inet');
const int = native('int');
const uuid = native('uuid');
const texts: CqlType = { kind: 'set', element: text, frozen: false };
const truncations: CqlType = { kind: 'map', key: uuid, value: native('blob'), frozen: false };

/** Those of Cassandra 4.0 and later (SystemKeyspace), whatever the clusters are: drivers look columns up by name. */
const LOCAL: SystemTable = {
  name: 'local',
  partitionKey: ['key'],
  columns: new Map<string, CqlType>([
    ['key', text],
    ['bootstrapped', text],
    ['broadcast_address', inet],
    ['broadcast_port', int],
    ['cluster_name', text],
    ['cql_version', text],
    ['data_center', text],
    ['gossip_generation', int],
    ['host_id', uuid],
    ['listen_address', inet],
    ['listen_port', int],
    ['native_protocol_version', text],
    ['partitioner', text],
    ['rack', text],
    ['release_version', text],
    ['rpc_address', inet],
    ['rpc_port', int],
    ['schema_version', uuid],
    ['tokens', texts],
    ['truncated_at', truncations],
  ]),
};

const PEERS: SystemTable = {
  name: 'peers',
  partitionKey: ['peer'],
  columns: new Map<string, CqlType>([
    ['peer', inet],
    ['data_center', text],
    ['host_id', uuid],
    ['preferred_ip', inet],
    ['rack', text],
    ['release_version', text],
    ['rpc_address', inet],
    ['schema_version', uuid],
    ['tokens', texts],
  ]),
};

const PEERS_V2: SystemTable = {
  name: 'peers_v2',
  partitionKey: ['peer'],
  columns: new Map<string, CqlType>([
    ['peer', inet],
    ['peer_port', int],
    ['data_center', text],
    ['host_id', uuid],
    ['native_address', inet],
    ['native_port', int],
    ['preferred_ip', inet],
    ['preferred_port', int],
    ['rack', text],
    ['release_version', text],
    ['schema_version', uuid],
    ['tokens', texts],
  ]),
};

export const SYSTEM_TABLES: Readonly<Record<TopologyTable, SystemTable>> = {
  local: LOCAL,
  peers: PEERS,
  peers_v2: PEERS_V2,
};

/** Which of them a SELECT reads, if it reads one. */
export function topologyTable(keyspace: string | undefined, table: string | undefined): TopologyTable | undefined {
  if (keyspace !== 'system' || table === undefined) return undefined;
  return Object.hasOwn(SYSTEM_TABLES, table) ? (table as TopologyTable) : undefined;
}
