import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult, responseOffset } from '#core/cql/result-message.ts';
import { decodeInet, decodeInt, decodeList, decodeText, decodeUuid } from '#core/cql/value-codec.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { Connection } from './connection.ts';
import { serverError } from './connection-errors.ts';

/** A node as its cluster describes it, at the address where it can be reached. */
export interface NodeInfo {
  readonly hostId: string;
  readonly host: string;
  readonly port: number;
  readonly dataCenter: string;
  readonly tokens: readonly bigint[];
}

type SystemRow = ReadonlyMap<string, Uint8Array>;

/**
 * All nodes of the cluster at the other end of a connection. The node itself keeps the address it was reached at.
 * @param addressMap advertised address to reachable address
 * @param isBundle nodes are named by their host ids, by which the proxy of a secure connect bundle knows them
 */
export async function discoverNodes(
  connection: Connection,
  addressMap: Readonly<Record<string, string>>,
  isBundle: boolean,
): Promise<NodeInfo[]> {
  const [local] = await querySystem(connection, "SELECT * FROM system.local WHERE key = 'local'");
  const nodes = local ? [nodeInfo(local, connection.node.host, connection.node.port)] : [];
  const { rows, isV2 } = await queryPeers(connection);
  for (const row of rows) {
    const advertised = isV2 ? inet(row, 'native_address') : inet(row, 'rpc_address');
    const address =
      advertised === undefined || /^(0\.0\.0\.0|[0:]+)$/.test(advertised) ? inet(row, 'peer') : advertised;
    // A row without these is one of a node that is on its way in or out.
    if (address === undefined || !row.has('host_id') || !row.has('tokens')) continue;
    const portBytes = row.get('native_port');
    const port = isV2 && portBytes ? decodeInt(portBytes) : connection.node.port;
    const host = isBundle ? decodeUuid(row.get('host_id')!) : (addressMap[address] ?? address);
    nodes.push(nodeInfo(row, host, isBundle ? connection.node.port : port));
  }
  return nodes;
}

function nodeInfo(row: SystemRow, host: string, port: number): NodeInfo {
  const hostId = row.get('host_id');
  const tokens = row.get('tokens');
  return {
    hostId: hostId ? decodeUuid(hostId) : `${host}:${port}`,
    host,
    port,
    dataCenter: decodeText(row.get('data_center') ?? Buffer.alloc(0)),
    // Only Murmur3 tokens are numbers of 64 bits; without tokens the session goes round robin.
    tokens: tokens ? decodeList(tokens).map(decodeText).filter(isMurmur3).map(BigInt) : [],
  };
}

function isMurmur3(token: string): boolean {
  return /^-?\d{1,19}$/.test(token);
}

function inet(row: SystemRow, column: string): string | undefined {
  const bytes = row.get(column);
  return bytes && bytes.length > 0 ? decodeInet(bytes) : undefined;
}

/** peers_v2 (Cassandra 4.0) knows ports; ScyllaDB and older servers have only peers. */
async function queryPeers(connection: Connection): Promise<{ rows: SystemRow[]; isV2: boolean }> {
  try {
    return { rows: await querySystem(connection, 'SELECT * FROM system.peers_v2'), isV2: true };
  } catch {
    return { rows: await querySystem(connection, 'SELECT * FROM system.peers'), isV2: false };
  }
}

async function querySystem(connection: Connection, text: string): Promise<SystemRow[]> {
  const version = connection.protocolVersion;
  const frame = await connection.request(Opcode.QUERY, encodeQuery(text, { consistency: Consistency.ONE }, version));
  const body = bodyOf(frame);
  const offset = responseOffset(flagsOf(frame), body);
  if (opcodeOf(frame) === Opcode.ERROR) throw serverError(connection.node, decodeError(body, version, offset));
  const result = decodeResult(body, version, offset);
  if (result.kind !== 'rows') return [];
  const names = result.metadata.columns?.map(({ name }) => name) ?? [];
  return result.rows.map((row) => {
    const map = new Map<string, Uint8Array>();
    for (const [index, value] of row.entries()) if (value) map.set(names[index]!, value);
    return map;
  });
}
