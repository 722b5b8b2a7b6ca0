/** Merges the versions of one row that several SSTables hold, under the deletion that is in force there (Rows.merge). */

import type { CompareBytes } from '../model/compare-value.ts';
import { comparatorOf } from '../model/compare-value.ts';
import type { CqlType } from '../model/cql-type.ts';
import type { Cell, Deletion, Liveness, MultiCell, Row } from '../model/row.ts';
import type { ColumnDefinition, TableSchema } from '../model/table-schema.ts';
import { covers, reconcileCells, strongerDeletion, strongerLiveness } from './reconcile.ts';

interface ColumnRule {
  readonly comparePaths: CompareBytes;
  /** Cells written up to and including this are dead: the column was dropped then, and added again later. */
  readonly droppedAtMicros?: bigint;
}

const TIMEUUID: CqlType = { kind: 'native', name: 'timeuuid' };
const BLOB: CqlType = { kind: 'native', name: 'blob' };

function pathType(type: CqlType): CqlType {
  if (type.kind === 'list') return TIMEUUID;
  if (type.kind === 'set') return type.element;
  return type.kind === 'map' ? type.key : BLOB;
}

function rulesOf(columns: readonly ColumnDefinition[], schema: TableSchema): ColumnRule[] {
  return columns.map((column) => ({
    comparePaths: comparatorOf(pathType(column.type)),
    droppedAtMicros: schema.droppedColumns.find((dropped) => dropped.name === column.name)?.droppedAtMicros,
  }));
}

/** Merges versions of one row; `active` is the partition's or range tombstone's deletion there. undefined: nothing is left. */
export type MergeRows = (versions: readonly Row[], active: Deletion | undefined) => Row | undefined;

/** The merge for the rows of one table. */
export function createRowMerge(schema: TableSchema): MergeRows {
  const regular = rulesOf(schema.regularColumns, schema);
  const statics = rulesOf(schema.staticColumns, schema);
  const anyDropped = [...regular, ...statics].some((rule) => rule.droppedAtMicros !== undefined);

  return (versions, active) => {
    const first = versions[0]!;
    if (versions.length === 1 && active === undefined && !anyDropped && hasNoDeletion(first)) {
      return isEmpty(first) ? undefined : first;
    }
    let deletion: Deletion | undefined;
    let liveness: Liveness | undefined;
    for (const version of versions) {
      deletion = strongerDeletion(deletion, version.deletion);
      liveness = strongerLiveness(liveness, version.liveness);
    }
    if (deletion !== undefined && covers(active, deletion.timestampMicros)) deletion = undefined;
    const inForce = deletion ?? active;
    if (liveness !== undefined && covers(inForce, liveness.timestampMicros)) liveness = undefined;
    const rules = first.isStatic ? statics : regular;
    const cells: Cell[] = [];
    for (const cell of mergeCells(versions, rules)) if (!covers(inForce, cell.timestampMicros)) cells.push(cell);
    const multiCells: MultiCell[] = [];
    for (const parts of multiCellsByColumn(versions)) {
      const merged = mergeMultiCell(parts, rules[parts[0]!.column]!, inForce);
      if (merged !== undefined) multiCells.push(merged);
    }
    const row: Row = {
      kind: 'row',
      isStatic: first.isStatic,
      clustering: first.clustering,
      liveness,
      deletion,
      cells,
      multiCells,
    };
    return isEmpty(row) ? undefined : row;
  };
}

function hasNoDeletion(row: Row): boolean {
  return row.deletion === undefined && row.multiCells.every(({ deletion }) => deletion === undefined);
}

function isEmpty(row: Row): boolean {
  return row.liveness === undefined && row.deletion === undefined && row.cells.length + row.multiCells.length === 0;
}

function isDead(timestampMicros: bigint, { droppedAtMicros }: ColumnRule): boolean {
  return droppedAtMicros !== undefined && timestampMicros <= droppedAtMicros;
}

/** The winner of each simple column, ascending by column. */
function mergeCells(versions: readonly Row[], rules: readonly ColumnRule[]): Cell[] {
  const winners: Cell[] = [];
  const at = versions.map(() => 0);
  for (;;) {
    let column = Number.MAX_SAFE_INTEGER;
    for (let index = 0; index < versions.length; index++) {
      const cell = versions[index]!.cells[at[index]!];
      if (cell !== undefined && cell.column < column) column = cell.column;
    }
    if (column === Number.MAX_SAFE_INTEGER) return winners;
    let winner: Cell | undefined;
    for (let index = 0; index < versions.length; index++) {
      const cell = versions[index]!.cells[at[index]!];
      if (cell?.column !== column) continue;
      at[index] = at[index]! + 1;
      if (isDead(cell.timestampMicros, rules[column]!)) continue;
      winner = winner === undefined ? cell : reconcileCells(winner, cell);
    }
    if (winner !== undefined) winners.push(winner);
  }
}

/** The versions of each multi-cell column, ascending by column. */
function multiCellsByColumn(versions: readonly Row[]): MultiCell[][] {
  if (versions.length === 1) return versions[0]!.multiCells.map((data) => [data]);
  const parts = new Map<number, MultiCell[]>();
  for (const version of versions) {
    for (const data of version.multiCells) {
      const known = parts.get(data.column);
      if (known === undefined) parts.set(data.column, [data]);
      else known.push(data);
    }
  }
  return [...parts.values()].sort((left, right) => left[0]!.column - right[0]!.column);
}

function mergeMultiCell(
  parts: readonly MultiCell[],
  rule: ColumnRule,
  inForce: Deletion | undefined,
): MultiCell | undefined {
  let deletion: Deletion | undefined;
  for (const part of parts) {
    if (part.deletion !== undefined && !isDead(part.deletion.timestampMicros, rule)) {
      deletion = strongerDeletion(deletion, part.deletion);
    }
  }
  if (deletion !== undefined && covers(inForce, deletion.timestampMicros)) deletion = undefined;
  const cover = deletion ?? inForce;
  const cells = mergeElements(parts, rule).filter((cell) => !covers(cover, cell.timestampMicros));
  return cells.length > 0 || deletion !== undefined ? { column: parts[0]!.column, deletion, cells } : undefined;
}

function mergeElements(parts: readonly MultiCell[], rule: ColumnRule): Cell[] {
  const { comparePaths } = rule;
  const all: Cell[] = [];
  for (const part of parts) for (const cell of part.cells) if (!isDead(cell.timestampMicros, rule)) all.push(cell);
  if (parts.length === 1) return all;
  all.sort((left, right) => comparePaths(left.path!, right.path!));
  const merged: Cell[] = [];
  for (const cell of all) {
    const last = merged.at(-1);
    if (last !== undefined && comparePaths(last.path!, cell.path!) === 0) {
      merged[merged.length - 1] = reconcileCells(last, cell);
    } else merged.push(cell);
  }
  return merged;
}
