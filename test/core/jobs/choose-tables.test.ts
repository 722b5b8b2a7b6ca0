import { expect, test } from 'vitest';
import { SchemaMismatchError } from '#core/errors.ts';
import { chooseTables } from '#core/jobs/choose-tables.ts';
import { parseLoadInput } from '#core/jobs/load-plan.ts';
import { type PlanLoadPorts, readTargets, type TargetTables } from '#core/jobs/load-planning.ts';
import { createRenames, type RenameRules } from '#core/model/rename.ts';
import type { TableSchema } from '#core/model/table-schema.ts';

const table = (keyspace: string, name: string): TableSchema => ({
  keyspace,
  table: name,
  partitionKey: [{ name: 'id', type: { kind: 'native', name: 'int' } }],
  clustering: [],
  staticColumns: [],
  regularColumns: [],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
});
const input = parseLoadInput({ keyspace: 'a', snapshot: 's3://b/snap' });
const snapshotOf = (...names: string[]) => ({
  nodes: ['n1'],
  manifests: [],
  tables: names.map((name) => ({ keyspace: 'a', table: name, sstables: [] })),
});

function choose(names: readonly string[], target: Partial<TargetTables>, rules: Partial<RenameRules>) {
  const renames = createRenames({ keyspaces: {}, tables: {}, ...rules });
  const all = { tables: [], views: [], indexes: [], ...target };
  const { chosen, skipped } = chooseTables(input, snapshotOf(...names), all, null, renames);
  return { chosen: chosen.map(({ schema }) => `${schema.keyspace}.${schema.table}`), skipped };
}

const aView = { reason: 'a materialized view: the target builds it' };

test('a view of another keyspace does not keep a table of the same name from being loaded', () => {
  const target = { tables: [table('a', 'y'), table('c', 'x')], views: [{ keyspace: 'c', table: 'y' }] };
  expect(choose(['x', 'y'], target, { tables: { 'a.x': 'c.x' } })).toEqual({ chosen: ['c.x', 'a.y'], skipped: [] });
});

test('a view is known by the name that it has on the target', () => {
  const target = { tables: [table('c', 'x')], views: [{ keyspace: 'c', table: 'moved' }] };
  const rules = { tables: { 'a.x': 'c.x', 'a.y': 'c.moved' } };
  expect(choose(['x', 'y'], target, rules)).toEqual({ chosen: ['c.x'], skipped: [{ table: 'y', ...aView }] });
  expect(choose(['y'], { views: [{ keyspace: 'b', table: 'y' }] }, { keyspaces: { a: 'b' } }).skipped).toEqual([
    { table: 'y', ...aView },
  ]);
});

test('a table that the target lacks is refused by its name there', () => {
  expect(() => choose(['x'], {}, { keyspaces: { a: 'b' } })).toThrow(/target has no table b\.x; run ringshift schema/);
});

test('a keyspace all of whose tables were moved by rules needs none on the target; none anywhere is refused', async () => {
  const renames = createRenames({ keyspaces: {}, tables: { 'a.x': 'c.x' } });
  const readTarget = async (keyspace: string): Promise<TargetTables> => {
    if (keyspace !== 'c') throw new SchemaMismatchError(`there is no keyspace ${keyspace} with tables`);
    return { tables: [table('c', 'x')], views: [], indexes: [] };
  };
  const ports = { readTarget } as unknown as PlanLoadPorts;
  const found = await readTargets(ports, renames, 'a', undefined);
  expect(found.tables.map((each) => each.table)).toEqual(['x']);
  await expect(readTargets(ports, createRenames({ keyspaces: {}, tables: {} }), 'a', undefined)).rejects.toThrow(
    'there is no keyspace a with tables',
  );
});
