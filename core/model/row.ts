/**
 * Partitions and rows as an SSTable holds them and as the merge passes them on. Values are the bytes of the native
 * protocol (v3 and later), which is also what an SSTable stores; nothing here is decoded.
 */

/** "No deletion time": the cell or row is live and does not expire. Seconds. */
export const NO_DELETION_TIME = Number.MAX_SAFE_INTEGER;

/** A deletion. Covers everything it applies to with a write time up to and including `timestampMicros`. */
export interface Deletion {
  readonly timestampMicros: bigint;
  /** When the deletion was made, by the coordinator's wall clock; starts gc_grace. Seconds since the epoch. */
  readonly localDeletionTimeSeconds: number;
}

/** The row marker that INSERT writes. */
export interface Liveness {
  readonly timestampMicros: bigint;
  /** 0: does not expire. */
  readonly ttlSeconds: number;
  /** The instant of expiry, or NO_DELETION_TIME. Seconds since the epoch. */
  readonly expiresAtSeconds: number;
}

export interface Cell {
  readonly timestampMicros: bigint;
  /** 0: does not expire. */
  readonly ttlSeconds: number;
  /** Tombstone: when it was made. Expiring cell: when it expires. Else NO_DELETION_TIME. Seconds since the epoch. */
  readonly localDeletionTimeSeconds: number;
  readonly isTombstone: boolean;
  /** Empty for a tombstone; may be empty for a live cell too (an empty text, a set element). */
  readonly value: Uint8Array;
  /** Of an element of a multi-cell column: set element, map key, list cell's timeuuid, 2-byte UDT field index. */
  readonly path?: Uint8Array;
}

/** One column of a row: one cell for a simple column, a deletion and cells in path order for a multi-cell one. */
export interface ColumnData {
  /** Index into the `columns` that the cursor was opened with (static columns for a static row). */
  readonly column: number;
  readonly deletion?: Deletion;
  readonly cells: readonly Cell[];
}

export interface Row {
  readonly kind: 'row';
  readonly isStatic: boolean;
  /** One value for each clustering column; none for a static row. null occurs in COMPACT STORAGE only. */
  readonly clustering: readonly (Uint8Array | null)[];
  readonly liveness?: Liveness;
  readonly deletion?: Deletion;
  /** Ascending by `column`. */
  readonly columns: readonly ColumnData[];
}

/** Kinds of clustering bounds and boundaries, with the numbers that Cassandra writes (ClusteringPrefix.Kind). */
export const BoundKind = {
  ExclusiveEnd: 0,
  InclusiveStart: 1,
  ExclusiveEndInclusiveStartBoundary: 2,
  InclusiveEndExclusiveStartBoundary: 5,
  InclusiveEnd: 6,
  ExclusiveStart: 7,
} as const;
export type BoundKind = (typeof BoundKind)[keyof typeof BoundKind];

/** One end of a range tombstone, or the border between two that touch. */
export interface RangeTombstoneMarker {
  readonly kind: 'marker';
  readonly bound: BoundKind;
  /** A prefix of the clustering values; none: the partition's start or end. */
  readonly clustering: readonly (Uint8Array | null)[];
  /** The range that ends here. */
  readonly closes?: Deletion;
  /** The range that starts here. */
  readonly opens?: Deletion;
}

export interface PartitionStart {
  readonly kind: 'partition';
  /** The partition key as stored: a single value, or the composite form of several. */
  readonly key: Uint8Array;
  readonly token: bigint;
  readonly deletion?: Deletion;
}

export interface PartitionEnd {
  readonly kind: 'end';
}

/**
 * A stream of these is: PartitionStart, its static row if it has one, rows and markers in clustering order,
 * PartitionEnd; then the next partition, ascending by (token, key bytes).
 */
export type PartitionEvent = PartitionStart | Row | RangeTombstoneMarker | PartitionEnd;

/** Reads such a stream without a promise per row: `next` while it has something, `fill` when it returns undefined. */
export interface PartitionCursor {
  /** The next event, or undefined when buffered bytes are used up (call `fill`) or the stream has ended. */
  next(): PartitionEvent | undefined;
  /** Reads more bytes. Resolves to false at the end of the stream. */
  fill(signal?: AbortSignal): Promise<boolean>;
  /** Frees what the cursor holds. */
  close(): void;
}
