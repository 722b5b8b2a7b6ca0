import { clusteringComparators } from '../merge/compare-clustering.ts';
import { equalBytes } from '../model/compare-value.ts';
import { BatchCursor } from './batch-cursor.ts';
import { equalValues } from './canonical-value.ts';
import type { ComparedColumn, ComparedTable } from './compared-table.ts';
import type { DifferenceKind } from './digest-join.ts';
import { equalExpiries } from './row-digest.ts';
import { type ComparedCell, cellOf, clusteringOf, NO_CELL, type RawRow } from './selected-row.ts';

/** Rows that were read with one request, so their TTLs count from one instant. */
export interface SelectedPage {
  readonly rows: readonly RawRow[];
  readonly readAtSeconds: number;
}

/** What of a column differs: it is missing on one side, or the value, else the write time, else the expiry. */
export type CellDifferenceKind = 'onlyInOrigin' | 'onlyInTarget' | 'value' | 'writeTime' | 'expiry';

export interface CellDifference {
  readonly kind: CellDifferenceKind;
  readonly column: ComparedColumn;
  readonly origin: ComparedCell;
  readonly target: ComparedCell;
}

export interface RowDifference {
  readonly kind: DifferenceKind;
  /** The partition's static values; `clustering` is empty then. */
  readonly isStatic: boolean;
  readonly clustering: readonly Uint8Array[];
  /** Of a row that is on one side only, its live columns: none when it is a row marker alone. */
  readonly cells: readonly CellDifference[];
}

export interface PartitionComparison {
  /** undefined: no difference. */
  readonly kind: DifferenceKind | undefined;
  readonly rows: readonly RowDifference[];
  /** More rows differ than `rows` holds. */
  readonly isTruncated: boolean;
}

export interface ComparisonOptions {
  readonly compareWriteTime: boolean;
  /** The most row differences to collect. */
  readonly maxRows: number;
}

interface TimedRow {
  readonly row: RawRow;
  readonly readAtSeconds: number;
  readonly clustering: readonly Uint8Array[];
}

/** Compares one partition column by column. Both streams are in clustering order; memory holds differences only. */
export async function comparePartition(
  table: ComparedTable,
  originPages: AsyncIterable<SelectedPage>,
  targetPages: AsyncIterable<SelectedPage>,
  options: ComparisonOptions,
): Promise<PartitionComparison> {
  const origin = new PartitionSide(table, originPages);
  const target = new PartitionSide(table, targetPages);
  const comparators = clusteringComparators(table.schema.clustering);
  const rows: RowDifference[] = [];
  let isTruncated = false;
  try {
    const [originFirst, targetFirst] = [await origin.first(), await target.first()];
    const statics = compareRow(table, true, originFirst, targetFirst, options);
    if (statics) rows.push(statics);
    for (;;) {
      const o = await origin.row();
      const t = await target.row();
      if (!o && !t) break;
      const order = !t ? -1 : !o ? 1 : compareClusterings(comparators, o.clustering, t.clustering);
      const difference = compareRow(table, false, order <= 0 ? o : undefined, order >= 0 ? t : undefined, options);
      if (difference && rows.length >= options.maxRows) {
        isTruncated = true;
        break;
      }
      if (difference) rows.push(difference);
      if (order <= 0) origin.advance();
      if (order >= 0) target.advance();
    }
    const kind =
      rows.length === 0 ? undefined : !targetFirst ? 'onlyInOrigin' : !originFirst ? 'onlyInTarget' : 'differs';
    return { kind, rows, isTruncated };
  } finally {
    await Promise.all([origin.close(), target.close()]);
  }
}

function compareClusterings(
  comparators: ReturnType<typeof clusteringComparators>,
  a: readonly Uint8Array[],
  b: readonly Uint8Array[],
): number {
  for (let i = 0; i < comparators.length; i++) {
    const order = comparators[i]!(a[i]!, b[i]!);
    if (order !== 0) return order;
  }
  return 0;
}

function compareRow(
  table: ComparedTable,
  isStatic: boolean,
  o: TimedRow | undefined,
  t: TimedRow | undefined,
  options: ComparisonOptions,
): RowDifference | undefined {
  const cells: CellDifference[] = [];
  for (const column of table.columns) {
    if (column.isStatic !== isStatic) continue;
    const origin = o ? cellOf(column, o.row, o.readAtSeconds) : NO_CELL;
    const target = t ? cellOf(column, t.row, t.readAtSeconds) : NO_CELL;
    const kind = compareCells(column, origin, target, options.compareWriteTime);
    if (kind) cells.push({ kind, column, origin, target });
  }
  const clustering = isStatic ? [] : (o ?? t)!.clustering;
  // Static values are no row of their own: a side without them simply has none.
  if (!isStatic && !t) return { kind: 'onlyInOrigin', isStatic, clustering, cells };
  if (!isStatic && !o) return { kind: 'onlyInTarget', isStatic, clustering, cells };
  return cells.length === 0 ? undefined : { kind: 'differs', isStatic, clustering, cells };
}

function compareCells(
  column: ComparedColumn,
  origin: ComparedCell,
  target: ComparedCell,
  compareWriteTime: boolean,
): CellDifferenceKind | undefined {
  if (origin.value === null && target.value === null) return undefined;
  if (origin.value === null) return 'onlyInTarget';
  if (target.value === null) return 'onlyInOrigin';
  if (!equalValues(column.type, origin.value, target.value)) return 'value';
  if (compareWriteTime && !equalNullable(origin.writeTimes, target.writeTimes)) return 'writeTime';
  return equalExpiries(origin.expiresAtSeconds, target.expiresAtSeconds) ? undefined : 'expiry';
}

function equalNullable(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === null || b === null ? a === b : equalBytes(a, b);
}

/** One cluster's rows of the partition. */
class PartitionSide {
  readonly #table: ComparedTable;
  readonly #cursor: BatchCursor<TimedRow>;

  constructor(table: ComparedTable, pages: AsyncIterable<SelectedPage>) {
    this.#table = table;
    this.#cursor = new BatchCursor(this.#timed(pages));
  }

  /** The first row read, which also carries the static values; the cursor stays on it. */
  async first(): Promise<TimedRow | undefined> {
    return this.#cursor.current ?? (await this.#cursor.fill());
  }

  /** The row at hand; passes over the one that stands for a partition without rows. */
  async row(): Promise<TimedRow | undefined> {
    const row = this.#cursor.current ?? (await this.#cursor.fill());
    if (!row || row.clustering.length === this.#table.schema.clustering.length) return row;
    this.#cursor.advance();
    return this.row();
  }

  advance(): void {
    this.#cursor.advance();
  }

  close(): Promise<void> {
    return this.#cursor.close();
  }

  async *#timed(pages: AsyncIterable<SelectedPage>): AsyncGenerator<readonly TimedRow[]> {
    for await (const { rows, readAtSeconds } of pages) {
      yield rows.map((row) => ({ row, readAtSeconds, clustering: clusteringOf(this.#table, row) ?? [] }));
    }
  }
}
