import { expect, test } from 'vitest';
import {
  type CopyOptions,
  compareElements,
  elementsFrom,
  type SchemaElement,
  toTargetStatements,
} from '#adapters/cassandra/copy-schema.ts';
import { createRenames, NO_RENAMES } from '#core/model/rename.ts';

const elements: SchemaElement[] = [
  {
    type: 'keyspace',
    name: 'ks',
    statement:
      "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '2'}  AND durable_writes = true;",
  },
  {
    type: 'table',
    name: 't',
    statement: "CREATE TABLE ks.t (\n    a int PRIMARY KEY\n) WITH comment = 'CREATE TABLE x';",
  },
  { type: 'index', name: 'i', statement: 'CREATE INDEX i ON ks.t (b);' },
];
const texts = (options: Partial<CopyOptions>) =>
  toTargetStatements('ks', elements, {
    ...{ replication: null, skipIndexes: false, renames: createRenames(NO_RENAMES) },
    ...options,
  }).map(({ statement }) => statement);

test('every statement may run twice, and only its head is changed', () => {
  const [keyspace, table, index] = texts({ replication: null, skipIndexes: false });
  expect(keyspace).toMatch(/^CREATE KEYSPACE IF NOT EXISTS ks WITH replication = \{'class': 'SimpleStrategy'/);
  expect(table).toBe("CREATE TABLE IF NOT EXISTS ks.t (\n    a int PRIMARY KEY\n) WITH comment = 'CREATE TABLE x'");
  expect(index).toBe('CREATE INDEX IF NOT EXISTS i ON ks.t (b)');
});

test('the replication is overridden in the keyspace alone', () => {
  const [keyspace, table] = texts({ replication: "{'class': 'NetworkTopologyStrategy', 'dc1': 3}", skipIndexes: true });
  expect(keyspace).toContain("replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}  AND durable_writes = true");
  expect(table).not.toContain('NetworkTopologyStrategy');
});

test('indexes can be left for after the load', () => {
  expect(texts({ replication: null, skipIndexes: true })).toHaveLength(2);
});

test('the names of a renamed keyspace are those of the target, with its own replication', () => {
  const renames = createRenames({ keyspaces: { ks: 'other' }, tables: { 'ks.t': 'third.u' } });
  const [keyspace, table, index] = texts({ renames, replication: "{'class': 'SimpleStrategy'}" });
  expect(keyspace).toBe(
    "CREATE KEYSPACE IF NOT EXISTS other WITH replication = {'class': 'SimpleStrategy'}  AND durable_writes = true",
  );
  expect(table).toContain('CREATE TABLE IF NOT EXISTS third.u (');
  expect(index).toBe('CREATE INDEX IF NOT EXISTS i ON third.u (b)');
});

test('what is neither table nor index is compared by kind and name', () => {
  const [keyspace, table, index] = elements as [SchemaElement, SchemaElement, SchemaElement];
  const named = (type: SchemaElement['type']): SchemaElement => ({ type, name: 'i', statement: '' });
  expect(compareElements([keyspace, table, index, named('function')], [named('type')])).toEqual({
    onlyInOrigin: ['function i'],
    onlyInTarget: ['type i'],
  });
});

test('of a keyspace that others share only what is their own belongs to them', () => {
  const renames = createRenames({ keyspaces: {}, tables: { 'ks.v': 'shared.w' } });
  const named = (type: SchemaElement['type'], name: string): SchemaElement => ({ type, name, statement: '' });
  const there = [named('type', 'address'), named('materialized_view', 'w'), named('materialized_view', 'other')];
  const namesOf = (keyspace: string) =>
    elementsFrom(keyspace, 'shared', there, renames).map(({ type, name }) => `${type} ${name}`);
  expect(namesOf('ks')).toEqual(['materialized_view v']);
  expect(namesOf('shared')).toEqual(['type address', 'materialized_view other']);
});
