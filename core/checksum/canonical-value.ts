import { equalBytes } from '../model/compare-value.ts';
import type { CqlType } from '../model/cql-type.ts';

/**
 * Whether two values of one column mean the same: lists keep their order, sets and maps are compared whatever their
 * order, trailing nulls of tuples and UDTs count as absent (a field added by ALTER TYPE).
 */
export function equalValues(type: CqlType, a: Uint8Array, b: Uint8Array): boolean {
  if (equalBytes(a, b)) return true;
  switch (type.kind) {
    case 'set':
      return equalItems(collectionItems(a, 1)?.sort(Buffer.compare), collectionItems(b, 1)?.sort(Buffer.compare));
    case 'map':
      return equalItems(collectionItems(a, 2)?.sort(Buffer.compare), collectionItems(b, 2)?.sort(Buffer.compare));
    case 'tuple':
    case 'udt':
      return equalBytes(withoutTrailingNulls(a), withoutTrailingNulls(b));
    default:
      return false;
  }
}

/** The elements (or pairs, `parts` = 2) of a collection, each still with its length prefix; undefined when malformed. */
function collectionItems(value: Uint8Array, parts: 1 | 2): Uint8Array[] | undefined {
  if (value.length < 4) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const count = view.getInt32(0);
  // Each part has 4 bytes of length at least, which bounds a count that lies.
  if (count < 0 || count > value.length / (4 * parts)) return undefined;
  const items: Uint8Array[] = [];
  let offset = 4;
  for (let i = 0; i < count; i++) {
    const start = offset;
    for (let part = 0; part < parts; part++) {
      if (offset + 4 > value.length) return undefined;
      offset += 4 + Math.max(0, view.getInt32(offset));
    }
    if (offset > value.length) return undefined;
    items.push(value.subarray(start, offset));
  }
  return offset === value.length ? items : undefined;
}

function equalItems(a: Uint8Array[] | undefined, b: Uint8Array[] | undefined): boolean {
  return !!a && !!b && a.length === b.length && a.every((item, i) => equalBytes(item, b[i]!));
}

function withoutTrailingNulls(value: Uint8Array): Uint8Array {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  let offset = 0;
  let end = 0;
  while (offset + 4 <= value.length) {
    const length = view.getInt32(offset);
    offset += 4 + Math.max(0, length);
    if (length >= 0) end = offset;
  }
  return offset === value.length ? value.subarray(0, end) : value;
}
