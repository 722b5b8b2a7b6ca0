import { expect, test } from 'vitest';
import { warnOfUnknownTables } from '#core/jobs/unknown-entries.ts';
import { schemaOf } from '../merge/support.ts';

const target = { tables: [{ ...schemaOf(), keyspace: 'ks', table: 't' }], views: [{ keyspace: 'ks', table: 'v' }] };
const entry = (keyspace: string, table: string) => ({ keyspace, table, optional: false });

test('a table of the loaded keyspace that the target lacks is told once; those of other keyspaces are for other loads', () => {
  const list = [entry('ks', 't'), entry('ks', 'v'), entry('ks', 'tt'), entry('ks', 'tt'), entry('other', 'x')];
  expect(warnOfUnknownTables(list, target)).toEqual([
    'the list of indexes names tables that the target does not have: ks.tt',
  ]);
  expect(warnOfUnknownTables(list.slice(0, 2), target)).toEqual([]);
  expect(warnOfUnknownTables([{ ...entry('ks', 'tt'), optional: true }], target)).toEqual([]);
  expect(warnOfUnknownTables(undefined, target)).toEqual([]);
});
