import { createHash } from 'node:crypto';
import { bodyOf, flagsOf } from '#core/cql/frame.ts';
import { decodeResult, type RowsMetadata, responseOffset } from '#core/cql/result-message.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';

type Row = readonly (Buffer | null)[];

interface Rows {
  readonly metadata: RowsMetadata;
  readonly rows: readonly Row[];
}

/** How much of a difference may be told: numbers and names of columns, never a value. */
export interface Difference {
  readonly primaryRows: number;
  readonly shadowRows: number;
  /** Where both sides have as many rows: the columns whose values differ. */
  readonly columns: readonly string[];
  /** Of what each side said; the same again means that nothing has changed. */
  readonly digest: string;
}

/**
 * `columns`: the tables themselves differ in names or types of columns. `partial`: at least one side has only its first
 * rows, and the order of the two clusters' tokens is not known to be the same.
 */
export type Comparison =
  | { readonly kind: 'equal' }
  | { readonly kind: 'different'; readonly difference: Difference }
  | { readonly kind: 'incomparable'; readonly reason: 'columns' | 'partial' | 'notRows' };

export interface CompareOptions {
  readonly version: number;
  /** The statement asks for an order. */
  readonly isOrdered: boolean;
  /** Rows of several partitions come in the same order on both clusters. */
  readonly sameTokenOrder: boolean;
}

/**
 * Compares what two clusters answered to the same SELECT, cell by cell as bytes. Order counts where the statement asks
 * for one, and where a side has only the first page, of which the common beginning is compared.
 * @throws ProtocolError when a frame is broken
 */
export function compareResults(primary: Buffer, shadow: Buffer, options: CompareOptions): Comparison {
  const { version } = options;
  const left = rowsOf(primary, version);
  const right = rowsOf(shadow, version);
  if (left === undefined || right === undefined) return { kind: 'incomparable', reason: 'notRows' };
  const order = columnOrder(left.metadata, right.metadata);
  if (order === undefined) return { kind: 'incomparable', reason: 'columns' };
  const isPartial = left.metadata.pagingState !== undefined || right.metadata.pagingState !== undefined;
  if (isPartial && !options.sameTokenOrder) return { kind: 'incomparable', reason: 'partial' };
  const reordered = order === 'same' ? right.rows : right.rows.map((row) => order.map((index) => row[index] ?? null));
  const sides = isPartial
    ? commonBeginning(left, { ...right, rows: reordered })
    : { primary: left.rows, shadow: reordered };
  const primaryKeys = sides.primary.map(keyOf);
  const shadowKeys = sides.shadow.map(keyOf);
  const isOrdered = options.isOrdered || isPartial;
  if (sameSequence(primaryKeys, shadowKeys)) return { kind: 'equal' };
  if (!isOrdered && sameSequence(primaryKeys.toSorted(), shadowKeys.toSorted())) return { kind: 'equal' };
  return {
    kind: 'different',
    difference: {
      primaryRows: sides.primary.length,
      shadowRows: sides.shadow.length,
      columns: differingColumns(sides.primary, sides.shadow, left.metadata.columns ?? right.metadata.columns),
      digest: digestOf(primaryKeys, shadowKeys),
    },
  };
}

function rowsOf(frame: Buffer, version: number): Rows | undefined {
  const body = bodyOf(frame);
  const result = decodeResult(body, version, responseOffset(flagsOf(frame), body));
  return result.kind === 'rows' ? result : undefined;
}

/**
 * For each column of the primary its index on the shadow. Without metadata (the client knows it from PREPARED) the order
 * is the table's own, which names and kinds of columns determine.
 */
function columnOrder(primary: RowsMetadata, shadow: RowsMetadata): readonly number[] | 'same' | undefined {
  if (primary.columnCount !== shadow.columnCount) return undefined;
  const { columns } = primary;
  const others = shadow.columns;
  if (columns === undefined || others === undefined) return 'same';
  if (columns.every((column, index) => isSame(column, others[index]!))) return 'same';
  const order = columns.map((column) => others.findIndex((other) => isSame(column, other)));
  // A name that is selected twice yields the same values twice.
  return order.includes(-1) ? undefined : order;
}

function isSame(column: ResultColumn, other: ResultColumn): boolean {
  return column.name === other.name && JSON.stringify(column.type) === JSON.stringify(other.type);
}

/** A side that has all of its rows, and fewer than the other one, lacks some: then more than its beginning is looked at. */
function commonBeginning(primary: Rows, shadow: Rows): { primary: readonly Row[]; shadow: readonly Row[] } {
  const shorter = primary.rows.length <= shadow.rows.length ? primary : shadow;
  const isWhole = shorter.metadata.pagingState === undefined;
  const count = isWhole ? Math.max(primary.rows.length, shadow.rows.length) : shorter.rows.length;
  return { primary: primary.rows.slice(0, count), shadow: shadow.rows.slice(0, count) };
}

/** Equal for equal rows only: every value goes in with its length. */
function keyOf(row: Row): string {
  let key = '';
  for (const value of row) key += value === null ? '-;' : `${value.length}:${value.toString('latin1')}`;
  return key;
}

function sameSequence(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((key, index) => key === right[index]);
}

function differingColumns(
  primary: readonly Row[],
  shadow: readonly Row[],
  columns: readonly ResultColumn[] | undefined,
): string[] {
  if (primary.length !== shadow.length) return [];
  const differing = new Set<number>();
  for (const [index, row] of primary.entries()) {
    const other = shadow[index]!;
    for (const [column, value] of row.entries()) if (!isEqual(value, other[column] ?? null)) differing.add(column);
  }
  return [...differing].sort((a, b) => a - b).map((index) => columns?.[index]?.name ?? `#${index + 1}`);
}

function isEqual(left: Buffer | null, right: Buffer | null): boolean {
  return left === null || right === null ? left === right : left.equals(right);
}

function digestOf(primary: readonly string[], shadow: readonly string[]): string {
  const hash = createHash('sha256');
  for (const keys of [primary, shadow]) {
    hash.update(`${keys.length};`);
    for (const key of keys.toSorted()) hash.update(key, 'latin1');
  }
  return hash.digest('base64');
}
