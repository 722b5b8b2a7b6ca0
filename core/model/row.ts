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

/**
 * A cell: a simple column's, or an element of a multi-cell column. It knows where its bytes lie; a view of them is made
 * only when somebody asks for `value` or `path`.
 */
export class Cell {
  /** Index into the `columns` that the cursor was opened with (static columns for a static row). */
  readonly column: number;
  readonly timestampMicros: bigint;
  /** 0: does not expire. */
  readonly ttlSeconds: number;
  /** Tombstone: when it was made. Expiring cell: when it expires. Else NO_DELETION_TIME. Seconds since the epoch. */
  readonly localDeletionTimeSeconds: number;
  readonly isTombstone: boolean;
  /** What the offsets refer to. Never overwritten. */
  readonly bytes: Uint8Array;
  /** Empty for a tombstone; may be empty for a live cell too (an empty text, a set element). */
  readonly valueStart: number;
  readonly valueEnd: number;
  /** Of an element of a multi-cell column: set element, map key, list cell's timeuuid, 2-byte UDT field index; else −1. */
  readonly pathStart: number;
  readonly pathEnd: number;

  constructor(
    column: number,
    timestampMicros: bigint,
    ttlSeconds: number,
    localDeletionTimeSeconds: number,
    isTombstone: boolean,
    bytes: Uint8Array,
    valueStart: number,
    valueEnd: number,
    pathStart: number,
    pathEnd: number,
  ) {
    this.column = column;
    this.timestampMicros = timestampMicros;
    this.ttlSeconds = ttlSeconds;
    this.localDeletionTimeSeconds = localDeletionTimeSeconds;
    this.isTombstone = isTombstone;
    this.bytes = bytes;
    this.valueStart = valueStart;
    this.valueEnd = valueEnd;
    this.pathStart = pathStart;
    this.pathEnd = pathEnd;
  }

  /** A new view of the value. */
  get value(): Uint8Array {
    return this.bytes.subarray(this.valueStart, this.valueEnd);
  }

  /** A new view of the path. */
  get path(): Uint8Array | undefined {
    return this.pathStart < 0 ? undefined : this.bytes.subarray(this.pathStart, this.pathEnd);
  }
}

/** What a cell made by hand consists of; what is left out is that of a live cell that does not expire. */
export interface CellParts {
  readonly column?: number;
  readonly timestampMicros: bigint;
  readonly ttlSeconds?: number;
  readonly localDeletionTimeSeconds?: number;
  readonly isTombstone?: boolean;
  readonly value?: Uint8Array;
  readonly path?: Uint8Array;
}

/** A cell of values that lie apart; they are copied. */
export function createCell(parts: CellParts): Cell {
  const { value, path } = parts;
  const valueBytes = value?.length ?? 0;
  const bytes = new Uint8Array(valueBytes + (path?.length ?? 0));
  if (value !== undefined) bytes.set(value);
  if (path !== undefined) bytes.set(path, valueBytes);
  return new Cell(
    parts.column ?? 0,
    parts.timestampMicros,
    parts.ttlSeconds ?? 0,
    parts.localDeletionTimeSeconds ?? NO_DELETION_TIME,
    parts.isTombstone ?? false,
    bytes,
    0,
    valueBytes,
    path === undefined ? -1 : valueBytes,
    path === undefined ? -1 : bytes.length,
  );
}

/** The values of a clustering, or of a bound's prefix of one; views are made when asked for. */
export class Clustering {
  readonly bytes: Uint8Array;
  /** Start and end of each value in `bytes`; −1 and −1 for null, which occurs in COMPACT STORAGE only. */
  readonly offsets: readonly number[];

  constructor(bytes: Uint8Array, offsets: readonly number[]) {
    this.bytes = bytes;
    this.offsets = offsets;
  }

  /** How many values there are. */
  get length(): number {
    return this.offsets.length >> 1;
  }

  /** A new view of one value. */
  valueAt(index: number): Uint8Array | null {
    const start = this.offsets[2 * index]!;
    return start < 0 ? null : this.bytes.subarray(start, this.offsets[2 * index + 1]);
  }

  /** New views of all values. */
  values(): (Uint8Array | null)[] {
    return Array.from({ length: this.length }, (_, index) => this.valueAt(index));
  }
}

/** Of a static row, and of the bounds of a whole partition. */
export const NO_CLUSTERING = new Clustering(new Uint8Array(0), []);

/** A clustering of values that lie apart; they are copied. */
export function clusteringOf(values: readonly (Uint8Array | null)[]): Clustering {
  if (values.length === 0) return NO_CLUSTERING;
  const bytes = new Uint8Array(values.reduce((sum, value) => sum + (value?.length ?? 0), 0));
  const offsets: number[] = [];
  let at = 0;
  for (const value of values) {
    if (value === null) offsets.push(-1, -1);
    else {
      bytes.set(value, at);
      offsets.push(at, at + value.length);
      at += value.length;
    }
  }
  return new Clustering(bytes, offsets);
}

/** A multi-cell column of a row: a collection or UDT that is not frozen. */
export interface MultiCell {
  readonly column: number;
  readonly deletion?: Deletion;
  /** In the order of their paths. */
  readonly cells: readonly Cell[];
}

export interface Row {
  readonly kind: 'row';
  readonly isStatic: boolean;
  /** Empty for a static row. */
  readonly clustering: Clustering;
  readonly liveness?: Liveness;
  readonly deletion?: Deletion;
  /** Of the simple columns, ascending by `column`. */
  readonly cells: readonly Cell[];
  /** Ascending by `column`. */
  readonly multiCells: readonly MultiCell[];
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
  readonly clustering: Clustering;
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
