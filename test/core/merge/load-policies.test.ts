import { expect, test } from 'vitest';
import { tombstonePolicy, unclearListTimes } from '#core/merge/load-policies.ts';

test('recent keeps the deletions that a late shadow write might meet; all and none say themselves', () => {
  expect([99n, 100n].map(tombstonePolicy('recent', 150n, 50n))).toEqual([false, true]);
  expect(tombstonePolicy('recent', undefined)(1n)).toBe(true);
  expect([tombstonePolicy('all', 150n)(1n), tombstonePolicy('none', 150n)(999n)]).toEqual([true, false]);
});

test('list cells are unclear from a second before the dual writes until every proxy has been seen in them', () => {
  const second = 1_000_000n;
  const since = 100n * second;
  const isUnclear = unclearListTimes(since, 103n * second);
  expect([98n, 99n, 100n, 113n, 114n].map((at) => isUnclear(at * second))).toEqual([false, true, true, true, false]);
  expect(unclearListTimes(since, undefined)(999n * second)).toBe(true);
  expect(unclearListTimes(undefined, undefined)(999n * second)).toBe(false);
});
