import type { ComparedColumn, ComparedTable } from './compared-table.ts';
import { TOKEN_INDEX } from './compared-table.ts';

/** A row of a result, as the session hands it out. */
export type RawRow = readonly (Uint8Array | null)[];

/** A partition's place in the ring and its key, value by value. */
export interface PartitionId {
  readonly token: bigint;
  readonly keyValues: readonly Uint8Array[];
}

/** What is known of one column of one row. */
export interface ComparedCell {
  /** null: no live cell. */
  readonly value: Uint8Array | null;
  /** The newest of the column's write times; undefined when CQL can't read it or there is none. Microseconds. */
  readonly writeTimeMicros?: bigint;
  /** All write times as returned: 8 bytes, or a list of them. */
  readonly writeTimes: Uint8Array | null;
  /** One for each cell; null where it does not expire. Seconds since the epoch. */
  readonly expiresAtSeconds: readonly (number | null)[];
}

/** Write time and TTL are read with the row; what no cell has looks like this. */
export const NO_CELL: ComparedCell = { value: null, writeTimes: null, expiresAtSeconds: [] };

/** @param row a row selected with the texts of `table` */
export function partitionIdOf(table: ComparedTable, row: RawRow): PartitionId {
  const count = table.schema.partitionKey.length;
  const keyValues: Uint8Array[] = [];
  for (let i = 0; i < count; i++) keyValues.push(row[TOKEN_INDEX + 1 + i] ?? new Uint8Array(0));
  return { token: tokenOfRow(row), keyValues };
}

/** The server's own token of the row's partition. */
export function tokenOfRow(row: RawRow): bigint {
  return readInt64(row[TOKEN_INDEX]!);
}

/** The clustering values; undefined for the row that stands for a partition which has static values only. */
export function clusteringOf(table: ComparedTable, row: RawRow): readonly Uint8Array[] | undefined {
  const first = TOKEN_INDEX + 1 + table.schema.partitionKey.length;
  const values: Uint8Array[] = [];
  for (let i = 0; i < table.schema.clustering.length; i++) {
    const value = row[first + i];
    if (!value) return undefined;
    values.push(value);
  }
  return values;
}

/** @param readAtSeconds the instant that the row's TTLs count from */
export function cellOf(column: ComparedColumn, row: RawRow, readAtSeconds: number): ComparedCell {
  const value = row[column.valueIndex] ?? null;
  if (column.timed === 'none') return { value, writeTimes: null, expiresAtSeconds: [] };
  const writeTimes = row[column.writeTimeIndex] ?? null;
  const ttls = row[column.writeTimeIndex + 1] ?? null;
  const times =
    column.timed === 'single' ? (writeTimes ? [readInt64(writeTimes)] : []) : readList(writeTimes, readInt64);
  return {
    value,
    writeTimes,
    writeTimeMicros: times.length === 0 ? undefined : times.reduce((a, b) => (a === null || (b ?? a) > a ? b : a))!,
    expiresAtSeconds: expiriesOf(column, ttls, readAtSeconds),
  };
}

/** When the column's cells expire; an empty list when it has none or nothing of it expires. Seconds since the epoch. */
export function expiriesOf(column: ComparedColumn, ttls: Uint8Array | null, readAtSeconds: number): (number | null)[] {
  if (!ttls) return [];
  const seconds = column.timed === 'single' ? [readInt32(ttls)] : readList(ttls, readInt32);
  const expiries = seconds.map((ttl) => (ttl === null ? null : readAtSeconds + ttl));
  return expiries.every((expiry) => expiry === null) ? [] : expiries;
}

/** The key as Cassandra stores it: the value itself, or of several columns each with its length and a zero byte. */
export function serializeKey(keyValues: readonly Uint8Array[]): Uint8Array {
  if (keyValues.length === 1) return keyValues[0]!;
  const out = new Uint8Array(keyValues.reduce((sum, value) => sum + value.length + 3, 0));
  let offset = 0;
  for (const value of keyValues) {
    out[offset] = value.length >> 8;
    out[offset + 1] = value.length & 0xff;
    out.set(value, offset + 2);
    offset += value.length + 3;
  }
  return out;
}

function readInt64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigInt64(0);
}

function readInt32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(0);
}

/** A `list<bigint>` or `list<int>` whose elements may be null. */
function readList<T>(bytes: Uint8Array | null, read: (element: Uint8Array) => T): (T | null)[] {
  if (!bytes || bytes.length < 4) return [];
  const count = readInt32(bytes);
  const items: (T | null)[] = [];
  let offset = 4;
  for (let i = 0; i < count && offset + 4 <= bytes.length; i++) {
    const length = readInt32(bytes.subarray(offset));
    offset += 4;
    items.push(length < 0 ? null : read(bytes.subarray(offset, offset + length)));
    offset += Math.max(0, length);
  }
  return items;
}
