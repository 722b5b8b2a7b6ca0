/**
 * A range tombstone as CQL slices. Slices over tuples compare values and not positions, so with mixed ASC and DESC
 * columns they hit other rows; a range is therefore cut into pieces that each fix a prefix and bound one more column.
 */

import { SchemaMismatchError } from '../errors.ts';
import { comparatorOf } from '../model/compare-value.ts';
import type { CqlType, NativeTypeName } from '../model/cql-type.ts';
import type { Clustering, Deletion } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { PartitionDelete, SliceBound, SliceDelete } from './writes.ts';

/** One end of a range tombstone: a prefix of clustering values and whether the rows that have it are inside. */
export interface RangeEnd {
  readonly clustering: Clustering;
  readonly inclusive: boolean;
}

/** The deletes that together cover (start … end) and nothing else; at most 2 × columns − 1 of them. */
export function rangeDeletes(
  schema: TableSchema,
  start: RangeEnd,
  end: RangeEnd,
  deletion: Deletion,
): (SliceDelete | PartitionDelete)[] {
  const [from, to] = [valuesOf(start, schema), valuesOf(end, schema)];
  // Equal as values: 1.0 and 1.00 are one clustering value in two byte forms, between which CQL finds no row.
  const isShared = (at: number) => comparatorOf(schema.clustering[at]!.type)(from[at]!, to[at]!) === 0;
  let shared = 0;
  while (shared < from.length && shared < to.length && isShared(shared)) shared++;
  const slice = (equal: readonly Uint8Array[], lower?: SliceBound, upper?: SliceBound): SliceDelete => ({
    kind: 'deleteSlice',
    timestampMicros: deletion.timestampMicros,
    localDeletionTimeSeconds: deletion.localDeletionTimeSeconds,
    equal,
    lower,
    upper,
  });
  if (from.length === 0 && to.length === 0) {
    if (schema.staticColumns.length === 0) return [{ ...deletion, kind: 'deletePartition' }];
    // A partition deletion would take the static row too: cut the range in two at any value.
    const value = anyValue(schema.clustering[0]!.type);
    return [slice([], undefined, { value, inclusive: true }), slice([], { value, inclusive: false })];
  }
  if (shared === from.length && shared === to.length) {
    if (!start.inclusive || !end.inclusive) return [];
    if (shared < schema.clustering.length) return [slice(from)];
    // By equality alone it would become the deletion of a row.
    const only = { value: from[shared - 1]!, inclusive: true };
    return [slice(from.slice(0, -1), only, only)];
  }
  const pieces: SliceDelete[] = [];
  for (let depth = from.length - 1; depth > shared; depth--) {
    const inclusive = depth === from.length - 1 && start.inclusive;
    pieces.push(slice(from.slice(0, depth), { value: from[depth]!, inclusive }));
  }
  const lower = boundAt(from, shared, start.inclusive);
  const upper = boundAt(to, shared, end.inclusive);
  // With one value on both sides there is nothing between; the pieces of the deeper side say it all.
  pieces.push(slice(from.slice(0, shared), lower, upper));
  for (let depth = shared + 1; depth < to.length; depth++) {
    const inclusive = depth === to.length - 1 && end.inclusive;
    pieces.push(slice(to.slice(0, depth), undefined, { value: to[depth]!, inclusive }));
  }
  return pieces;
}

function boundAt(values: readonly Uint8Array[], depth: number, inclusive: boolean): SliceBound | undefined {
  const value = values[depth];
  return value === undefined ? undefined : { value, inclusive: depth === values.length - 1 && inclusive };
}

function valuesOf(end: RangeEnd, schema: TableSchema): Uint8Array[] {
  return end.clustering.values().map((value) => {
    if (value !== null) return value;
    throw new SchemaMismatchError(
      `${schema.keyspace}.${schema.table} has a range deletion with a null clustering value (COMPACT STORAGE), which CQL can't express`,
    );
  });
}

const FIXED_BYTES: Partial<Record<NativeTypeName, number>> = {
  bigint: 8,
  boolean: 1,
  date: 4,
  double: 8,
  float: 4,
  inet: 4,
  int: 4,
  smallint: 2,
  time: 8,
  timestamp: 8,
  tinyint: 1,
  varint: 1,
  decimal: 5,
};
const ZERO_TIMEUUID = Uint8Array.of(0, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0, 0, 0, 0, 0);

/** Some valid value of the type; which one does not matter. */
function anyValue(type: CqlType): Uint8Array {
  switch (type.kind) {
    case 'native':
      if (type.name === 'uuid' || type.name === 'timeuuid') return ZERO_TIMEUUID;
      return new Uint8Array(FIXED_BYTES[type.name] ?? 0);
    case 'vector': {
      const one = anyValue(type.element);
      return Uint8Array.from({ length: one.length * type.dimensions }, (_, index) => one[index % one.length]!);
    }
    case 'tuple':
      return new Uint8Array(4 * type.elements.length).fill(0xff);
    case 'udt':
      return new Uint8Array(4 * type.fields.length).fill(0xff);
    default:
      return new Uint8Array(4);
  }
}
