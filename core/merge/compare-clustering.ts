/** The order of rows and range-tombstone bounds in a partition (ClusteringComparator, ClusteringPrefix.Kind of Cassandra). */

import { type CompareBytes, comparatorOf, rangeComparatorOf } from '../model/compare-value.ts';
import { BoundKind, type RangeTombstoneMarker, type Row } from '../model/row.ts';
import type { ClusteringColumn } from '../model/table-schema.ts';

/** A row or a marker: what stands in a partition in clustering order. */
export type Positioned = Row | RangeTombstoneMarker;

/** -1: just before the rows that have the prefix; 1: just after them; 0: a row itself; -2: the static row, before all. */
export function sideOf(item: Positioned): -2 | -1 | 0 | 1 {
  if (item.kind === 'row') return item.isStatic ? -2 : 0;
  switch (item.bound) {
    case BoundKind.ExclusiveEnd:
    case BoundKind.InclusiveStart:
    case BoundKind.ExclusiveEndInclusiveStartBoundary:
      return -1;
    default:
      return 1;
  }
}

/** Compares two clustering values of one column, DESC considered; null (COMPACT STORAGE) is first either way. */
export type CompareClusteringValue = (left: Uint8Array | null, right: Uint8Array | null) => number;

/** One comparison for each clustering column. */
export function clusteringComparators(columns: readonly ClusteringColumn[]): CompareClusteringValue[] {
  return columns.map((column) => {
    const compare: CompareBytes = comparatorOf(column.type);
    const { reversed } = column;
    return (left, right) => {
      if (left === null || right === null) return (left === null ? 0 : 1) - (right === null ? 0 : 1);
      return reversed ? compare(right, left) : compare(left, right);
    };
  });
}

/**
 * Compares positions in a partition, without a view of any value. Bounds on the same side of the same prefix are at the
 * same position.
 */
export function compareClustering(
  columns: readonly ClusteringColumn[],
): (left: Positioned, right: Positioned) => number {
  const comparators = columns.map(({ type }) => rangeComparatorOf(type));
  const reversed = columns.map((column) => column.reversed);
  return (left, right) => {
    const [a, b] = [left.clustering, right.clustering];
    const [aOffsets, bOffsets] = [a.offsets, b.offsets];
    const shared = aOffsets.length < bOffsets.length ? aOffsets.length : bOffsets.length;
    for (let at = 0; at < shared; at += 2) {
      const [aStart, bStart] = [aOffsets[at]!, bOffsets[at]!];
      const column = at >> 1;
      // Null (COMPACT STORAGE) is first, DESC or not.
      if (aStart < 0 || bStart < 0) {
        if (aStart < 0 !== bStart < 0) return aStart < 0 ? -1 : 1;
        continue;
      }
      const difference = comparators[column]!(a.bytes, aStart, aOffsets[at + 1]!, b.bytes, bStart, bOffsets[at + 1]!);
      if (difference !== 0) return reversed[column] ? -difference : difference;
    }
    if (aOffsets.length === bOffsets.length) return sideOf(left) - sideOf(right);
    return aOffsets.length < bOffsets.length ? sideOf(left) : -sideOf(right);
  };
}
