/** What the target has to be told of a partition, before it is put into CQL. */

import type { Deletion } from '../model/row.ts';

/** The time of a write: what stands behind USING TIMESTAMP and TTL. */
export interface Stamp {
  readonly timestampMicros: bigint;
  /** As the application gave it; 0: does not expire. */
  readonly ttlSeconds: number;
  /** NO_DELETION_TIME when it does not expire. Seconds since the epoch. */
  readonly expiresAtSeconds: number;
  /** The wall clock second of the original write, where it matters: it makes expiry and gc_grace exact. undefined: any. */
  readonly writtenAtSeconds?: number;
}

/** `writtenAtSeconds` of what lives for `ttlSeconds`; undefined for what does not expire. */
export function writtenAt(stamp: { readonly ttlSeconds: number }, expiresAtSeconds: number): number | undefined {
  return stamp.ttlSeconds === 0 ? undefined : expiresAtSeconds - stamp.ttlSeconds;
}

/** One column of a row write. `column` indexes the regular or static columns. */
export type Assignment =
  /** `c = ?`: a simple column, or a whole collection or UDT (which deletes what is older). null deletes. */
  | { readonly op: 'set'; readonly column: number; readonly value: Uint8Array | null }
  /** `m = m + ?`: elements of a set or map. */
  | { readonly op: 'add'; readonly column: number; readonly value: Uint8Array }
  /** `m = m - ?`: element tombstones of a set or map, as a set of keys. */
  | { readonly op: 'remove'; readonly column: number; readonly value: Uint8Array }
  /** `u.f = ?`: one field of a non-frozen UDT. */
  | { readonly op: 'field'; readonly column: number; readonly field: number; readonly value: Uint8Array | null };

type ClusteringValues = readonly (Uint8Array | null)[];

/** INSERT (which also makes a row marker) or UPDATE of what shares one timestamp and expiry. */
export interface RowWrite extends Stamp {
  readonly kind: 'insert' | 'update';
  readonly isStatic: boolean;
  readonly clustering: ClusteringValues;
  readonly assignments: readonly Assignment[];
}

/** A whole multi-cell list. Its cells get new ids on the target, so each attempt must be written a microsecond later. */
export interface ListWrite extends Stamp {
  readonly kind: 'list';
  readonly isStatic: boolean;
  readonly clustering: ClusteringValues;
  readonly column: number;
  /** In the order of the list; one where all elements expire together. */
  readonly parts: readonly ListPart[];
}

/** Neighbouring elements that expire at the same second. */
export interface ListPart {
  readonly ttlSeconds: number;
  /** NO_DELETION_TIME when they do not expire. Seconds since the epoch. */
  readonly expiresAtSeconds: number;
  /** In native collection encoding. */
  readonly value: Uint8Array;
}

/** `DELETE m`: the deletion of a whole multi-cell column. */
export interface ColumnDelete extends Deletion {
  readonly kind: 'deleteColumn';
  readonly isStatic: boolean;
  readonly clustering: ClusteringValues;
  readonly column: number;
}

export interface PartitionDelete extends Deletion {
  readonly kind: 'deletePartition';
}

/** One end of a slice in clustering order. */
export interface SliceBound {
  readonly value: Uint8Array;
  readonly inclusive: boolean;
}

/** The rows whose first clustering values equal `equal` and whose next one is within the bounds, in clustering order. */
export interface SliceDelete extends Deletion {
  readonly kind: 'deleteSlice';
  readonly equal: readonly Uint8Array[];
  readonly lower?: SliceBound;
  readonly upper?: SliceBound;
}

export type Write = RowWrite | ListWrite | ColumnDelete | PartitionDelete | SliceDelete;
