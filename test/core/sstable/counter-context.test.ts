import fc from 'fast-check';
import { expect, test } from 'vitest';
import { counterTotal, mergeCounters } from '#core/sstable/counter-context.ts';

interface Shard {
  readonly id: number;
  readonly kind: 'global' | 'local' | 'remote';
  readonly clock: bigint;
  readonly count: bigint;
}

/** A second, dumb writer of contexts; ids ascend. */
function context(...shards: readonly Shard[]): Uint8Array {
  const listed = shards.flatMap(({ kind }, index) =>
    kind === 'remote' ? [] : [kind === 'global' ? index - 32768 : index],
  );
  const bytes = Buffer.alloc(2 + 2 * listed.length + 32 * shards.length);
  let at = bytes.writeInt16BE(listed.length);
  for (const index of listed) at = bytes.writeInt16BE(index, at);
  for (const { id, clock, count } of shards) {
    bytes[at + 15] = id;
    bytes.writeBigInt64BE(clock, at + 16);
    at = bytes.writeBigInt64BE(count, at + 24);
  }
  return new Uint8Array(bytes);
}

const global = (id: number, clock: bigint, count: bigint): Shard => ({ id, kind: 'global', clock, count });
const local = (id: number, clock: bigint, count: bigint): Shard => ({ id, kind: 'local', clock, count });
const remote = (id: number, clock: bigint, count: bigint): Shard => ({ id, kind: 'remote', clock, count });

test.each<[string, Shard, Shard, Shard]>([
  ['of two global shards the one with the higher clock', global(1, 5n, 50n), global(1, 6n, 3n), global(1, 6n, 3n)],
  ['of two of one clock the one with the higher count', global(1, 5n, 50n), global(1, 5n, 51n), global(1, 5n, 51n)],
  ['a global one before a local one', global(1, 1n, 7n), local(1, 9n, 50n), global(1, 1n, 7n)],
  ['a global one before a remote one', remote(1, 9n, 50n), global(1, 1n, 7n), global(1, 1n, 7n)],
  ['a local one before a remote one', remote(1, 9n, 50n), local(1, 1n, 7n), local(1, 1n, 7n)],
  ['the sum of two local ones', local(1, 2n, 5n), local(1, 3n, -7n), local(1, 5n, -2n)],
  ['the sum of two equal local ones', local(1, 2n, 5n), local(1, 2n, 5n), local(1, 4n, 10n)],
  ['of two remote ones the one with the higher clock', remote(1, 5n, 50n), remote(1, 6n, 3n), remote(1, 6n, 3n)],
  ['of negative remote clocks the lower one', remote(1, -5n, 50n), remote(1, -6n, 3n), remote(1, -6n, 3n)],
])('a merge keeps %s', (_, left, right, expected) => {
  expect(mergeCounters(context(left), context(right))).toEqual(context(expected));
  expect(mergeCounters(context(right), context(left))).toEqual(context(expected));
});

test('shards of different ids stand side by side, ascending, and the header names the right ones', () => {
  const left = context(global(1, 1n, 10n), remote(5, 1n, 20n));
  const right = context(local(3, 1n, 30n), global(5, 1n, 40n), global(9, 1n, 50n));
  const all = context(global(1, 1n, 10n), local(3, 1n, 30n), global(5, 1n, 40n), global(9, 1n, 50n));
  expect(mergeCounters(left, right)).toEqual(all);
  expect(counterTotal(all)).toBe(130n);
});

test('a context that says all is given as it is', () => {
  const [less, more] = [context(global(1, 1n, 10n)), context(global(1, 2n, 11n), global(2, 1n, 1n))];
  expect(mergeCounters(less, more)).toBe(more);
  expect(mergeCounters(more, less)).toBe(more);
});

test('merging global shards in any order and any number of times gives one total', () => {
  const anyShard = fc.record({
    id: fc.integer({ min: 1, max: 4 }),
    clock: fc.bigInt({ min: 0n, max: 5n }),
    count: fc.bigInt({ min: -9n, max: 9n }),
  });
  fc.assert(
    fc.property(
      fc.array(anyShard, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (shards, repeats) => {
        const contexts = shards.map(({ id, clock, count }) => context(global(id, clock, count)));
        const best = new Map<number, (typeof shards)[number]>();
        for (const shard of shards) {
          const known = best.get(shard.id);
          const beats =
            !known || shard.clock > known.clock || (shard.clock === known.clock && shard.count > known.count);
          if (beats) best.set(shard.id, shard);
        }
        const total = [...best.values()].reduce((sum, { count }) => sum + count, 0n);
        const order = [...contexts, ...repeats.map((at) => contexts[at % contexts.length]!)].reverse();
        expect(counterTotal(order.reduce(mergeCounters))).toBe(total);
      },
    ),
  );
});

test('a context that is cut anywhere, or names a shard that is not there, is refused', () => {
  const whole = context(global(1, 1n, 10n), local(2, 1n, 20n));
  for (let length = 0; length < whole.length; length++) {
    if ((length - 6) % 32 !== 0) expect(() => counterTotal(whole.subarray(0, length))).toThrow(RangeError);
  }
  expect(() => counterTotal(whole.subarray(0, 38))).toThrow(RangeError);
});
