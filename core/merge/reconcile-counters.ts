import { Cell, NO_DELETION_TIME } from '../model/row.ts';
import { mergeCounters } from '../sstable/counter-context.ts';
import { reconcileCells } from './reconcile.ts';

/**
 * The outcome of two versions of one counter (Cells.resolveCounter): a deleted counter stays deleted whatever was written
 * later, since increments of before and after the deletion can't be told apart; else the shards of both are merged. What a
 * row's, range's or partition's deletion covers must be out before.
 */
export function reconcileCounterCells(left: Cell, right: Cell): Cell {
  if (left.isTombstone || right.isTombstone) {
    if (left.isTombstone && right.isTombstone) return reconcileCells(left, right);
    return left.isTombstone ? left : right;
  }
  // An empty value says "not asked for"; it is in no file, and Cassandra lets it win.
  const [leftIsEmpty, rightIsEmpty] = [left.valueStart === left.valueEnd, right.valueStart === right.valueEnd];
  if (leftIsEmpty !== rightIsEmpty) return leftIsEmpty ? left : right;
  const isLeftLater = left.timestampMicros >= right.timestampMicros;
  if (leftIsEmpty) return isLeftLater ? left : right;
  const [a, b] = [left.value, right.value];
  const merged = mergeCounters(a, b);
  const timestampMicros = isLeftLater ? left.timestampMicros : right.timestampMicros;
  if (merged === a && timestampMicros === left.timestampMicros) return left;
  if (merged === b && timestampMicros === right.timestampMicros) return right;
  return new Cell(left.column, timestampMicros, 0, NO_DELETION_TIME, false, merged, 0, merged.length, -1, -1);
}
