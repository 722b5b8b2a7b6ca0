import xxhash from 'xxhash-wasm';
import { equalBytes } from '../model/compare-value.ts';
import type { ComparedTable } from './compared-table.ts';
import {
  clusteringOf,
  expiriesOf,
  type PartitionId,
  partitionIdOf,
  type RawRow,
  serializeKey,
} from './selected-row.ts';

/** TTLs of the two clusters are read at two instants and rounded twice. Seconds. */
export const EXPIRY_TOLERANCE_SECONDS = 2;

/** A row as the merge-join sees it. What expires is kept apart, because it is compared with a tolerance. */
export interface RowDigest {
  readonly partition: PartitionId;
  /** The serialized partition key. */
  readonly key: Uint8Array;
  /** Over clustering, values and write times; over static values too in a partition's first row. */
  readonly digest: bigint;
  /** In column order; empty when nothing expires. Seconds since the epoch. */
  readonly expiries: readonly (number | null)[];
}

/** Turns the rows of one cluster's scan, in their order, into digests. */
export type RowDigester = (row: RawRow, readAtSeconds: number) => RowDigest;

export interface RowDigesterOptions {
  readonly compareWriteTime: boolean;
}

/** Hashes bytes; made once a process by `createHash64`. */
export type Hash64 = (bytes: Uint8Array) => bigint;

/** XXH64 in WebAssembly; its set-up is the only asynchronous part. */
export async function createHash64(): Promise<Hash64> {
  const { h64Raw } = await xxhash();
  return (bytes) => h64Raw(bytes);
}

/** A digester for one scan: it remembers the last partition, so that static values are hashed once for each. */
export function createRowDigester(table: ComparedTable, hash: Hash64, options: RowDigesterOptions): RowDigester {
  const buffer = new DigestBuffer();
  let last: RowDigest | undefined;
  return (row, readAtSeconds) => {
    const partition = partitionIdOf(table, row);
    let key = serializeKey(partition.keyValues);
    const isFirst = !last || last.partition.token !== partition.token || !equalBytes(last.key, key);
    if (!isFirst) key = last!.key;
    buffer.reset();
    const clustering = clusteringOf(table, row);
    buffer.flag(clustering ? 1 : 0);
    for (const value of clustering ?? []) buffer.value(value);
    const expiries: (number | null)[] = [];
    for (const column of table.columns) {
      if (column.isStatic && !isFirst) continue;
      buffer.value(row[column.valueIndex] ?? null);
      if (column.timed === 'none') continue;
      if (options.compareWriteTime) buffer.value(row[column.writeTimeIndex] ?? null);
      const own = expiriesOf(column, row[column.writeTimeIndex + 1] ?? null, readAtSeconds);
      buffer.flag(own.length);
      expiries.push(...own);
    }
    last = { partition: isFirst ? partition : last!.partition, key, digest: hash(buffer.bytes()), expiries };
    return last;
  };
}

/** Whether two rows of one partition are the same, what expires within the tolerance. */
export function equalDigests(a: RowDigest, b: RowDigest): boolean {
  return a.digest === b.digest && equalExpiries(a.expiries, b.expiries);
}

/** Whether both expire at the same instants, within `EXPIRY_TOLERANCE_SECONDS`. */
export function equalExpiries(a: readonly (number | null)[], b: readonly (number | null)[]): boolean {
  if (a.length !== b.length) return false;
  return a.every((expiry, i) => {
    const other = b[i] ?? null;
    if (expiry === null || other === null) return expiry === other;
    return Math.abs(expiry - other) <= EXPIRY_TOLERANCE_SECONDS;
  });
}

/** Bytes to hash: each value behind its length, so that no two sequences of values look alike; -1 for null. */
class DigestBuffer {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  reset(): void {
    this.#length = 0;
  }

  flag(value: number): void {
    this.#reserve(4);
    this.#view.setInt32(this.#length, value);
    this.#length += 4;
  }

  value(value: Uint8Array | null): void {
    this.#reserve(4 + (value?.length ?? 0));
    this.#view.setInt32(this.#length, value ? value.length : -1);
    this.#length += 4;
    if (!value) return;
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
