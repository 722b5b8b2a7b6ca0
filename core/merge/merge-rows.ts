/** Merges the versions of one row that several SSTables hold, under the deletion that is in force there (Row.Merger). */

import { type CompareRanges, rangeComparatorOf } from '../model/compare-value.ts';
import type { CqlType } from '../model/cql-type.ts';
import type { Cell, Deletion, Liveness, MultiCell, Row } from '../model/row.ts';
import type { ColumnDefinition, TableSchema } from '../model/table-schema.ts';
import { mergeCells, type ReconcileCells } from './merge-cells.ts';
import { covers, reconcileCells, strongerDeletion, strongerLiveness, supersedes } from './reconcile.ts';
import { reconcileCounterCells } from './reconcile-counters.ts';

interface ColumnRule {
  readonly comparePaths: CompareRanges;
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
    comparePaths: rangeComparatorOf(pathType(column.type)),
    droppedAtMicros: schema.droppedColumns.find((dropped) => dropped.name === column.name)?.droppedAtMicros,
  }));
}

/** Merges versions of one row; `active` is the partition's or range tombstone's deletion there. undefined: nothing is left. */
export type MergeRows = (versions: readonly Row[], active: Deletion | undefined) => Row | undefined;

/**
 * The merge for the rows of one table. It gives a version itself when that says all, which is what copies of one row on
 * several replicas come to; so nothing is made anew unless versions really differ.
 */
export function createRowMerge(schema: TableSchema): MergeRows {
  const regular = rulesOf(schema.regularColumns, schema);
  const statics = rulesOf(schema.staticColumns, schema);
  const anyDropped = [...regular, ...statics].some((rule) => rule.droppedAtMicros !== undefined);
  const reconcile: ReconcileCells = schema.isCounter ? reconcileCounterCells : reconcileCells;

  return (versions, active) => {
    const first = versions[0]!;
    if (versions.length === 1 && active === undefined && !anyDropped && hasNoDeletion(first)) {
      return isEmpty(first) ? undefined : first;
    }
    let { deletion, liveness } = first;
    for (let i = 1; i < versions.length; i++) {
      deletion = strongerDeletion(deletion, versions[i]!.deletion);
      liveness = strongerLiveness(liveness, versions[i]!.liveness);
    }
    if (deletion !== undefined && !supersedes(deletion, active)) deletion = undefined;
    const inForce = deletion ?? active;
    if (liveness !== undefined && covers(inForce, liveness.timestampMicros)) liveness = undefined;
    const rules = first.isStatic ? statics : regular;
    const mayLose = inForce !== undefined || anyDropped;
    // Covered cells go first: a deleted counter must not take part in what was counted after a row's deletion.
    let cells = mayLose ? survivors(first.cells, inForce, rules) : first.cells;
    let { multiCells } = first;
    for (let i = 1; i < versions.length; i++) {
      const version = versions[i]!;
      cells = mergeCells(cells, mayLose ? survivors(version.cells, inForce, rules) : version.cells, reconcile);
      multiCells = mergeMultiCells(multiCells, version.multiCells, rules, reconcile);
    }
    if (multiCells.length > 0) multiCells = prune(multiCells, inForce, rules);
    return pack(versions, first, liveness, deletion, cells, multiCells);
  };
}

/** One of the versions when it is the outcome; undefined when nothing is left. */
function pack(
  versions: readonly Row[],
  { isStatic, clustering }: Row,
  liveness: Liveness | undefined,
  deletion: Deletion | undefined,
  cells: readonly Cell[],
  multiCells: readonly MultiCell[],
): Row | undefined {
  if (liveness === undefined && deletion === undefined && cells.length + multiCells.length === 0) return undefined;
  for (let i = 0; i < versions.length; i++) {
    const row = versions[i]!;
    if (row.cells !== cells || row.liveness !== liveness || row.deletion !== deletion) continue;
    if (row.multiCells === multiCells || row.multiCells.length + multiCells.length === 0) return row;
  }
  return { kind: 'row', isStatic, clustering, liveness, deletion, cells, multiCells };
}

function hasNoDeletion(row: Row): boolean {
  if (row.deletion !== undefined) return false;
  const { multiCells } = row;
  for (let i = 0; i < multiCells.length; i++) if (multiCells[i]!.deletion !== undefined) return false;
  return true;
}

function isEmpty(row: Row): boolean {
  return row.liveness === undefined && row.deletion === undefined && row.cells.length + row.multiCells.length === 0;
}

function isDead(timestampMicros: bigint, { droppedAtMicros }: ColumnRule): boolean {
  return droppedAtMicros !== undefined && timestampMicros <= droppedAtMicros;
}

/** The simple cells that neither a deletion covers nor the drop of their column; the argument itself when all do. */
function survivors(
  cells: readonly Cell[],
  inForce: Deletion | undefined,
  rules: readonly ColumnRule[],
): readonly Cell[] {
  for (let i = 0; i < cells.length; i++) {
    if (survives(cells[i]!, inForce, rules)) continue;
    return cells.filter((cell) => survives(cell, inForce, rules));
  }
  return cells;
}

function survives(cell: Cell, inForce: Deletion | undefined, rules: readonly ColumnRule[]): boolean {
  return !covers(inForce, cell.timestampMicros) && !isDead(cell.timestampMicros, rules[cell.column]!);
}

/** The columns of both, ascending; either argument when it says all. */
function mergeMultiCells(
  left: readonly MultiCell[],
  right: readonly MultiCell[],
  rules: readonly ColumnRule[],
  reconcile: ReconcileCells,
): readonly MultiCell[] {
  if (right.length === 0) return left;
  if (left.length === 0) return right;
  const merged: MultiCell[] = [];
  for (let i = 0, j = 0; i < left.length || j < right.length; ) {
    const [a, b] = [left[i], right[j]];
    const order = a === undefined ? 1 : b === undefined ? -1 : a.column - b.column;
    merged.push(order < 0 ? a! : order > 0 ? b! : mergeMultiCell(a!, b!, rules[a!.column]!, reconcile));
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
  if (isSame(merged, left)) return left;
  return isSame(merged, right) ? right : merged;
}

function isSame(left: readonly MultiCell[], right: readonly MultiCell[]): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

function mergeMultiCell(left: MultiCell, right: MultiCell, rule: ColumnRule, reconcile: ReconcileCells): MultiCell {
  const deletion = strongerDeletion(left.deletion, right.deletion);
  const cells = mergeCells(left.cells, right.cells, reconcile, rule.comparePaths);
  if (cells === left.cells && deletion === left.deletion) return left;
  if (cells === right.cells && deletion === right.deletion) return right;
  return { column: left.column, deletion, cells };
}

/** Takes out what deletions cover: after the merge, since the strongest deletion of a column decides about all its cells. */
function prune(
  multiCells: readonly MultiCell[],
  inForce: Deletion | undefined,
  rules: readonly ColumnRule[],
): readonly MultiCell[] {
  const pruned: MultiCell[] = [];
  for (const data of multiCells) {
    const kept = pruneOne(data, inForce, rules[data.column]!);
    if (kept !== undefined) pruned.push(kept);
  }
  return isSame(pruned, multiCells) ? multiCells : pruned;
}

function pruneOne(data: MultiCell, inForce: Deletion | undefined, rule: ColumnRule): MultiCell | undefined {
  let { deletion, cells } = data;
  if (deletion === undefined && inForce === undefined && rule.droppedAtMicros === undefined) return data;
  if (deletion !== undefined && (isDead(deletion.timestampMicros, rule) || !supersedes(deletion, inForce))) {
    deletion = undefined;
  }
  const cover = deletion ?? inForce;
  const isGone = ({ timestampMicros }: Cell) => covers(cover, timestampMicros) || isDead(timestampMicros, rule);
  if (cells.some(isGone)) cells = cells.filter((cell) => !isGone(cell));
  if (cells.length === 0 && deletion === undefined) return undefined;
  return cells === data.cells && deletion === data.deletion ? data : { column: data.column, deletion, cells };
}
