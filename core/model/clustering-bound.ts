import { BoundKind, type Clustering, type Deletion, type RangeTombstoneMarker } from './row.ts';

/** A place in a partition between rows: just before (−1) or just after (1) all rows that have the prefix. */
export interface ClusteringBound {
  readonly clustering: Clustering;
  readonly side: -1 | 1;
}

/** Part of a partition, and what follows it in the stream. */
export interface PartitionSlice {
  readonly key: Uint8Array;
  readonly token: bigint;
  /** What stands before it is left out; partitions before this one too. Default: nothing is. */
  readonly from?: ClusteringBound;
  /** The stream ends here. Default: it goes on behind the partition, as far as the token range goes. */
  readonly to?: ClusteringBound;
}

/** The marker that opens a range deletion at a bound. */
export function openingMarker({ clustering, side }: ClusteringBound, opens?: Deletion): RangeTombstoneMarker {
  return { kind: 'marker', bound: side < 0 ? BoundKind.InclusiveStart : BoundKind.ExclusiveStart, clustering, opens };
}

/** The marker that closes one. */
export function closingMarker({ clustering, side }: ClusteringBound, closes: Deletion): RangeTombstoneMarker {
  return { kind: 'marker', bound: side < 0 ? BoundKind.ExclusiveEnd : BoundKind.InclusiveEnd, clustering, closes };
}
