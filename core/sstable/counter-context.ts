/**
 * The value of a live counter cell, its context:
 * ```
 * i16 n; n × i16 shard index: below 0 index − 32768 of a global shard, else of a local one
 * shards, ascending by id: 16 bytes counter id; i64 clock; i64 count; those that are not listed are remote
 * ```
 * Cassandra 2.1 and later writes global shards only; local and remote ones are what is left of earlier versions.
 *
 * @see org.apache.cassandra.db.context.CounterContext
 */

import { compareByteRanges } from '#core/model/compare-value.ts';

const ID_BYTES = 16;
const SHARD_BYTES = 32;
const GLOBAL_BASE = -32768;

type ShardKind = 'global' | 'local' | 'remote';

interface Shard {
  readonly kind: ShardKind;
  /** Where its id lies. */
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly clock: bigint;
  readonly count: bigint;
}

/** @throws RangeError when the bytes are no counter context */
function readShards(context: Uint8Array): Shard[] {
  const view = new DataView(context.buffer, context.byteOffset, context.length);
  const listed = context.length < 2 ? 0 : Math.abs(view.getInt16(0));
  const start = 2 + 2 * listed;
  if (context.length < start || (context.length - start) % SHARD_BYTES !== 0) {
    throw new RangeError(`a counter of ${context.length} bytes`);
  }
  const count = (context.length - start) / SHARD_BYTES;
  const kinds = new Array<ShardKind>(count).fill('remote');
  for (let at = 2; at < start; at += 2) {
    const index = view.getInt16(at);
    const shard = index < 0 ? index - GLOBAL_BASE : index;
    if (shard >= count) throw new RangeError(`a counter of ${count} shards names shard ${shard}`);
    kinds[shard] = index < 0 ? 'global' : 'local';
  }
  return kinds.map((kind, index) => {
    const offset = start + index * SHARD_BYTES;
    const clock = view.getBigInt64(offset + ID_BYTES);
    return { kind, bytes: context, offset, clock, count: view.getBigInt64(offset + ID_BYTES + 8) };
  });
}

/**
 * The total of a live counter cell's value.
 * @throws RangeError when the bytes are no counter context
 */
export function counterTotal(context: Uint8Array): bigint {
  return BigInt.asIntN(
    64,
    readShards(context).reduce((total, { count }) => total + count, 0n),
  );
}

/**
 * The context that holds what both hold. One of the arguments when that says all.
 * @throws RangeError when one of them is no counter context
 */
export function mergeCounters(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.length === right.length && compareByteRanges(left, 0, left.length, right, 0, right.length) === 0) {
    // Local shards are increments that no other context holds: even equal ones add up.
    if (!readShards(left).some(({ kind }) => kind === 'local')) return left;
  }
  const [a, b] = [readShards(left), readShards(right)];
  const merged: Shard[] = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    const [x, y] = [a[i], b[j]];
    const order = x === undefined ? 1 : y === undefined ? -1 : compareIds(x, y);
    merged.push(order < 0 ? x! : order > 0 ? y! : mergeShards(x!, y!));
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
  if (merged.length === a.length && merged.every((shard, index) => shard === a[index])) return left;
  if (merged.length === b.length && merged.every((shard, index) => shard === b[index])) return right;
  return writeShards(merged);
}

function compareIds(left: Shard, right: Shard): number {
  const [a, b] = [left.offset, right.offset];
  return compareByteRanges(left.bytes, a, a + ID_BYTES, right.bytes, b, b + ID_BYTES);
}

/** Two shards of one id: global before local before remote; of one kind the later one, but local ones add up. */
function mergeShards(left: Shard, right: Shard): Shard {
  if (left.kind !== right.kind) {
    if (left.kind === 'global' || right.kind === 'global') return left.kind === 'global' ? left : right;
    return left.kind === 'local' ? left : right;
  }
  if (left.kind === 'local') {
    const clock = BigInt.asIntN(64, left.clock + right.clock);
    return { ...left, clock, count: BigInt.asIntN(64, left.count + right.count) };
  }
  // Must not be, but then the higher count wins, so that all replicas take the same.
  if (left.clock === right.clock) return left.count >= right.count ? left : right;
  return isLater(left, right) ? left : right;
}

/** Negative clocks of remote shards stand for shards that were replaced: the lower one is the later one. */
function isLater({ kind, clock: left }: Shard, { clock: right }: Shard): boolean {
  if (kind === 'global') return left > right;
  return (left >= 0n && right > 0n && left >= right) || (left < 0n && (right > 0n || left < right));
}

function writeShards(shards: readonly Shard[]): Uint8Array {
  const listed = shards.flatMap(({ kind }, index) =>
    kind === 'global' ? [index + GLOBAL_BASE] : kind === 'local' ? [index] : [],
  );
  const start = 2 + 2 * listed.length;
  const context = new Uint8Array(start + shards.length * SHARD_BYTES);
  const view = new DataView(context.buffer);
  view.setInt16(0, listed.length);
  for (const [at, index] of listed.entries()) view.setInt16(2 + 2 * at, index);
  for (const [index, { bytes, offset, clock, count }] of shards.entries()) {
    const at = start + index * SHARD_BYTES;
    context.set(bytes.subarray(offset, offset + ID_BYTES), at);
    view.setBigInt64(at + ID_BYTES, clock);
    view.setBigInt64(at + ID_BYTES + 8, count);
  }
  return context;
}
