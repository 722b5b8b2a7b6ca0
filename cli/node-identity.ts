/** Who a node is: host id, tokens, and the ring as it sees it; over CQL or from what nodetool printed. */

import { readFile } from 'node:fs/promises';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { UsageError } from '#core/errors.ts';

export interface NodeIdentity {
  /** Names the node's folder unless another name is given. */
  readonly address: string;
  readonly hostId: string;
  readonly datacenter: string;
  readonly rack: string;
  /** Decimal texts. */
  readonly tokens: readonly string[];
  /** Host ids of all nodes, this one included; empty when unknown. */
  readonly ring: readonly string[];
  /** `keyspace.table` → id as 32 hex digits; empty when unknown. */
  readonly tableIds: ReadonlyMap<string, string>;
}

/**
 * Asks a node of the origin itself.
 * @param contactPoint its address; default: the config's only one
 * @throws UsageError when it is not clear which node is meant
 */
export async function askNode(config: MigrationConfig, contactPoint: string | undefined): Promise<NodeIdentity> {
  const [only, ...others] = config.origin.contactPoints;
  if (contactPoint === undefined && others.length > 0) {
    throw new UsageError('the origin has several contact points; say whose files these are with --contact-point');
  }
  const address = contactPoint ?? only!;
  const cluster = await resolveCluster('origin', { ...config.origin, contactPoints: [address] });
  const client = await connectDriver(cluster);
  try {
    // With addresses translated or named by DNS the host is known by another name; a ring of one needs no choice.
    const hosts = [...client.hosts.values()];
    const host = hosts.find((candidate) => candidate.address.replace(/:\d+$/, '') === address) ?? hosts[0];
    if (host === undefined || (hosts.length > 1 && !host.address.startsWith(`${address}:`))) {
      throw new UsageError(
        `${address} is none of the ring's addresses: ${hosts.map((each) => each.address).join(', ')}`,
      );
    }
    const local = await client.execute('SELECT host_id, data_center, rack, tokens FROM system.local', [], {
      host,
      prepare: false,
    });
    const peers = await client.execute('SELECT host_id FROM system.peers', [], { host, prepare: false });
    const tables = await client.execute('SELECT keyspace_name, table_name, id FROM system_schema.tables', [], {
      prepare: false,
    });
    const row = local.first();
    const hostId = String(row['host_id']);
    return {
      address,
      hostId,
      datacenter: row['data_center'] as string,
      rack: row['rack'] as string,
      tokens: [...((row['tokens'] as string[] | null) ?? [])],
      ring: [hostId, ...peers.rows.map((peer) => String(peer['host_id']))].sort(),
      tableIds: new Map(
        tables.rows.map((table) => [
          `${table['keyspace_name']}.${table['table_name']}`,
          String(table['id']).replaceAll('-', ''),
        ]),
      ),
    };
  } finally {
    await client.shutdown();
  }
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/**
 * Reads the output of `nodetool info -T` and, for the ring, of `nodetool status`.
 * @throws UsageError when the first does not hold an id and tokens
 */
export async function readNodetoolFiles(infoFile: string, statusFile: string | undefined): Promise<NodeIdentity> {
  const info = await readFile(infoFile, 'utf8').catch((cause: unknown) => {
    throw new UsageError(`${infoFile} can not be read`, { cause });
  });
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.+?)\\s*$`, 'm').exec(info)?.[1];
  const hostId = field('ID');
  const tokens = [...info.matchAll(/^Token\s*:\s*(-?\d+)\s*$/gm)].map((match) => match[1]!);
  if (hostId === undefined || tokens.length === 0) {
    throw new UsageError(`${infoFile} is not what nodetool info -T prints: it lacks ID or Token lines`);
  }
  const status = statusFile === undefined ? '' : await readFile(statusFile, 'utf8');
  const ring = [...new Set([...status.matchAll(UUID)].map((match) => match[0]))].sort();
  return {
    address: hostId,
    hostId,
    datacenter: field('Data Center') ?? '',
    rack: field('Rack') ?? '',
    tokens,
    ring,
    tableIds: new Map(),
  };
}
