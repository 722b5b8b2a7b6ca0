import { ByteReader } from '#core/bytes/byte-reader.ts';

const SHARD_BYTES = 32;

/**
 * The total of a live counter cell's value:
 * ```
 * i16 n; n × i16 shard index (which shards are global or local)
 * shards: 16 bytes counter id; i64 clock; i64 count
 * ```
 *
 * @throws RangeError when the bytes are no counter context
 * @see org.apache.cassandra.db.context.CounterContext
 */
export function counterTotal(context: Uint8Array): bigint {
  const reader = new ByteReader(context);
  reader.skip(2 * Math.abs(reader.readInt16()));
  if (reader.remaining % SHARD_BYTES !== 0) throw new RangeError(`a counter of ${context.length} bytes`);
  let total = 0n;
  while (reader.remaining > 0) {
    reader.skip(24);
    total += reader.readInt64();
  }
  return BigInt.asIntN(64, total);
}
