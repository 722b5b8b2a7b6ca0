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
  /** Also where write times would tell it is read twice before it is written: nobody has looked at the partition before. */
  readonly readsTwice: boolean;
  /** Row differences repaired in one round; the next round finds the rest. */
  readonly maxRows?: number;
}

/** First with own times, then what did not yield, then markers that only now stand alone, then the youngest. */
const ROUNDS = 5;
/** Rounds of a partition that differs in more rows than one round repairs. */
const MAX_ROUNDS = 1000;
const DEFAULT_MAX_ROWS = 5000;

/** Statements of a partition at once. */
const CONCURRENCY = 8;

/** Of a row difference and of a cell difference beside its values. Bytes. */
const ROW_BYTES = 300;
const CELL_BYTES = 500;

/**
 * Reads a partition on both clusters, writes what is missing, reads again, until both are the same. What a write on its way
 * may have left is not touched: cells that are younger than a write needs to arrive, and differences without write times
 * (lists, and before 5.0 all multi-cell columns) that do not stand in two readings that far apart.
 */
export class PartitionRepair {
  readonly #table: ComparedTable;
  readonly #keyValues: readonly Uint8Array[];
  readonly #ports: RepairPorts;
  readonly #options: RepairOptions;
  /** A reading at least `settleMs` ago: nothing is written that differed otherwise then. */
  #known: PartitionComparison | undefined;
  #round = 0;
  #readings = 0;
  #statements = 0;

  /** @param earlier a reading of just now: `settleMs` have to pass before the first call */
  constructor(
    table: ComparedTable,
    keyValues: readonly Uint8Array[],
    ports: RepairPorts,
    options: RepairOptions,
    earlier?: PartitionComparison,
  ) {
    this.#table = table;
    this.#keyValues = keyValues;
    this.#ports = ports;
    this.#options = options;
    this.#known = earlier;
    this.#readings = earlier === undefined ? 0 : 1;
  }

  /** Written so far. */
  get statements(): number {
    return this.#statements;
  }

  /** Of the reading that is kept until the next one, about. */
  get heldBytes(): number {
    return this.#known === undefined ? 0 : bytesOf(this.#known);
  }

  /** Goes on until it ends, or until `settleMs` have to pass before the next call. */
  async advance(signal?: AbortSignal): Promise<'same' | 'different' | 'wait'> {
    for (;;) {
      const readAtMillis = this.#ports.clock.nowMillis();
      const comparison = await this.#read(signal);
      if (!comparison.kind) return 'same';
      const isFirst = this.#readings++ === 0;
      if (this.#round === ROUNDS || this.#readings > MAX_ROUNDS) return 'different';
      if (isFirst && (this.#options.readsTwice || countCells(withWriteTimes(comparison)) < countCells(comparison))) {
        this.#known = comparison;
        return 'wait';
      }
      const isSettled = await this.#repair(comparison, readAtMillis, signal);
      if (!isSettled) {
        this.#known = comparison;
        return 'wait';
      }
    }
  }

  /** Resolves to whether nothing was left alone. */
  async #repair(comparison: PartitionComparison, readAtMillis: number, signal?: AbortSignal): Promise<boolean> {
    const { authority, settleMs } = this.#options;
    const standing = this.#known ? settleDifference(this.#known, comparison).comparison : withWriteTimes(comparison);
    const nowSeconds = Math.floor(readAtMillis / 1000);
    const plan = planRepairs(this.#table, this.#keyValues, standing, {
      authority,
      round: this.#round === 0 ? 'own' : 'again',
      settledMicros: BigInt(readAtMillis - settleMs) * 1000n,
      nowSeconds,
    });
    // Each has its write time, so their order does not matter.
    await pLimit(CONCURRENCY).map(plan.repairs, (repair) => this.#apply(repair, nowSeconds, signal));
    this.#statements += plan.repairs.length;
    // Where one round could not hold all of it the next one is not another try.
    if (!comparison.isTruncated || plan.repairs.length === 0) this.#round++;
    return plan.tooYoung === 0 && countCells(standing) === countCells(comparison);
  }

  #read(signal: AbortSignal | undefined): Promise<PartitionComparison> {
    const readers = openReaders(this.#table, this.#ports, this.#options);
    const pages = (reader: TableReader) => readPartition(reader, this.#table, this.#keyValues, signal);
    return comparePartition(this.#table, pages(readers.origin), pages(readers.target), {
      compareWriteTime: this.#options.compareWriteTime,
      maxRows: this.#options.maxRows ?? DEFAULT_MAX_ROWS,
    });
  }

  async #apply({ cluster, text, values }: Repair, nowInSeconds: number, signal?: AbortSignal): Promise<void> {
    const { originWriteConsistency, targetWriteConsistency } = this.#options;
    const session = this.#ports[cluster];
    const statement = await session.prepare(text);
    await session.execute(statement, values, {
      consistency: cluster === 'origin' ? originWriteConsistency : targetWriteConsistency,
      routingKey: serializeKey(this.#keyValues),
      ...(session.protocolVersion >= 5 ? { nowInSeconds } : {}),
      ...(signal ? { signal } : {}),
    });
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

function bytesOf({ rows }: PartitionComparison): number {
  let bytes = 0;
  for (const { clustering, cells } of rows) {
    bytes += ROW_BYTES;
    for (const value of clustering) bytes += value.length;
    for (const { origin, target } of cells) {
      bytes += CELL_BYTES + (origin.value?.length ?? 0) + (target.value?.length ?? 0);
      bytes += (origin.writeTimes?.length ?? 0) + (target.writeTimes?.length ?? 0);
    }
  }
  return bytes;
}
