import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { encodeText } from '#core/cql/value-codec.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';
import type { SystemRow } from '../system-tables/rows.ts';
import { type Host, hostAt } from './host.ts';

/** The address and port at which a client reached this proxy. */
export function faceOf(localAddress: string | undefined, localPort: number | undefined): Host {
  return hostAt((localAddress ?? '127.0.0.1').split('%')[0]!, localPort ?? 9042);
}

/**
 * A node's answer about `system.local`, of a projection that the proxy does not understand, with the proxy in the node's
 * place: columns are recognised by name, so their types, order and all others stay as the node gave them.
 * @param knownColumns those of PREPARED, for an answer without metadata
 * @param isJson the statement is SELECT JSON: only then is a column `[json]` the server's; else a client named it so
 */
export function showProxy(
  body: Buffer,
  version: number,
  local: SystemRow,
  knownColumns: readonly ResultColumn[] | undefined,
  isJson: boolean,
  offset = 0,
): Buffer {
  const result = decodeResult(body, version, offset);
  if (result.kind !== 'rows') return body.subarray(offset);
  const columns = result.metadata.columns ?? knownColumns ?? [];
  const rows = result.rows.map((row) => row.map((value, index) => replacement(columns[index], value, local, isJson)));
  return encodeRows(result.metadata, rows);
}

/**
 * A node's answer to DESCRIBE CLUSTER, with the name under which drivers know the cluster in every phase. undefined: it is
 * an answer to another DESCRIBE. The rest stays: the snitch, and who owns which range, are of the cluster that answers.
 */
export function showClusterName(
  body: Buffer,
  version: number,
  local: () => SystemRow,
  knownColumns: readonly ResultColumn[] | undefined,
  offset = 0,
): Buffer | undefined {
  const result = decodeResult(body, version, offset);
  if (result.kind !== 'rows') return undefined;
  const at = (result.metadata.columns ?? knownColumns ?? []).findIndex(
    ({ keyspace, table, name }) => keyspace === 'system' && table === 'describe' && name === 'cluster',
  );
  const name = at < 0 ? undefined : local().get('cluster_name')?.bytes;
  if (!name) return undefined;
  return encodeRows(
    result.metadata,
    result.rows.map((row) => row.with(at, name)),
  );
}

function replacement(
  column: ResultColumn | undefined,
  value: Buffer | null,
  local: SystemRow,
  isJson: boolean,
): Buffer | null {
  if (column === undefined || value === null) return value;
  if (isJson && column.name === '[json]') return jsonReplacement(value, local);
  return local.get(column.name)?.bytes ?? value;
}

function jsonReplacement(value: Buffer, local: SystemRow): Buffer {
  const row = parseObject(value.toString());
  if (row === undefined) return value;
  for (const [name, { json }] of local) if (name in row) row[name] = json;
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
