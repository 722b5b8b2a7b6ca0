import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type DifferenceKind, emptyJoinTotals, joinDigests } from '#core/checksum/digest-join.ts';
import type { RowDigest } from '#core/checksum/row-digest.ts';

/** Few tokens and keys, so that tokens collide and partitions meet. */
const side = fc.dictionary(
  fc.tuple(fc.integer({ min: -3, max: 3 }), fc.constantFrom('a', 'b', 'ab')).map(([token, key]) => `${token}/${key}`),
  fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 3 }),
);
type Side = Readonly<Record<string, readonly number[]>>;

function place(id: string): { token: bigint; key: string } {
  const [token = '', key = ''] = id.split('/');
  return { token: BigInt(token), key };
}

function inOrder(ids: Iterable<string>): string[] {
  return [...ids].sort((x, y) => {
    const [a, b] = [place(x), place(y)];
    return a.token === b.token ? (a.key < b.key ? -1 : 1) : a.token < b.token ? -1 : 1;
  });
}

function rowsOf(partitions: Side): RowDigest[] {
  return inOrder(Object.keys(partitions)).flatMap((id) => {
    const { token, key } = place(id);
    const bytes = new TextEncoder().encode(key);
    return (partitions[id] ?? []).map((digest) => ({
      partition: { token, keyValues: [bytes] },
      key: bytes,
      digest: BigInt(digest),
      expiries: [],
    }));
  });
}

async function* inBatches<T>(items: readonly T[], size: number): AsyncGenerator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) {
    yield [];
    yield items.slice(at, at + size);
  }
}

/** The comparison as one would write it with everything in memory. */
function naive(origin: Side, target: Side): [string, DifferenceKind][] {
  return inOrder(new Set([...Object.keys(origin), ...Object.keys(target)])).flatMap(
    (id): [string, DifferenceKind][] => {
      const [o, t] = [origin[id], target[id]];
      if (!o) return [[id, 'onlyInTarget']];
      if (!t) return [[id, 'onlyInOrigin']];
      return JSON.stringify(o) === JSON.stringify(t) ? [] : [[id, 'differs']];
    },
  );
}

const nameOf = (token: bigint, key: Uint8Array) => `${token}/${new TextDecoder().decode(key)}`;

test('the merge-join finds what a comparison in memory finds, whatever the page size', async () => {
  await fc.assert(
    fc.asyncProperty(side, side, fc.integer({ min: 1, max: 4 }), async (origin, target, size) => {
      const totals = emptyJoinTotals();
      const found: [string, DifferenceKind][] = [];
      const [o, t] = [rowsOf(origin), rowsOf(target)];
      for await (const { kind, partition } of joinDigests(inBatches(o, size), inBatches(t, size), totals)) {
        found.push([nameOf(partition.token, partition.keyValues[0]!), kind]);
      }
      expect(found).toEqual(naive(origin, target));
      expect(totals).toMatchObject({ originRows: o.length, targetRows: t.length, isComplete: true });
      expect(totals.partitions).toBe(new Set([...Object.keys(origin), ...Object.keys(target)]).size);
    }),
  );
});

test('stopping at any place and going on behind its token compares each partition exactly once', async () => {
  await fc.assert(
    fc.asyncProperty(side, side, fc.array(fc.boolean(), { minLength: 1 }), async (origin, target, stops) => {
      const found: [string, DifferenceKind][] = [];
      let after: bigint | undefined;
      let partitions = 0;
      let at = 0;
      for (;;) {
        const behind = (row: RowDigest) => after === undefined || row.partition.token > after;
        const totals = emptyJoinTotals();
        const parts = [origin, target].map((each) => inBatches(rowsOf(each).filter(behind), 2));
        const shouldStop = () => stops[at++ % stops.length] ?? true;
        for await (const { kind, partition } of joinDigests(parts[0]!, parts[1]!, totals, { shouldStop })) {
          found.push([nameOf(partition.token, partition.keyValues[0]!), kind]);
        }
        partitions += totals.partitions;
        if (totals.isComplete) break;
        after = totals.throughToken;
      }
      expect(found).toEqual(naive(origin, target));
      expect(partitions).toBe(new Set([...Object.keys(origin), ...Object.keys(target)]).size);
    }),
  );
});
