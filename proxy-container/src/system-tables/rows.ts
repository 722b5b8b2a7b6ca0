import { encodeInet, encodeInt, encodeList, encodeMap, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import type { ShownCluster } from '#core/ledger/records.ts';
import { type Host, hostIdOf, tokensOf } from '../topology/host.ts';

/** A column's value as the protocol's bytes and as `SELECT JSON` writes it. */
export interface SystemValue {
  readonly bytes: Buffer;
  readonly json: unknown;
}

/** By column; what is not there is null. */
export type SystemRow = ReadonlyMap<string, SystemValue>;

/** What all rows have in common at a moment. */
export interface ShownFacts {
  readonly cluster: ShownCluster;
  readonly nativeProtocolVersion: number;
  /** A UUID. */
  readonly schemaVersion: string;
}

const text = (value: string): SystemValue => ({ bytes: encodeText(value), json: value });
const inet = (value: string): SystemValue => ({ bytes: encodeInet(value), json: value });
const int = (value: number): SystemValue => ({ bytes: encodeInt(value), json: value });
const uuid = (value: string): SystemValue => ({ bytes: encodeUuid(value), json: value });
const texts = (values: readonly string[]): SystemValue => ({ bytes: encodeList(values.map(encodeText)), json: values });

/** Seconds since the epoch; a node's is when it started. */
const GENERATION = Math.floor(Date.now() / 1000);

/** The row of `system.local`. */
export function localRow(host: Host, facts: ShownFacts): SystemRow {
  const { cluster, nativeProtocolVersion } = facts;
  const address = inet(host.address);
  const port = int(host.port);
  return new Map([
    ...sharedColumns(host, facts),
    ['key', text('local')],
    ['bootstrapped', text('COMPLETED')],
    ['broadcast_address', address],
    ['broadcast_port', port],
    ['cluster_name', text(cluster.clusterName)],
    ['cql_version', text(cluster.cqlVersion)],
    ['gossip_generation', int(GENERATION)],
    ['listen_address', address],
    ['listen_port', port],
    ['native_protocol_version', text(String(nativeProtocolVersion))],
    ['partitioner', text(cluster.partitioner)],
    ['rpc_address', address],
    ['rpc_port', port],
    ['truncated_at', { bytes: encodeMap([]), json: {} }],
  ]);
}

/** A row of `system.peers`, which has no ports. */
export function peerRow(host: Host, facts: ShownFacts): SystemRow {
  const address = inet(host.address);
  return new Map([...sharedColumns(host, facts), ['peer', address], ['rpc_address', address]]);
}

/** A row of `system.peers_v2`. There is one port between proxies and clients, and none between proxies. */
export function peerV2Row(host: Host, facts: ShownFacts): SystemRow {
  const address = inet(host.address);
  const port = int(host.port);
  return new Map([
    ...sharedColumns(host, facts),
    ['peer', address],
    ['peer_port', port],
    ['native_address', address],
    ['native_port', port],
  ]);
}

function sharedColumns(host: Host, { cluster, schemaVersion }: ShownFacts): [string, SystemValue][] {
  const hostId = hostIdOf(host);
  return [
    ['data_center', text(cluster.datacenter)],
    ['host_id', uuid(hostId)],
    ['rack', text(cluster.rack)],
    ['release_version', text(cluster.releaseVersion)],
    ['schema_version', uuid(schemaVersion)],
    ['tokens', texts(tokensOf(hostId, cluster.partitioner))],
  ];
}
