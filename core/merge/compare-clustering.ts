/** The order of rows and range-tombstone bounds in a partition (ClusteringComparator, ClusteringPrefix.Kind of Cassandra). */

import { type CompareBytes, comparatorOf } from '../model/compare-value.ts';
import { BoundKind, type RangeTombstoneMarker, type Row } from '../model/row.ts';
import type { ClusteringColumn } from '../model/table-schema.ts';

/** A row or a marker: what stands in a partition in clustering order. */
export type Positioned = Row | RangeTombstoneMarker;

/** -1: just before the rows that have the prefix; 1: just after them; 0: a row itself. */
export function sideOf(item: Positioned): -1 | 0 | 1 {
  if (item.kind === 'row') return 0;
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

/** Compares positions in a partition. Bounds on the same side of the same prefix are at the same position. */
export function compareClustering(
  columns: readonly ClusteringColumn[],
): (left: Positioned, right: Positioned) => number {
  const comparators = clusteringComparators(columns);
  return (left, right) => {
    const [a, b] = [left.clustering, right.clustering];
    const shared = Math.min(a.length, b.length);
    for (let i = 0; i < shared; i++) {
      const difference = comparators[i]!(a.valueAt(i), b.valueAt(i));
      if (difference !== 0) return difference;
    }
    if (a.length === b.length) return sideOf(left) - sideOf(right);
    return a.length < b.length ? sideOf(left) : -sideOf(right);
  };
}
