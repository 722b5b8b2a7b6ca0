/** Partitions of which nothing is known but their token, looked at on both clusters. */

import { comparePartition, type PartitionComparison, type SelectedPage } from '../checksum/compare-partition.ts';
import type { ComparedTable } from '../checksum/compared-table.ts';
import { readRange } from '../checksum/read-table.ts';
import { partitionIdOf, serializeKey } from '../checksum/selected-row.ts';
import { encodeBigint } from '../cql/value-codec.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import { quoteIdentifier } from '../model/table-schema.ts';
import { MIN_TOKEN } from '../token/token.ts';
import type { RepairOptions, RepairPorts } from './repair-partition.ts';
import { openReaders } from './validation-ports.ts';

export interface FoundPartition {
  readonly keyValues: readonly Uint8Array[];
  /** undefined: it, or another one with the same token, has more than a few rows, and is to be read by itself. */
  readonly comparison: PartitionComparison | undefined;
}

/** One query finds a partition and reads it where it has no more rows. */
const FEW_ROWS = 100;
const CLUSTERS = ['origin', 'target'] as const;

/** Nearly always one, and none where it is deleted on both. */
export async function lookAtToken(
  table: ComparedTable,
  token: bigint,
  ports: RepairPorts,
  options: RepairOptions,
  signal?: AbortSignal,
): Promise<readonly FoundPartition[]> {
  // No partition has the smallest token.
  if (token === MIN_TOKEN) return [];
  const readers = openReaders(table, ports, { ...options, pageSize: FEW_ROWS });
  const range = { start: token - 1n, end: token };
  const [origin, target] = await Promise.all([
    fewRows(readRange(readers.origin, table, range, signal)),
    fewRows(readRange(readers.target, table, range, signal)),
  ]);
  if (origin === undefined || target === undefined) {
    const keys = await keysAt(table, token, ports, options, signal);
    return keys.map((keyValues) => ({ keyValues, comparison: undefined }));
  }
  const sides = { origin: byPartition(table, origin), target: byPartition(table, target) };
  const found: FoundPartition[] = [];
  for (const key of new Set([...sides.origin.keys(), ...sides.target.keys()])) {
    const [one, other] = [sides.origin.get(key) ?? [], sides.target.get(key) ?? []];
    const { keyValues } = partitionIdOf(table, (one[0] ?? other[0])!.rows[0]!);
    const limits = { compareWriteTime: options.compareWriteTime, maxRows: 2 * FEW_ROWS + 1 };
    found.push({ keyValues, comparison: await comparePartition(table, streamOf(one), streamOf(other), limits) });
  }
  return found;
}

/** undefined: there are more. */
async function fewRows(pages: AsyncIterable<SelectedPage>): Promise<SelectedPage[] | undefined> {
  const read: SelectedPage[] = [];
  let rowCount = 0;
  for await (const page of pages) {
    rowCount += page.rows.length;
    if (rowCount > FEW_ROWS) return undefined;
    read.push(page);
  }
  return read;
}

/** By the key as Cassandra stores it; no page without rows. */
function byPartition(table: ComparedTable, pages: readonly SelectedPage[]): Map<string, SelectedPage[]> {
  const found = new Map<string, SelectedPage[]>();
  for (const { rows, readAtSeconds } of pages) {
    for (const [key, own] of Map.groupBy(rows, (row) => nameOf(partitionIdOf(table, row).keyValues))) {
      found.set(key, [...(found.get(key) ?? []), { rows: own, readAtSeconds }]);
    }
  }
  return found;
}

async function* streamOf(pages: readonly SelectedPage[]): AsyncGenerator<SelectedPage> {
  yield* pages;
}

const nameOf = (keyValues: readonly Uint8Array[]) => Buffer.from(serializeKey(keyValues)).toString('base64');

/** The keys that either cluster has there. */
async function keysAt(
  { schema }: ComparedTable,
  token: bigint,
  ports: RepairPorts,
  options: RepairOptions,
  signal: AbortSignal | undefined,
): Promise<readonly Uint8Array[][]> {
  const columns = schema.partitionKey.map(({ name }) => quoteIdentifier(name)).join(', ');
  const from = `${quoteIdentifier(schema.keyspace)}.${quoteIdentifier(schema.table)}`;
  const text = `SELECT DISTINCT ${columns} FROM ${from} WHERE token(${columns}) > ? AND token(${columns}) <= ?`;
  const keys = new Map<string, Uint8Array[]>();
  const consistencyOf = (cluster: ClusterName) =>
    cluster === 'origin' ? options.originConsistency : options.targetConsistency;
  await Promise.all(
    CLUSTERS.map(async (cluster) => {
      const statement = await ports[cluster].prepare(text);
      const { rows } = await ports[cluster].execute(statement, [encodeBigint(token - 1n), encodeBigint(token)], {
        consistency: consistencyOf(cluster),
        ...(signal ? { signal } : {}),
      });
      for (const row of rows) {
        const key = row.map((value) => value ?? new Uint8Array(0));
        keys.set(nameOf(key), key);
      }
    }),
  );
  return [...keys.values()];
}
