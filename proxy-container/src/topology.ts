import { createHash } from 'node:crypto';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { encodeBigint, encodeInet, encodeInt, encodeList, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';

/** Tables of keyspace `system` by which a driver finds the nodes of a cluster. */
const TOPOLOGY_TABLES = new Set(['local', 'peers', 'peers_v2']);

export type TopologyTable = 'local' | 'peers' | 'peers_v2';

/** Which topology table a SELECT reads, if it reads one. */
export function topologyTable(keyspace: string | undefined, table: string | undefined): TopologyTable | undefined {
  return keyspace === 'system' && TOPOLOGY_TABLES.has(table ?? '') ? (table as TopologyTable) : undefined;
}

const TOKEN_COUNT = 8;

/** How a client sees this proxy: the address it connected to, as the only node of the cluster. */
export interface ProxyFace {
  readonly address: string;
  readonly port: number;
}

/** The address without the prefix that IPv4 has on a socket of both families. */
export function faceOf(localAddress: string | undefined, localPort: number | undefined): ProxyFace {
  return { address: (localAddress ?? '127.0.0.1').replace(/^::ffff:/, ''), port: localPort ?? 9042 };
}

/**
 * A real node's answer, of any projection, with this proxy in its place: columns are recognised by name, so their
 * types, order and all others stay as the node gave them. Peers come out empty: a driver that knew of the real nodes
 * would connect to them.
 * @param knownColumns those of PREPARED, for an answer without metadata
 * @param isJson the statement is SELECT JSON: only then is a column `[json]` the server's; else a client named it so
 */
export function showProxy(
  body: Buffer,
  version: number,
  table: TopologyTable,
  face: ProxyFace,
  knownColumns: readonly ResultColumn[] | undefined,
  isJson: boolean,
  offset = 0,
): Buffer {
  const result = decodeResult(body, version, offset);
  if (result.kind !== 'rows') return body.subarray(offset);
  const columns = result.metadata.columns ?? knownColumns ?? [];
  const values = table === 'local' ? localValues(face) : NO_VALUES;
  const rows = result.rows.flatMap((row) => {
    const replaced = row.map((value, index) => replacement(columns[index], value, values, table, isJson));
    return table === 'local' || isAggregate(columns) ? [replaced] : [];
  });
  return encodeRows(result.metadata, rows);
}

interface TopologyValue {
  readonly bytes: Buffer;
  readonly json: unknown;
}
type Values = ReadonlyMap<string, TopologyValue>;
const NO_VALUES: Values = new Map();

function replacement(
  column: ResultColumn | undefined,
  value: Buffer | null,
  values: Values,
  table: TopologyTable,
  isJson: boolean,
): Buffer | null {
  if (column === undefined || value === null) return value;
  if (isJson && column.name === '[json]') return jsonReplacement(value, values);
  if (isCount(column) && table !== 'local') return encodeBigint(0n);
  return values.get(column.name)?.bytes ?? value;
}

function jsonReplacement(value: Buffer, values: Values): Buffer {
  const row = parseObject(value.toString());
  if (row === undefined) return value;
  for (const [name, { json }] of values) if (name in row) row[name] = json;
  return encodeText(JSON.stringify(row));
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** `count(*)` has a row even where there is nothing to count. */
function isAggregate(columns: readonly ResultColumn[]): boolean {
  return columns.length === 1 && isCount(columns[0]!);
}

/** No topology table has a bigint column, so an alias can't pass for the aggregate. */
function isCount({ name, type }: ResultColumn): boolean {
  return name === 'count' && type.kind === 'native' && type.name === 'bigint';
}

function localValues({ address, port }: ProxyFace): Values {
  const hostId = hostIdOf(address, port);
  const tokens = evenTokens(TOKEN_COUNT);
  const inet = { bytes: encodeInet(address), json: address };
  const portValue = { bytes: encodeInt(port), json: port };
  return new Map<string, TopologyValue>([
    ['rpc_address', inet],
    ['native_address', inet],
    ['broadcast_address', inet],
    ['listen_address', inet],
    ['rpc_port', portValue],
    ['native_port', portValue],
    ['host_id', { bytes: encodeUuid(hostId), json: hostId }],
    ['tokens', { bytes: encodeList(tokens.map(encodeText)), json: tokens }],
  ]);
}

/** The same for the same address on every instance and in every phase. A name-based UUID (RFC 9562, version 5). */
function hostIdOf(address: string, port: number): string {
  const bytes = createHash('sha1').update(`ringshift proxy ${address}:${port}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Decimal tokens that cut the Murmur3 ring into equal parts, ascending. */
function evenTokens(count: number): string[] {
  const step = 2n ** 64n / BigInt(count);
  return Array.from({ length: count }, (_, index) => String(-(2n ** 63n) + BigInt(index) * step)).sort();
}
