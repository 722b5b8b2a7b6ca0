import { expect, test } from 'vitest';
import {
  createIndexStatement,
  dropIndexStatement,
  type IndexDefinition,
  isSameIndex,
} from '#core/model/index-definition.ts';

const index = (name: string, kind: string, options: Record<string, string>): IndexDefinition => ({
  keyspace: 'ks',
  table: 't',
  name,
  kind,
  options,
});

// The rows of system_schema.indexes and the texts of DESCRIBE INDEX, as Cassandra 4.1.10 and 5.0.9 give them.
test.each([
  [index('t_a', 'COMPOSITES', { target: 'a' }), 'CREATE INDEX IF NOT EXISTS t_a ON ks.t (a)'],
  [index('t_B', 'COMPOSITES', { target: '"B"' }), 'CREATE INDEX IF NOT EXISTS "t_B" ON ks.t ("B")'],
  [index('t_mk', 'COMPOSITES', { target: 'keys(m)' }), 'CREATE INDEX IF NOT EXISTS t_mk ON ks.t (keys(m))'],
  [index('t_f', 'COMPOSITES', { target: 'full(f)' }), 'CREATE INDEX IF NOT EXISTS t_f ON ks.t (full(f))'],
  [
    index('t_sai', 'CUSTOM', { normalize: 'true', class_name: 'sai', case_sensitive: 'false', target: 'e' }),
    "CREATE CUSTOM INDEX IF NOT EXISTS t_sai ON ks.t (e) USING 'sai' WITH OPTIONS = {'case_sensitive': 'false', 'normalize': 'true'}",
  ],
  [
    index('q', 'CUSTOM', { class_name: 'x.Y', target: 'e', "o'k": "it's" }),
    "CREATE CUSTOM INDEX IF NOT EXISTS q ON ks.t (e) USING 'x.Y' WITH OPTIONS = {'o''k': 'it''s'}",
  ],
])('the statement of $name is what the server itself would say', (definition, text) => {
  expect(createIndexStatement(definition)).toBe(text);
});

test('a definition that is not understood has no statement, so that nobody drops it', () => {
  expect(createIndexStatement(index('l', 'COMPOSITES', { target: '{"pk":["p"],"ck":["v"]}' }))).toBeUndefined();
  expect(createIndexStatement(index('l', 'COMPOSITES', { target: 'a', unknown: '1' }))).toBeUndefined();
  expect(createIndexStatement(index('l', 'CUSTOM', { target: 'a' }))).toBeUndefined();
  expect(createIndexStatement(index('l', 'COMPOSITES', {}))).toBeUndefined();
});

test('an index is dropped by its quoted name in its keyspace', () => {
  expect(dropIndexStatement(index('t_B', 'COMPOSITES', { target: 'a' }))).toBe('DROP INDEX IF EXISTS ks."t_B"');
});

test('the order of options makes no difference, their values do', () => {
  const a = index('i', 'CUSTOM', { target: 'e', class_name: 'sai', normalize: 'true' });
  expect(isSameIndex(a, index('i', 'CUSTOM', { normalize: 'true', class_name: 'sai', target: 'e' }))).toBe(true);
  expect(isSameIndex(a, index('i', 'CUSTOM', { normalize: 'false', class_name: 'sai', target: 'e' }))).toBe(false);
  expect(isSameIndex(a, { ...a, table: 'u' })).toBe(false);
});
