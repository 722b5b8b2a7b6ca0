import { encodeBigint, encodeInt } from '../cql/value-codec.ts';
import { type ColumnDefinition, quoteIdentifier } from '../model/table-schema.ts';
import type { CellDifference, PartitionComparison, RowDifference } from './compare-partition.ts';
import type { ComparedTable } from './compared-table.ts';
import type { ComparedCell } from './selected-row.ts';

/** The cluster whose state is right: the primary of the phase in force. */
export type Authority = 'origin' | 'target';

/** One statement that makes the clusters more alike. All its values are bound, timestamp and TTL among them. */
export interface Repair {
  readonly cluster: Authority;
  readonly text: string;
  readonly values: readonly Uint8Array[];
}

/** No clock that is right is ahead by so much. */
const AHEAD_SECONDS = 60;

export interface RepairPlan {
  readonly repairs: readonly Repair[];
  /** Differences left alone because one of their cells is newer than `settledMicros`: a write may be on its way. */
  readonly tooYoung: number;
}

export interface RepairOptions {
  readonly authority: Authority;
  /**
   * `own`: the authority's cells with their own write times, and tombstones at the write time of the cell that must
   * go. `again`: what did not yield to that, because the other cluster holds something newer that CQL does not show (a
   * deletion) or a newer cell: the authority's value is written to both, at `settledMicros`, so that they end alike.
   */
  readonly round: 'own' | 'again';
  /**
   * Read time less the time that a write needs to arrive. What CQL can't read a write time of is written at this one,
   * so a write of the application that is younger survives. Microseconds.
   */
  readonly settledMicros: bigint;
  /** The instant that remaining TTLs count from. Seconds since the epoch. */
  readonly nowSeconds: number;
}

/** The statements for one partition's differences. Never a timestamp of "now": a fresh write is never reverted. */
export function planRepairs(
  table: ComparedTable,
  keyValues: readonly Uint8Array[],
  comparison: PartitionComparison,
  options: RepairOptions,
): RepairPlan {
  const repairs: Repair[] = [];
  let tooYoung = 0;
  for (const row of comparison.rows) {
    const place = new RowPlace(table, keyValues, row);
    if (row.cells.length === 0) {
      repairs.push(repairMarker(place, row, options));
      continue;
    }
    for (const cell of row.cells) {
      const own = repairCell(place, row, cell, options);
      if (own.length === 0) tooYoung++;
      repairs.push(...own);
    }
  }
  return { repairs, tooYoung };
}

/** A row that has no cell on the one side and does not exist on the other: its marker, whose time can't be read. */
function repairMarker(place: RowPlace, row: RowDifference, options: RepairOptions): Repair {
  const cluster = other(options.authority);
  const existsAtAuthority = (row.kind === 'onlyInOrigin') === (options.authority === 'origin');
  return existsAtAuthority
    ? { cluster, ...place.insertMarker(options.settledMicros) }
    : { cluster, ...place.deleteRow(options.settledMicros) };
}

function repairCell(place: RowPlace, row: RowDifference, difference: CellDifference, options: RepairOptions): Repair[] {
  const { authority, round, settledMicros } = options;
  const { column } = difference;
  const right = difference[authority];
  const wrong = difference[other(authority)];
  const loser = other(authority);
  const hasOwnTime = column.timed === 'single';
  const isCopyOfAhead = round === 'own' && right.value !== null && hasOwnTime && isAhead(right, options.nowSeconds);
  if (!isCopyOfAhead && (isYounger(right, settledMicros) || isYounger(wrong, settledMicros))) return [];
  if (right.value === null) {
    // A tombstone beats a cell of the same time, so the cell's own time is enough and reaches nothing newer.
    const at = hasOwnTime && wrong.writeTimeMicros !== undefined ? wrong.writeTimeMicros : settledMicros;
    return [{ cluster: loser, ...place.deleteCell(column, at) }];
  }
  const ttlSeconds = remainingTtl(right, row, authority, options.nowSeconds);
  if (ttlSeconds === undefined) return [];
  const own = right.writeTimeMicros;
  const canWin = hasOwnTime && own !== undefined && (wrong.writeTimeMicros ?? own) <= own;
  if (round === 'own' && canWin) return [{ cluster: loser, ...place.writeCell(column, right.value, own, ttlSeconds) }];
  if (isCopyOfAhead) return [];
  const again = place.writeCell(column, right.value, settledMicros, ttlSeconds);
  // Of a column whose write times can't be compared only the value has to become the same.
  if (column.timed === 'none') return [{ cluster: loser, ...again }];
  return [
    { cluster: loser, ...again },
    { cluster: authority, ...again },
  ];
}

function isYounger(cell: ComparedCell, micros: bigint): boolean {
  return cell.writeTimeMicros !== undefined && cell.writeTimeMicros > micros;
}

/**
 * A write time that is ahead of the clock (the writer's was) says nothing of the cell's age: it would be too young for as
 * long. Writing it to the other cluster once more, at its own time, is what its copy does.
 */
function isAhead(cell: ComparedCell, nowSeconds: number): boolean {
  return isYounger(cell, BigInt(nowSeconds + AHEAD_SECONDS) * 1_000_000n);
}

/**
 * What is left of the cell's life; 0: it does not expire; undefined: it is over. Before Cassandra 5.0 the TTL of a
 * multi-cell column can't be read: it gets the longest of its row when all the rest of that row's differing cells expire.
 */
function remainingTtl(
  cell: ComparedCell,
  row: RowDifference,
  authority: Authority,
  nowSeconds: number,
): number | undefined {
  const timed = cell.writeTimes === null ? row.cells.map((each) => each[authority]).filter(hasTimes) : [cell];
  const expiries = timed.map((each) => {
    const known = each.expiresAtSeconds.filter((expiry) => expiry !== null);
    return known.length > 0 && known.length === each.expiresAtSeconds.length ? Math.max(...known) : undefined;
  });
  if (expiries.length === 0 || expiries.some((expiry) => expiry === undefined)) return 0;
  const left = Math.max(...(expiries as number[])) - nowSeconds;
  return left > 0 ? left : undefined;
}

function hasTimes(cell: ComparedCell): boolean {
  return cell.value !== null && cell.writeTimes !== null;
}

function other(cluster: Authority): Authority {
  return cluster === 'origin' ? 'target' : 'origin';
}

type Bound = Omit<Repair, 'cluster'>;

/** A row's address in CQL, and the statements that change it. */
class RowPlace {
  readonly #name: string;
  readonly #where: string;
  readonly #keys: readonly Uint8Array[];
  readonly #keyNames: string;

  constructor(table: ComparedTable, keyValues: readonly Uint8Array[], row: RowDifference) {
    const { schema } = table;
    const columns: readonly ColumnDefinition[] = row.isStatic
      ? schema.partitionKey
      : [...schema.partitionKey, ...schema.clustering];
    const names = columns.map((column) => quoteIdentifier(column.name));
    this.#name = `${quoteIdentifier(schema.keyspace)}.${quoteIdentifier(schema.table)}`;
    this.#where = names.map((name) => `${name} = ?`).join(' AND ');
    this.#keyNames = names.join(', ');
    this.#keys = row.isStatic ? keyValues : [...keyValues, ...row.clustering];
  }

  writeCell(column: ColumnDefinition, value: Uint8Array, micros: bigint, ttlSeconds: number): Bound {
    return {
      text: `UPDATE ${this.#name} USING TIMESTAMP ? AND TTL ? SET ${quoteIdentifier(column.name)} = ? WHERE ${this.#where}`,
      values: [encodeBigint(micros), encodeInt(ttlSeconds), value, ...this.#keys],
    };
  }

  deleteCell(column: ColumnDefinition, micros: bigint): Bound {
    return {
      text: `DELETE ${quoteIdentifier(column.name)} FROM ${this.#name} USING TIMESTAMP ? WHERE ${this.#where}`,
      values: [encodeBigint(micros), ...this.#keys],
    };
  }

  insertMarker(micros: bigint): Bound {
    const markers = this.#keys.map(() => '?').join(', ');
    return {
      text: `INSERT INTO ${this.#name} (${this.#keyNames}) VALUES (${markers}) USING TIMESTAMP ? AND TTL ?`,
      values: [...this.#keys, encodeBigint(micros), encodeInt(0)],
    };
  }

  deleteRow(micros: bigint): Bound {
    return {
      text: `DELETE FROM ${this.#name} USING TIMESTAMP ? WHERE ${this.#where}`,
      values: [encodeBigint(micros), ...this.#keys],
    };
  }
}
