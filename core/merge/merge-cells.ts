import type { CompareRanges } from '../model/compare-value.ts';
import type { Cell } from '../model/row.ts';

/** Makes one of two versions of a cell: usually one of them. */
export type ReconcileCells = (left: Cell, right: Cell) => Cell;

/**
 * The cells of two versions of a row, ascending by column, or of a multi-cell column, ascending by path. Either argument
 * itself when it is the outcome: a new array is begun at the first cell where both have lost one.
 */
export function mergeCells(
  left: readonly Cell[],
  right: readonly Cell[],
  reconcile: ReconcileCells,
  comparePaths?: CompareRanges,
): readonly Cell[] {
  if (right.length === 0) return left;
  if (left.length === 0) return right;
  let isLeft = true;
  let isRight = true;
  let mixed: Cell[] | undefined;
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    const order = i === left.length ? 1 : j === right.length ? -1 : compareCells(left[i]!, right[j]!, comparePaths);
    const winner = order < 0 ? left[i]! : order > 0 ? right[j]! : reconcile(left[i]!, right[j]!);
    if (mixed === undefined) {
      const wasLeft = isLeft;
      isLeft &&= order <= 0 && winner === left[i];
      isRight &&= order >= 0 && winner === right[j];
      if (!isLeft && !isRight) mixed = wasLeft ? left.slice(0, i) : right.slice(0, j);
    }
    mixed?.push(winner);
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
  return mixed ?? (isLeft ? left : right);
}

function compareCells(left: Cell, right: Cell, comparePaths: CompareRanges | undefined): number {
  if (comparePaths === undefined) return left.column - right.column;
  return comparePaths(left.bytes, left.pathStart, left.pathEnd, right.bytes, right.pathStart, right.pathEnd);
}
