/**
 * Which of two versions wins: Cassandra's rules, cell by cell (Cells.resolveRegular, LivenessInfo.supersedes,
 * DeletionTime.supersedes, Row.Merger), the same in 4.1 and 5.0. 3.x differs in one: two live values of one write time are
 * compared there byte by byte with signs.
 */

import { compareByteRanges } from '../model/compare-value.ts';
import { type Cell, type Deletion, type Liveness, NO_DELETION_TIME } from '../model/row.ts';

/** The deletion that covers more: higher write time, then later deletion time. */
export function strongerDeletion(left: Deletion | undefined, right: Deletion | undefined): Deletion | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.timestampMicros !== right.timestampMicros)
    return left.timestampMicros > right.timestampMicros ? left : right;
  return left.localDeletionTimeSeconds >= right.localDeletionTimeSeconds ? left : right;
}

/** Whether a deletion is worth keeping beside another: of equal write times the later made one is (DeletionTime.supersedes). */
export function supersedes(deletion: Deletion | undefined, other: Deletion | undefined): boolean {
  if (deletion === undefined || other === undefined) return deletion !== undefined;
  if (deletion.timestampMicros !== other.timestampMicros) return deletion.timestampMicros > other.timestampMicros;
  return deletion.localDeletionTimeSeconds > other.localDeletionTimeSeconds;
}

/** Whether a deletion covers something written at this time. */
export function covers(deletion: Deletion | undefined, timestampMicros: bigint): boolean {
  return deletion !== undefined && timestampMicros <= deletion.timestampMicros;
}

/** The winner of two versions of one cell. The order of the arguments does not matter. */
export function reconcileCells(left: Cell, right: Cell): Cell {
  if (left.timestampMicros !== right.timestampMicros)
    return left.timestampMicros > right.timestampMicros ? left : right;
  const leftEnds = left.localDeletionTimeSeconds !== NO_DELETION_TIME;
  const rightEnds = right.localDeletionTimeSeconds !== NO_DELETION_TIME;
  if (leftEnds !== rightEnds) return leftEnds ? left : right;
  if (leftEnds) {
    if (left.isTombstone !== right.isTombstone) return left.isTombstone ? left : right;
    if (left.localDeletionTimeSeconds !== right.localDeletionTimeSeconds)
      return left.localDeletionTimeSeconds > right.localDeletionTimeSeconds ? left : right;
    if (left.ttlSeconds !== right.ttlSeconds) return left.ttlSeconds < right.ttlSeconds ? left : right;
  }
  const [a, b] = [left.bytes, right.bytes];
  return compareByteRanges(a, left.valueStart, left.valueEnd, b, right.valueStart, right.valueEnd) >= 0 ? left : right;
}

// LivenessInfo.EXPIRED_LIVENESS_TTL: a marker that was written as already expired.
const EXPIRED_LIVENESS_TTL = 0x7fffffff;

/** Whether a row marker was written as expired from the start. */
export function isExpiredMarker(liveness: Liveness): boolean {
  return liveness.ttlSeconds === EXPIRED_LIVENESS_TTL || liveness.ttlSeconds < 0;
}

/** The winner of two row markers. */
export function strongerLiveness(left: Liveness | undefined, right: Liveness | undefined): Liveness | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.timestampMicros !== right.timestampMicros)
    return left.timestampMicros > right.timestampMicros ? left : right;
  if (isExpiredMarker(left) !== isExpiredMarker(right)) return isExpiredMarker(left) ? left : right;
  const [leftExpires, rightExpires] = [left.ttlSeconds !== 0, right.ttlSeconds !== 0];
  if (leftExpires !== rightExpires) return leftExpires ? left : right;
  return left.expiresAtSeconds >= right.expiresAtSeconds ? left : right;
}
