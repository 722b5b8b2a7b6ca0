import { decodeBigint, decodeInt, encodeBigint, encodeInt } from '../cql/value-codec.ts';
import { quoteIdentifier } from '../model/table-schema.ts';
import type { Fragment, TouchedRow } from './touched-rows.ts';

/** A touched row and what the cluster that is right says of it, in the order of `readOf`; undefined: it has no such row. */
export interface ReadRow {
  readonly row: TouchedRow;
  readonly values: readonly (Uint8Array | null)[] | undefined;
}

/** Write times for what can't be read. */
export interface CopyTimes {
  /** Of the write itself, where it is known; else it is taken from the cells that were read. Microseconds. */
  readonly ownMicros?: bigint;
  /** Taken from the one generator after the write's answer and before the first read. Microseconds. */
  readonly clockMicros: bigint;
}

export interface RowsCopy {
  /** Mutations, each with its own write time: in any order and any number of times they end in the same cells. */
  readonly statements: readonly Fragment[];
  /** False: some write times are of the proxy's clock or some cells are left out, so the table must be validated. */
  readonly isExact: boolean;
  /** Some of what it writes expires. */
  readonly hasTtl: boolean;
}

/** The SELECT of what a mutation wrote: `cells` with write time and TTL, then `collections`. */
export function readOf(row: TouchedRow): Fragment {
  const cells = row.cells.flatMap((column) => {
    const name = quoteIdentifier(column);
    return [name, `writetime(${name})`, `ttl(${name})`];
  });
  const selected = [...cells, ...row.collections.map(quoteIdentifier)];
  if (selected.length === 0) selected.push(quoteIdentifier(row.key[0]!.column));
  const { text, values } = whereOf(row);
  const limit = row.isStatic ? ' LIMIT 1' : '';
  return { text: `SELECT ${selected.join(', ')} FROM ${row.table}${text}${limit}`, values };
}

interface LiveCell {
  readonly column: string;
  readonly value: Uint8Array;
  readonly atMicros: bigint;
  /** 0: it never expires. */
  readonly ttlSeconds: number;
}

/**
 * The mutations that give another cluster the cells that were read, with their own write times and remaining lives. What
 * is gone has no write time to read: it is deleted at the earliest one among the live cells of the same write, which a
 * serial read shows to be no older than the write and no newer than anything it did not see.
 */
export function copyOf(reads: readonly ReadRow[], times: CopyTimes): RowsCopy {
  const live = reads.map(({ row, values }) => (values ? liveCells(row, values) : []));
  const written = reads.flatMap(({ row }, index) => (row.isDeletion ? [] : live[index]!));
  const ownMicros = times.ownMicros ?? earliest(written);
  const statements: Fragment[] = [];
  let isExact = true;
  for (const [index, { row, values }] of reads.entries()) {
    const copy = row.isDeletion
      ? copyDeletion(row, live[index]!, values !== undefined, { ...times, ownMicros })
      : copyRow(row, live[index]!, values, { ...times, ownMicros });
    statements.push(...copy.statements);
    isExact &&= copy.isExact;
  }
  return { statements, isExact, hasTtl: live.flat().some(({ ttlSeconds }) => ttlSeconds > 0) };
}

type RowCopy = Omit<RowsCopy, 'hasTtl'>;
type Times = CopyTimes & { readonly ownMicros: bigint | undefined };

function copyRow(
  row: TouchedRow,
  live: readonly LiveCell[],
  values: ReadRow['values'],
  { ownMicros, clockMicros }: Times,
): RowCopy {
  // Somebody has deleted the new row since, and that deletion is copied by itself.
  if (row.hasMarker && values === undefined) return { statements: [], isExact: true };
  const atMicros = ownMicros ?? clockMicros;
  const statements: Fragment[] = [];
  let isExact = true;
  const groups = Map.groupBy(live, ({ atMicros: at, ttlSeconds }) => `${at} ${ttlSeconds}`);
  let isMarked = !row.hasMarker;
  for (const cells of groups.values()) {
    const isOwn = !isMarked && cells[0]!.atMicros === ownMicros;
    statements.push(isOwn ? insertOf(row, cells) : updateOf(row, cells));
    isMarked ||= isOwn;
  }
  if (!isMarked) {
    // Its life can't be read where none of its own cells is left.
    if (row.hasTtl) isExact = false;
    else statements.push(markerOf(row, atMicros));
  }
  const alive = new Set(live.map(({ column }) => column));
  const gone = row.cells.filter((column) => !alive.has(column));
  if (gone.length > 0) statements.push(deletionOf(row, gone, atMicros));
  if (ownMicros === undefined && (gone.length > 0 || !isMarked)) isExact = false;
  for (const [index, column] of row.collections.entries()) {
    isExact = false;
    const value = values?.[row.cells.length * 3 + index];
    if (!value) statements.push(deletionOf(row, [column], clockMicros));
    // The lives of its elements can't be read.
    else if (!row.hasTtl) statements.push(collectionOf(row, column, value, clockMicros));
  }
  return { statements, isExact };
}

/** Where the row is back already, what is older than its cells is deleted, and no more. */
function copyDeletion(row: TouchedRow, live: readonly LiveCell[], isThere: boolean, times: Times): RowCopy {
  const atMicros = times.ownMicros ?? times.clockMicros;
  if (!isThere) return { statements: [deletionOf(row, [], atMicros)], isExact: times.ownMicros !== undefined };
  const first = earliest(live);
  if (first === undefined) return { statements: [], isExact: false };
  return { statements: [deletionOf(row, [], first <= atMicros ? first - 1n : atMicros)], isExact: false };
}

function liveCells(row: TouchedRow, values: readonly (Uint8Array | null)[]): LiveCell[] {
  return row.cells.flatMap((column, index) => {
    const [value, writtenAt, ttl] = [values[index * 3], values[index * 3 + 1], values[index * 3 + 2]];
    if (!value || !writtenAt) return [];
    return [{ column, value, atMicros: decodeBigint(writtenAt), ttlSeconds: ttl ? decodeInt(ttl) : 0 }];
  });
}

function earliest(cells: readonly LiveCell[]): bigint | undefined {
  let first: bigint | undefined;
  for (const { atMicros } of cells) if (first === undefined || atMicros < first) first = atMicros;
  return first;
}

function whereOf(row: TouchedRow): Fragment {
  return {
    text: ` WHERE ${row.key.map(({ column, term }) => `${quoteIdentifier(column)} = ${term.text}`).join(' AND ')}`,
    values: row.key.flatMap(({ term }) => term.values),
  };
}

// A TTL of 0 says "none", also where the table has a default.
const USING = 'USING TIMESTAMP ? AND TTL ?';

function usingValues({ atMicros, ttlSeconds }: LiveCell): Uint8Array[] {
  return [encodeBigint(atMicros), encodeInt(ttlSeconds)];
}

function insertOf(row: TouchedRow, cells: readonly LiveCell[]): Fragment {
  const names = [...row.key, ...cells].map(({ column }) => quoteIdentifier(column));
  const terms = [...row.key.map(({ term }) => term.text), ...cells.map(() => '?')];
  const values = [...row.key.flatMap(({ term }) => term.values), ...cells.map(({ value }) => value)];
  return {
    text: `INSERT INTO ${row.table} (${names.join(', ')}) VALUES (${terms.join(', ')}) ${USING}`,
    values: [...values, ...usingValues(cells[0]!)],
  };
}

function markerOf(row: TouchedRow, atMicros: bigint): Fragment {
  const names = row.key.map(({ column }) => quoteIdentifier(column));
  const terms = row.key.map(({ term }) => term.text);
  return {
    text: `INSERT INTO ${row.table} (${names.join(', ')}) VALUES (${terms.join(', ')}) USING TIMESTAMP ?`,
    values: [...row.key.flatMap(({ term }) => term.values), encodeBigint(atMicros)],
  };
}

function updateOf(row: TouchedRow, cells: readonly LiveCell[]): Fragment {
  const where = whereOf(row);
  const sets = cells.map(({ column }) => `${quoteIdentifier(column)} = ?`).join(', ');
  return {
    text: `UPDATE ${row.table} ${USING} SET ${sets}${where.text}`,
    values: [...usingValues(cells[0]!), ...cells.map(({ value }) => value), ...where.values],
  };
}

function collectionOf(row: TouchedRow, column: string, value: Uint8Array, atMicros: bigint): Fragment {
  const where = whereOf(row);
  return {
    text: `UPDATE ${row.table} USING TIMESTAMP ? SET ${quoteIdentifier(column)} = ?${where.text}`,
    values: [encodeBigint(atMicros), value, ...where.values],
  };
}

/** Of the columns, or of the whole row when none is named. */
function deletionOf(row: TouchedRow, columns: readonly string[], atMicros: bigint): Fragment {
  const where = whereOf(row);
  const what = columns.length === 0 ? '' : `${columns.map(quoteIdentifier).join(', ')} `;
  return {
    text: `DELETE ${what}FROM ${row.table} USING TIMESTAMP ?${where.text}`,
    values: [encodeBigint(atMicros), ...where.values],
  };
}
