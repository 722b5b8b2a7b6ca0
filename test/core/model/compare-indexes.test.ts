import { expect, test } from 'vitest';
import { compareIndexes } from '#core/model/compare-indexes.ts';
import type { IndexDefinition } from '#core/model/index-definition.ts';
import { createRenames, NO_RENAMES } from '#core/model/rename.ts';

const index = (keyspace: string, table: string, name: string, target = 'v'): IndexDefinition => ({
  ...{ keyspace, table, name, kind: 'COMPOSITES' },
  options: { target },
});
const renames = createRenames({ keyspaces: {}, tables: { 'a.t': 'c.t1' } });

test('an index is found under the names that its table has on the target', () => {
  const target = [index('c', 't1', 'i'), index('a', 'u', 'j')];
  expect(compareIndexes('a', [index('a', 't', 'i'), index('a', 'u', 'j')], target, renames)).toEqual([]);
});

test('an index whose name another table has on the target is missing there', () => {
  const found = compareIndexes('a', [index('a', 't', 'i')], [index('c', 'other', 'i')], renames);
  expect(found).toEqual([
    {
      ...{ severity: 'error', table: 'a.t' },
      message: expect.stringMatching(
        /^index i \(ON c\.t1 \(v\)\) is missing on the target, where its name belongs to ON c\.other/,
      ),
    },
  ]);
});

test('an index on another column is another index', () => {
  const same = createRenames(NO_RENAMES);
  const found = compareIndexes('a', [index('a', 't', 'i')], [index('a', 't', 'i', 'w')], same);
  expect(found.map(({ severity }) => severity)).toEqual(['error']);
  expect(compareIndexes('a', [index('a', 't', 'i')], [], same)[0]?.message).toMatch(/is missing on the target$/);
});

test('of indexes on the target only, those of other keyspaces of the origin are left out', () => {
  const target = [index('c', 't1', 'extra'), index('c', 'own', 'x')];
  expect(compareIndexes('a', [], target, renames)).toEqual([
    { severity: 'warning', table: 'a.t', message: 'index extra exists on the target only' },
  ]);
});
