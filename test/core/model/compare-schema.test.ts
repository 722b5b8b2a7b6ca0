import { expect, test } from 'vitest';
import { compareSchemas } from '#core/model/compare-schema.ts';
import { type ColumnRow, toTableSchema } from '#core/model/schema-rows.ts';

const column = (name: string, kind: ColumnRow['kind'], type: string, more: Partial<ColumnRow> = {}): ColumnRow => ({
  table_name: 't',
  column_name: name,
  kind,
  position: kind === 'regular' || kind === 'static' ? -1 : 0,
  clustering_order: kind === 'clustering' ? 'asc' : 'none',
  type,
  ...more,
});
const table = (columns: ColumnRow[], more: { ttl?: number; gc?: number } = {}) =>
  toTableSchema(
    'ks',
    { table_name: 't', default_time_to_live: more.ttl ?? 0, gc_grace_seconds: more.gc ?? 864000 },
    columns,
    [],
    [],
  );
const base = [
  column('k', 'partition_key', 'int'),
  column('c', 'clustering', 'text'),
  column('v', 'regular', 'map<text, int>'),
];

test('equal tables have no differences', () => {
  expect(compareSchemas([table(base)], [table(base)])).toEqual([]);
});

test('what can not be moved is an error: types, keys, orders, missing columns and tables', () => {
  const messages = (columns: ColumnRow[]) =>
    compareSchemas([table(base)], [table(columns)]).map(({ severity, message }) => `${severity} ${message}`);
  const [k, c, v] = base as [ColumnRow, ColumnRow, ColumnRow];
  expect(messages([{ ...k, type: 'bigint' }, c, v])[0]).toMatch(/^error partition key/);
  expect(messages([k, { ...c, clustering_order: 'desc' }, v])[0]).toMatch(/^error clustering/);
  expect(messages([k, c, { ...v, type: 'frozen<map<text, int>>' }])[0]).toMatch(/^error column v/);
  expect(messages([k, c])[0]).toMatch(/^error column v is missing/);
  expect(compareSchemas([table(base)], [])).toMatchObject([{ severity: 'error', message: 'is missing on the target' }]);
});

test('what changes the life of rows is a warning', () => {
  const found = compareSchemas([table(base)], [table(base, { ttl: 60, gc: 10 })]);
  expect(found.map(({ severity }) => severity)).toEqual(['warning', 'warning']);
});
