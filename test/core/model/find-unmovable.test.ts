import { expect, test } from 'vitest';
import type { CqlType } from '#core/model/cql-type.ts';
import { findUnmovable } from '#core/model/find-unmovable.ts';
import { createRenames, type RenameRules } from '#core/model/rename.ts';
import { schemaOf } from '../merge/support.ts';

const int: CqlType = { kind: 'native', name: 'int' };
const street: CqlType = { kind: 'udt', keyspace: 'old', name: 'street', fields: [], frozen: true };
const address: CqlType = {
  ...{ kind: 'udt', keyspace: 'old', name: 'address', frozen: true },
  fields: [{ name: 's', type: street }],
};
const regularColumns = [{ name: 'a', type: { kind: 'map', key: int, value: address, frozen: false } as const }];
const table = { ...schemaOf(), keyspace: 'old', table: 't', regularColumns };
const none = () => false;
const rules = (tables: RenameRules['tables'], keyspaces: RenameRules['keyspaces'] = {}) =>
  createRenames({ keyspaces, tables });

test('a table that leaves its keyspace needs its user types, nested ones too, where it goes', () => {
  const renames = rules({ 'old.t': 'new.t' });
  expect(findUnmovable([table], [], renames, none)).toEqual([
    expect.stringMatching(/^old\.t goes to new\.t, and its user type address .* create new\.address by hand first$/),
    expect.stringMatching(/create new\.street by hand first$/),
  ]);
  expect(findUnmovable([table], [], renames, (keyspace) => keyspace === 'new')).toEqual([]);
});

test('under a rule for the whole keyspace, or a new name in it, types go along', () => {
  expect(findUnmovable([table], [], rules({}, { old: 'new' }), none)).toEqual([]);
  expect(findUnmovable([table], [], rules({ 'old.t': 'new.u' }, { old: 'new' }), none)).toEqual([]);
});

test('a view must go where its table goes', () => {
  const view = { keyspace: 'old', table: 'v', base: 't' };
  expect(findUnmovable([], [view], rules({ 'old.t': 'new.t' }), none)).toEqual([
    'the view old.v would be in old and its table in new; add to renames.tables: old.v: new.v',
  ]);
  expect(findUnmovable([], [view], rules({ 'old.t': 'new.t', 'old.v': 'new.v' }), none)).toEqual([]);
});
