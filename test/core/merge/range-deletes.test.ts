import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type RangeEnd, rangeDeletes } from '#core/merge/range-deletes.ts';
import type { SliceDelete } from '#core/merge/writes.ts';
import { clusteringOf } from '#core/model/row.ts';
import { expectSame } from '../../support/expect-same.ts';
import { int, int32, schemaOf } from './support.ts';

const deletion = { timestampMicros: 7n, localDeletionTimeSeconds: 1 };
const numberOf = (value: Uint8Array | null) => new DataView(value!.slice().buffer).getInt32(0);

/** Positions count in clustering order, so DESC columns have their sign turned. */
const positionOf = (values: readonly number[], reversed: readonly boolean[]) =>
  values.map((value, index) => (reversed[index] ? -value : value));

function isAfterStart(row: number[], start: number[], inclusive: boolean): boolean {
  for (const [index, value] of start.entries()) if (row[index]! !== value) return row[index]! > value;
  return inclusive;
}

function isBeforeEnd(row: number[], end: number[], inclusive: boolean): boolean {
  for (const [index, value] of end.entries()) if (row[index]! !== value) return row[index]! < value;
  return inclusive;
}

function hits(piece: SliceDelete, row: number[], reversed: readonly boolean[]): boolean {
  const turn = (value: Uint8Array, index: number) => (reversed[index] ? -numberOf(value) : numberOf(value));
  if (!piece.equal.every((value, index) => turn(value, index) === row[index])) return false;
  const depth = piece.equal.length;
  const { lower, upper } = piece;
  if (
    lower &&
    !(row[depth]! > turn(lower.value, depth) || (lower.inclusive && row[depth] === turn(lower.value, depth)))
  )
    return false;
  return (
    !upper || row[depth]! < turn(upper.value, depth) || (upper.inclusive && row[depth] === turn(upper.value, depth))
  );
}

const rows = [0, 1, 2].flatMap((a) => [0, 1, 2].flatMap((b) => [0, 1, 2].map((c) => [a, b, c])));
const end = fc.record({ values: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }), inclusive: fc.boolean() });

test('the slices of a range hit exactly its rows, whatever the directions of the columns', () => {
  fc.assert(
    fc.property(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()), end, end, (reversed, from, to) => {
      const schema = schemaOf({
        staticColumns: [{ name: 's', type: int }],
        clustering: reversed.map((isReversed, index) => ({ name: `c${index}`, type: int, reversed: isReversed })),
      });
      // No bound: everything on that side is inside.
      const start = { ...from, inclusive: from.inclusive || from.values.length === 0 };
      const stop = { ...to, inclusive: to.inclusive || to.values.length === 0 };
      const [low, high] = [positionOf(start.values, reversed), positionOf(stop.values, reversed)];
      const isIn = (row: number[]) => isAfterStart(row, low, start.inclusive) && isBeforeEnd(row, high, stop.inclusive);
      const expected = rows.filter((row) => isIn(positionOf(row, reversed)));
      // Cassandra never writes a range that is empty by its own order.
      fc.pre(expected.length > 0);
      const toEnd = ({ values, inclusive }: typeof from): RangeEnd => ({
        clustering: clusteringOf(values.map(int32)),
        inclusive,
      });
      const pieces = rangeDeletes(schema, toEnd(start), toEnd(stop), deletion) as SliceDelete[];
      expect(pieces.length).toBeLessThanOrEqual(5);
      const hit = rows.filter((row) => pieces.some((piece) => hits(piece, positionOf(row, reversed), reversed)));
      expectSame(hit, expected);
    }),
    { numRuns: 3000 },
  );
});

test('a value in two byte forms is one value: nothing beyond the range is hit', () => {
  const native = (name: 'decimal' | 'tinyint') => ({ kind: 'native', name }) as const;
  const schema = schemaOf({
    clustering: [
      { name: 'c1', type: native('decimal'), reversed: false },
      { name: 'c2', type: native('tinyint'), reversed: false },
    ],
  });
  const decimal = (scale: number, unscaled: number) => Uint8Array.of(0, 0, 0, scale, unscaled);
  const [ten, hundred] = [decimal(1, 10), decimal(2, 100)];
  const start = { clustering: clusteringOf([ten, Uint8Array.of(5)]), inclusive: false };
  const stop = { clustering: clusteringOf([hundred, Uint8Array.of(7)]), inclusive: true };
  expect(rangeDeletes(schema, start, stop, deletion)).toEqual([
    {
      ...deletion,
      kind: 'deleteSlice',
      equal: [ten],
      lower: { value: Uint8Array.of(5), inclusive: false },
      upper: { value: Uint8Array.of(7), inclusive: true },
    },
  ]);
  const whole = (value: Uint8Array) => ({ clustering: clusteringOf([value]), inclusive: true });
  expect(rangeDeletes(schema, whole(ten), whole(hundred), deletion)).toMatchObject([{ equal: [ten] }]);
});
