import { decodeBigint, decodeText, encodeText } from '../cql/value-codec.ts';
import { SchemaMismatchError, UsageError } from '../errors.ts';
import type { Filter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import { compareSchemas } from '../model/compare-schema.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, CqlSession, Logger, ObjectStore } from '../ports.ts';
import { MIN_TOKEN } from '../token/token.ts';
import { parseToken, rangeWidth } from '../token/token-range.ts';
import { holdOlderWrites } from './hold-older-writes.ts';
import { cutForComparison, markedPlaces } from './marked-places.ts';
import { encodeValidationTable, parseValidationInput, runKeys, type ValidationItem } from './validation-plan.ts';

/** What planning needs of the world. */
export interface PlanValidationPorts {
  readonly origin: CqlSession;
  readonly target: CqlSession;
  /** The tables of a keyspace, from `system_schema`; only the named ones when given. */
  readonly readSchema: (
    cluster: ClusterName,
    keyspace: string,
    tables?: readonly string[],
  ) => Promise<readonly TableSchema[]>;
  readonly objects: ObjectStore;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

/** The `validation` section of the config, and the filter. */
export interface PlanValidationOptions {
  readonly samplePercent: number;
  readonly compareWriteTime: boolean;
  /** The most ranges of one table. */
  readonly rangesPerTable: number;
  readonly maxConcurrency: number;
  readonly filter: Filter;
}

export interface ValidationPlan {
  readonly runId: string;
  readonly planKey: string;
  readonly rangeCount: number;
  readonly maxConcurrency: number;
  readonly reconcile: boolean;
  readonly tables: readonly string[];
}

/** About what one range reads of each cluster in half a minute. Bytes. */
const RANGE_BYTES = 64 * 1024 * 1024;
/** Ranges of a table whose size nobody knows yet (the server refreshes its estimates every five minutes). */
const RANGES_OF_UNKNOWN = 4;

/**
 * Cuts the keyspace's tables into ranges, writes plan and table manifests, and takes the keyspace's only validation.
 * @throws UsageError (input), SchemaMismatchError (tables do not fit), GateClosedError (another run is under way)
 */
export async function planValidation(
  runId: string,
  rawInput: unknown,
  ports: PlanValidationPorts,
  options: PlanValidationOptions,
): Promise<ValidationPlan> {
  const input = parseValidationInput(rawInput);
  const { keyspace } = input;
  const comparable = await comparableTables(keyspace, input.tables, ports, options.filter);
  const [originVersion, targetVersion] = await Promise.all([
    comparableVersion('origin', ports.origin),
    comparableVersion('target', ports.target),
  ]);
  const samplePercent = input.suspects ? 100 : (input.samplePercent ?? options.samplePercent);
  const suspects = input.suspects ? await markedPlaces(keyspace, ports.ledger) : undefined;
  const tables = comparable.filter(({ table }) => suspects === undefined || suspects.has(table));
  const heldMs = await holdOlderWrites(keyspace, new Set(tables.map(({ table }) => table)), ports);
  if (heldMs > 0) await ports.sleep(heldMs);
  const startedAt = new Date(ports.clock.nowMillis()).toISOString();
  await ports.ledger.startRun({
    version: 1,
    runId,
    kind: 'validation',
    keyspace,
    tables: tables.map((schema) => schema.table),
    state: 'running',
    startedAt,
    endedAt: null,
    rangeCount: null,
    rangesByTable: null,
    totalBytes: 0,
    input: { ...input, sampled: samplePercent < 100 },
  });
  try {
    const items: ValidationItem[] = [];
    for (const schema of tables) {
      const tableKey = runKeys.table(runId, keyspace, schema.table);
      await ports.objects.put(
        tableKey,
        encodeValidationTable({
          schema,
          elementWriteTimes: originVersion >= 5 && targetVersion >= 5,
          compareWriteTime: input.compareWriteTime ?? options.compareWriteTime,
          samplePercent,
        }),
      );
      const bytes = await estimateBytes(ports.target, keyspace, schema.table);
      const count = Math.min(
        options.rangesPerTable,
        bytes === undefined ? RANGES_OF_UNKNOWN : Math.ceil(bytes / RANGE_BYTES),
      );
      for (const part of cutForComparison(Math.max(1, count), suspects?.get(schema.table))) {
        const share = Number(part.width) / 2 ** 64;
        items.push({
          ...{ runId, index: items.length, keyspace, table: schema.table },
          ...part.place,
          bytes: Math.round((bytes ?? 0) * share),
          tableKey,
        });
      }
    }
    const planKey = runKeys.plan(runId);
    await ports.objects.put(planKey, JSON.stringify(items));
    const totalBytes = items.reduce((sum, item) => sum + item.bytes, 0);
    await ports.ledger.updateRun(runId, {
      rangeCount: items.length,
      rangesByTable: countByTable(tables, items),
      totalBytes,
    });
    ports.logger.info('validation planned', { runId, ranges: items.length, tables: tables.length });
    return {
      runId,
      planKey,
      rangeCount: items.length,
      maxConcurrency: options.maxConcurrency,
      reconcile: input.reconcile ?? false,
      tables: tables.map((schema) => schema.table),
    };
  } catch (error) {
    // The keyspace must not stay taken by a run that never began.
    await ports.ledger.endRun(runId, 'failed', new Date(ports.clock.nowMillis()));
    throw error;
  }
}

function countByTable(tables: readonly TableSchema[], items: readonly ValidationItem[]): Record<string, number> {
  return Object.fromEntries(
    tables.map(({ table }) => [table, items.filter((item) => item.table === table).length] as const),
  );
}

async function comparableTables(
  keyspace: string,
  names: readonly string[] | undefined,
  ports: PlanValidationPorts,
  filter: Filter,
): Promise<readonly TableSchema[]> {
  const [origin, target] = await Promise.all([
    ports.readSchema('origin', keyspace, names),
    ports.readSchema('target', keyspace),
  ]);
  const tables = origin.filter((schema) => filter.decide(keyspace, schema.table).kind === 'migrate');
  if (tables.length === 0) throw new UsageError(`the filter keeps every table of ${keyspace} on the origin`);
  const faults = compareSchemas(tables, target).filter((difference) => difference.severity === 'error');
  if (faults.length > 0) {
    const lines = faults.map((fault) => `  ${keyspace}.${fault.table}: ${fault.message}`);
    throw new SchemaMismatchError(`the tables of the two clusters do not fit:\n${lines.join('\n')}`);
  }
  return tables;
}

/**
 * The major version; 0 when it is no Cassandra release that is understood (Scylla says 3.0.8).
 * @throws SchemaMismatchError where ranges of Murmur3 tokens would hold next to nothing, so that all would seem equal
 */
async function comparableVersion(side: ClusterName, session: CqlSession): Promise<number> {
  const { rows } = await session.query('SELECT release_version, partitioner FROM system.local');
  const [version, partitioner] = rows[0] ?? [];
  const name = partitioner ? decodeText(partitioner) : undefined;
  if (name !== undefined && !/(^|\.)Murmur3Partitioner$/.test(name)) {
    throw new SchemaMismatchError(
      `the ${side} uses the partitioner ${name}; only Murmur3Partitioner is supported, and a cluster keeps its own for ever: copy its data with the application`,
      { context: { side, partitioner: name } },
    );
  }
  return version ? Number.parseInt(decodeText(version), 10) || 0 : 0;
}

/** Uncompressed size of the table, from the estimates of the node that answers; undefined when it has none. */
async function estimateBytes(session: CqlSession, keyspace: string, table: string): Promise<number | undefined> {
  const { rows } = await session.query(
    'SELECT range_start, range_end, mean_partition_size, partitions_count FROM system.size_estimates WHERE keyspace_name = ? AND table_name = ?',
    [encodeText(keyspace), encodeText(table)],
  );
  let bytes = 0;
  let width = 0n;
  for (const [start, end, meanBytes, partitions] of rows) {
    if (!start || !end || !meanBytes || !partitions) continue;
    bytes += Number(decodeBigint(meanBytes)) * Number(decodeBigint(partitions));
    width += rangeWidth({ start: tokenOrStart(decodeText(start)), end: tokenOrStart(decodeText(end)) });
  }
  // The node knows its own primary ranges only, so its sum stands for that share of the ring.
  const share = Number(width) / 2 ** 64;
  return bytes > 0 && share > 0 ? bytes / Math.min(1, share) : undefined;
}

function tokenOrStart(text: string): bigint {
  try {
    return parseToken(text);
  } catch {
    return MIN_TOKEN;
  }
}
