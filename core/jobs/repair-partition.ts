import pLimit from 'p-limit';
import { comparePartition, type PartitionComparison } from '../checksum/compare-partition.ts';
import type { ComparedTable } from '../checksum/compared-table.ts';
import { readPartition, type TableReader } from '../checksum/read-table.ts';
import { type Authority, planRepairs, type Repair } from '../checksum/repair.ts';
import { serializeKey } from '../checksum/selected-row.ts';
import { settleDifference } from '../checksum/settled-difference.ts';
import type { Consistency } from '../model/cql-request.ts';
import { openReaders, type ValidationOptions, type ValidationPorts } from './validation-ports.ts';

/** What bringing partitions together takes of the world. */
export type RepairPorts = Pick<ValidationPorts, Authority | 'clock' | 'sleep'>;

export interface RepairOptions
  extends Pick<ValidationOptions, 'originConsistency' | 'targetConsistency' | 'filter' | 'settleMs' | 'pageSize'> {
  readonly originWriteConsistency: Consistency;
  readonly targetWriteConsistency: Consistency;
  /** Whose state is right; `authorityOf` the phase in force. */
  readonly authority: Authority;
  readonly compareWriteTime: boolean;
  /** Row differences repaired in one round; the next round finds the rest. */
  readonly maxRows?: number;
}

export interface RepairResult {
  readonly isSame: boolean;
  readonly statements: number;
}

/** First with own times, then what did not yield, then markers that only now stand alone, then the youngest. */
const ROUNDS = 5;
/** Rounds of a partition that differs in more rows than one round repairs. */
const MAX_ROUNDS = 1000;
const DEFAULT_MAX_ROWS = 5000;

/** Partitions that are read or repaired at once, and statements of each. */
const CONCURRENCY = 8;

/**
 * Brings partitions together; one result for each, in order. All are read before the first is repaired, so that one wait is
 * enough to tell what stands from what a write on its way has left.
 * @param readsTwice also where write times would tell: nobody has looked at the partitions before
 */
export async function repairPartitions(
  table: ComparedTable,
  partitions: readonly (readonly Uint8Array[])[],
  ports: RepairPorts,
  options: RepairOptions & { readonly readsTwice: boolean },
  signal?: AbortSignal,
): Promise<RepairResult[]> {
  const limit = pLimit(CONCURRENCY);
  const first = await limit.map(partitions, (keyValues) => readComparison(table, keyValues, ports, options, signal));
  const waits = first.some(
    (one) => one.kind && (options.readsTwice || countCells(withWriteTimes(one)) < countCells(one)),
  );
  if (waits) await ports.sleep(options.settleMs, signal);
  return limit.map(first, (comparison, index) =>
    comparison.kind
      ? repairPartition(table, partitions[index]!, ports, options, waits ? comparison : undefined, signal)
      : { isSame: true, statements: 0 },
  );
}

/** Reads a partition on both clusters and compares it. */
function readComparison(
  table: ComparedTable,
  keyValues: readonly Uint8Array[],
  ports: RepairPorts,
  options: RepairOptions,
  signal?: AbortSignal,
): Promise<PartitionComparison> {
  const readers = openReaders(table, ports, options);
  const pages = (reader: TableReader) => readPartition(reader, table, keyValues, signal);
  return comparePartition(table, pages(readers.origin), pages(readers.target), {
    compareWriteTime: options.compareWriteTime,
    maxRows: options.maxRows ?? DEFAULT_MAX_ROWS,
  });
}

/**
 * Reads a partition on both clusters, writes what is missing, reads again, until both are the same. What a write on its way
 * may have left is not touched: cells that are younger than a write needs to arrive, and differences without write times
 * (lists, and before 5.0 all multi-cell columns) that do not stand in two readings that far apart.
 * @param earlier a reading at least `settleMs` ago: nothing is written that differed otherwise then
 */
async function repairPartition(
  table: ComparedTable,
  keyValues: readonly Uint8Array[],
  ports: RepairPorts,
  options: RepairOptions,
  earlier?: PartitionComparison,
  signal?: AbortSignal,
): Promise<RepairResult> {
  let statements = 0;
  let known = earlier;
  for (let round = 0, reading = 0; ; reading++) {
    const readAtMillis = ports.clock.nowMillis();
    const comparison = await readComparison(table, keyValues, ports, options, signal);
    if (!comparison.kind) return { isSame: true, statements };
    if (round === ROUNDS || reading === MAX_ROUNDS) return { isSame: false, statements };
    const standing = known ? settleDifference(known, comparison).comparison : withWriteTimes(comparison);
    const plan = planRepairs(table, keyValues, standing, {
      authority: options.authority,
      round: round === 0 ? 'own' : 'again',
      settledMicros: BigInt(readAtMillis - options.settleMs) * 1000n,
      nowSeconds: Math.floor(readAtMillis / 1000),
    });
    // Each has its write time, so their order does not matter.
    await pLimit(CONCURRENCY).map(plan.repairs, (repair) =>
      applyRepair(repair, keyValues, Math.floor(readAtMillis / 1000), ports, options, signal),
    );
    statements += plan.repairs.length;
    // Where one round could not hold all of it the next one is not another try.
    if (!comparison.isTruncated || plan.repairs.length === 0) round++;
    if (plan.tooYoung > 0 || countCells(standing) < countCells(comparison)) {
      await ports.sleep(options.settleMs, signal);
      known = comparison;
    }
  }
}

/** Of differences that were read once, those that tell by their write times whether they are settled. */
function withWriteTimes(comparison: PartitionComparison): PartitionComparison {
  const rows = comparison.rows.flatMap((row) => {
    if (row.cells.length === 0) return [row];
    const cells = row.cells.filter(({ column }) => column.timed !== 'none');
    return cells.length > 0 ? [{ ...row, cells }] : [];
  });
  return { ...comparison, rows };
}

function countCells({ rows }: PartitionComparison): number {
  return rows.reduce((sum, { cells }) => sum + Math.max(1, cells.length), 0);
}

async function applyRepair(
  repair: Repair,
  keyValues: readonly Uint8Array[],
  nowInSeconds: number,
  ports: RepairPorts,
  options: RepairOptions,
  signal: AbortSignal | undefined,
): Promise<void> {
  const session = ports[repair.cluster];
  const statement = await session.prepare(repair.text);
  await session.execute(statement, repair.values, {
    consistency: repair.cluster === 'origin' ? options.originWriteConsistency : options.targetWriteConsistency,
    routingKey: serializeKey(keyValues),
    ...(session.protocolVersion >= 5 ? { nowInSeconds } : {}),
    ...(signal ? { signal } : {}),
  });
}
