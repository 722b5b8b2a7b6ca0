import { expect, test } from 'vitest';
import { type SnapshotFolder, withoutDroppedTables } from '../../cli/snapshot-files.ts';

const folderOf = (table: string, tableId: string): SnapshotFolder => ({
  keyspace: 'shop',
  table,
  tableId,
  files: [],
  createdAt: null,
  droppedColumns: [],
});
const folders = [folderOf('orders', 'aa'), folderOf('orders', 'bb'), folderOf('users', 'cc')];

test('the snapshot of a dropped table is left out when the node says which table lives', () => {
  const live = new Map([
    ['shop.orders', 'bb'],
    ['shop.users', 'cc'],
  ]);
  expect(withoutDroppedTables(folders, live).map(({ tableId }) => tableId)).toEqual(['bb', 'cc']);
});

test('a table that is only dropped is left out as well', () => {
  expect(withoutDroppedTables(folders, new Map([['shop.users', 'cc']])).map(({ table }) => table)).toEqual(['users']);
});

test('two tables of one name that nobody can tell apart are refused', () => {
  expect(() => withoutDroppedTables(folders, new Map())).toThrow(/two tables named shop\.orders.*orders-aa, orders-bb/);
  expect(withoutDroppedTables(folders.slice(1), new Map())).toHaveLength(2);
});
