/** Merges the versions of one row that several SSTables hold, under the deletion that is in force there (Rows.merge). */

import type { CompareBytes } from '../model/compare-value.ts';
import { comparatorOf } from '../model/compare-value.ts';
import { type CqlType, isMultiCell } from '../model/cql-type.ts';
import type { Cell, ColumnData, Deletion, Liveness, Row } from '../model/row.ts';
import type { ColumnDefinition, TableSchema } from '../model/table-schema.ts';
import { covers, reconcileCells, strongerDeletion, strongerLiveness } from './reconcile.ts';

interface ColumnRule {
  readonly isMultiCell: boolean;
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
    isMultiCell: isMultiCell(column.type),
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
    const columns: ColumnData[] = [];
    for (const [column, parts] of byColumn(versions)) {
      const merged = mergeColumn(column, parts, rules[column]!, inForce);
      if (merged !== undefined) columns.push(merged);
    }
    const row: Row = {
      kind: 'row',
      isStatic: first.isStatic,
      clustering: first.clustering,
      liveness,
      deletion,
      columns,
    };
    return isEmpty(row) ? undefined : row;
  };
}

function hasNoDeletion(row: Row): boolean {
  return row.deletion === undefined && row.columns.every((column) => column.deletion === undefined);
}

function isEmpty(row: Row): boolean {
  return row.liveness === undefined && row.deletion === undefined && row.columns.length === 0;
}

function byColumn(versions: readonly Row[]): [number, ColumnData[]][] {
  if (versions.length === 1) return versions[0]!.columns.map((data) => [data.column, [data]]);
  const parts = new Map<number, ColumnData[]>();
  for (const version of versions) {
    for (const data of version.columns) {
      const known = parts.get(data.column);
      if (known === undefined) parts.set(data.column, [data]);
      else known.push(data);
    }
  }
  return [...parts].sort((left, right) => left[0] - right[0]);
}

function mergeColumn(
  column: number,
  parts: readonly ColumnData[],
  rule: ColumnRule,
  inForce: Deletion | undefined,
): ColumnData | undefined {
  const isDead = (timestampMicros: bigint) =>
    rule.droppedAtMicros !== undefined && timestampMicros <= rule.droppedAtMicros;
  let deletion: Deletion | undefined;
  for (const part of parts) {
    if (part.deletion !== undefined && !isDead(part.deletion.timestampMicros)) {
      deletion = strongerDeletion(deletion, part.deletion);
    }
  }
  if (deletion !== undefined && covers(inForce, deletion.timestampMicros)) deletion = undefined;
  const cover = deletion ?? inForce;
  const cells: Cell[] = [];
  for (const cell of rule.isMultiCell ? mergeElements(parts, rule.comparePaths, isDead) : [mergeCell(parts, isDead)]) {
    if (cell !== undefined && !covers(cover, cell.timestampMicros)) cells.push(cell);
  }
  return cells.length > 0 || deletion !== undefined ? { column, deletion, cells } : undefined;
}

function mergeCell(parts: readonly ColumnData[], isDead: (timestampMicros: bigint) => boolean): Cell | undefined {
  let winner: Cell | undefined;
  for (const part of parts) {
    for (const cell of part.cells) {
      if (isDead(cell.timestampMicros)) continue;
      winner = winner === undefined ? cell : reconcileCells(winner, cell);
    }
  }
  return winner;
}

function mergeElements(
  parts: readonly ColumnData[],
  comparePaths: CompareBytes,
  isDead: (timestampMicros: bigint) => boolean,
): Cell[] {
  const all: Cell[] = [];
  for (const part of parts) for (const cell of part.cells) if (!isDead(cell.timestampMicros)) all.push(cell);
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
