import { SchemaMismatchError } from '../errors.ts';

const MAX_VALUE_BYTES = 0xffff;

/**
 * The values of a stored partition key: a single column's bytes as they are; of several columns, for each a u16 length,
 * the bytes and a zero byte (CompositeType).
 * @throws SchemaMismatchError when the bytes do not hold exactly that many values
 */
export function splitPartitionKey(key: Uint8Array, columnCount: number): Uint8Array[] {
  if (columnCount === 1) return [key];
  const values: Uint8Array[] = [];
  let at = 0;
  while (at + 2 <= key.length && values.length < columnCount) {
    const end = at + 2 + ((key[at]! << 8) | key[at + 1]!);
    values.push(key.subarray(at + 2, end));
    at = end + 1;
  }
  if (values.length !== columnCount || at !== key.length) {
    throw new SchemaMismatchError(`a partition key does not hold ${columnCount} values`, {
      context: { columnCount, keyBytes: key.length },
    });
  }
  return values;
}

/** The stored form of a partition key that has these values; undefined: one is too long for a key. */
export function joinPartitionKey(values: readonly Uint8Array[]): Uint8Array | undefined {
  if (values.length === 1) return values[0];
  let length = 0;
  for (const value of values) length += value.length + 3;
  const key = new Uint8Array(length);
  let at = 0;
  for (const value of values) {
    if (value.length > MAX_VALUE_BYTES) return undefined;
    key[at] = value.length >> 8;
    key[at + 1] = value.length & 0xff;
    key.set(value, at + 2);
    at += value.length + 3;
  }
  return key;
}
