import type { Positioned } from '#core/merge/compare-clustering.ts';
import type { ClusteringBound } from '#core/model/clustering-bound.ts';
import type { TokenRange } from '#core/token/token-range.ts';
import type { RowBlock, RowLayout } from './row-index.ts';

/** Plain positions in Data.db, end exclusive. */
export interface DataSpan {
  readonly start: number;
  readonly end: number;
  /** Whether the partition at `start` can be the one that the index names for it: no index has checksums. */
  readonly isFirst?: (key: Uint8Array, token: bigint) => boolean;
  /**
   * The partition at `start` is the last before the range, and this is where the one behind it stands, or the data ends:
   * reading on from there proves that the index leaves none out.
   */
  readonly next?: number;
  /** Of the partition at `start`, where it may have a row index. */
  readonly before?: PartitionPlace;
  /** No partition before `end` is behind the range. */
  readonly isExact?: boolean;
}

/** Finds partitions of one SSTable by token. */
export interface PartitionIndex {
  /** Tokens of the first and the last partition. */
  tokenBounds(signal?: AbortSignal): Promise<{ readonly first: bigint; readonly last: bigint }>;
  /** A span that holds all partitions of the range (start < end), the last before it, and perhaps some around it. */
  locate(range: TokenRange, signal?: AbortSignal): Promise<DataSpan>;
  /** About which part of the data lies in the range (start < end), 0 to 1; without reading more than a summary. */
  fractionOf(range: TokenRange, signal?: AbortSignal): Promise<number>;
  /** The row index of a partition; undefined when it has none, or is not in this SSTable. */
  rowIndexOf(place: PartitionPlace, layout: RowLayout, signal?: AbortSignal): Promise<RowIndex | undefined>;
  /** Partitions of at least `minBytes` that have a row index. Reads the whole index. */
  widePartitions(minBytes: number, signal?: AbortSignal): Promise<readonly WidePartition[]>;
}

export interface PartitionPlace {
  readonly key: Uint8Array;
  readonly token: bigint;
}

export interface WidePartition extends PartitionPlace {
  /** Plain bytes of Data.db. */
  readonly bytes: number;
}

/** Finds rows of one wide partition by clustering. */
export interface RowIndex {
  /** The last block that starts up to and including `bound`; undefined: that is the first one, or none. */
  find(bound: Positioned, signal?: AbortSignal): Promise<RowBlock | undefined>;
  /** Where the block begins that holds a byte, counted from the partition's head; undefined: that is the first one. */
  boundAt(offset: number, signal?: AbortSignal): Promise<ClusteringBound | undefined>;
}
