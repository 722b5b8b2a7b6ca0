/** Counters of one row of the target: how they are read, and how they are brought to what they should be. */

import type { Row } from '../model/row.ts';
import { type ColumnDefinition, quoteIdentifier, type TableSchema } from '../model/table-schema.ts';
import { counterTotal } from '../sstable/counter-context.ts';

/** Totals by column index; a column that is deleted or was never counted is not there. */
export type CounterTotals = ReadonlyMap<number, bigint>;

/** The totals of a merged row's live counters. */
export function totalsOf(row: Row): CounterTotals {
  const totals = new Map<number, bigint>();
  for (const cell of row.cells) if (!cell.isTombstone) totals.set(cell.column, counterTotal(cell.value));
  return totals;
}

/** One row of the target. */
export interface CounterRow {
  readonly isStatic: boolean;
  /** Partition key and clustering, for the markers of WHERE. */
  readonly place: readonly (Uint8Array | null)[];
}

export interface CounterStatements {
  select(row: CounterRow): string;
  /** Adds to these columns, ascending; one marker for each, then those of WHERE. */
  update(row: CounterRow, columns: readonly number[]): string;
}

export function createCounterStatements(schema: TableSchema): CounterStatements {
  const table = `${quoteIdentifier(schema.keyspace)}.${quoteIdentifier(schema.table)}`;
  const where = (columns: readonly { readonly name: string }[]) =>
    columns.map(({ name }) => `${quoteIdentifier(name)} = ?`).join(' AND ');
  const wherePartition = where(schema.partitionKey);
  const whereRow = where([...schema.partitionKey, ...schema.clustering]);
  const select = (columns: readonly ColumnDefinition[], place: string) =>
    `SELECT ${columns.map(({ name }) => quoteIdentifier(name)).join(', ')} FROM ${table} WHERE ${place}`;
  const [ofRow, ofPartition] = [
    select(schema.regularColumns, whereRow),
    `${select(schema.staticColumns, wherePartition)} LIMIT 1`,
  ];
  return {
    select: ({ isStatic }) => (isStatic ? ofPartition : ofRow),
    update({ isStatic }, columns) {
      const all = isStatic ? schema.staticColumns : schema.regularColumns;
      const names = columns.map((column) => quoteIdentifier(all[column]!.name));
      const sets = names.map((name) => `${name} = ${name} + ?`).join(', ');
      return `UPDATE ${table} SET ${sets} WHERE ${isStatic ? wherePartition : whereRow}`;
    },
  };
}

/** What a row of `select` says. */
export function totalsOfResult(values: readonly (Uint8Array | null)[] | undefined): CounterTotals {
  const totals = new Map<number, bigint>();
  for (const [column, value] of (values ?? []).entries()) if (value !== null) totals.set(column, readInt64(value));
  return totals;
}

/**
 * What to add so that the target has what the origin has, by column, ascending; empty when it has. A counter of zero that
 * the target lacks gets a zero added, so that it exists. Counters that only the target has are left.
 */
export function deltasOf(wanted: CounterTotals, found: CounterTotals): (readonly [number, bigint])[] {
  return [...wanted]
    .filter(([column, total]) => found.get(column) !== total)
    .map(([column, total]) => [column, BigInt.asIntN(64, total - (found.get(column) ?? 0n))] as const)
    .sort(([left], [right]) => left - right);
}

export function int64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, value);
  return bytes;
}

/** @param bytes eight of them */
export function readInt64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigInt64(0);
}
