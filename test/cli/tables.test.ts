import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { jsonOf, runRingshift } from './run-ringshift.ts';

let folder: string;
let config: string;
let ledger: Ledger;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-tables-'));
  config = join(folder, 'migration.yaml');
  const clusters = 'origin: { contactPoints: [127.0.0.1] }\ntarget: { contactPoints: [127.0.0.1] }\n';
  writeFileSync(config, `${clusters}ledger: { kind: file, path: ${join(folder, 'ledger')} }\n`);
  ledger = createLedger(createFileLedgerStore(join(folder, 'ledger')));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tables = (...args: string[]) => runRingshift(['tables', ...args, '--config', config]);

test('tables are listed with what is known of them, in their order', async () => {
  const now = new Date();
  await ledger.setTable('shop', 'carts', 'validated', {
    now,
    by: 'validation',
    facts: { loadedAt: now.toISOString() },
  });
  const at = now.toISOString();
  const mark = { version: 1 as const, keyspace: 'shop', table: 'carts', range: null, reason: 'lost', by: 'p1', at };
  await ledger.addSuspect('m', mark);
  expect((await tables('order', 'shop.orders=1', 'shop.carts=2')).code).toBe(0);
  const { code, stdout } = await tables('list');
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toBe('shop.orders: pending, order 1');
  expect(lines[1]).toMatch(/^shop\.carts: validated, order 2, loaded .*, 1 mark$/);
  const cleared = await tables('order', 'shop.orders=', '--json');
  expect(jsonOf<{ tables: object[] }>(cleared).tables[0]).not.toHaveProperty('order');
});

test('a table that is to be loaded again says why and who, and keeps its place', async () => {
  const { code, stdout } = await tables('remigrate', 'shop.carts', '--why', 'restored from a backup', '--json');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ tables: [{ state: 'suspect', order: 2 }] });
  const record = await ledger.readTable('shop', 'carts');
  expect(record?.remigrate).toMatchObject({ why: 'restored from a backup', by: expect.stringContaining('@') });
  expect((await tables('list', '--keyspace', 'shop')).stdout).toContain('to be loaded again: restored from a backup');
});

test.each([
  [['order', 'shop.carts'], 'is not KEYSPACE.TABLE=N'],
  [['order', 'shop.orders=5', 'shop.carts=first'], 'the order is a whole number'],
  [['remigrate', 'shop.carts', '--why', ' '], '--why needs words'],
])('%j is refused and nothing is changed', async (args, message) => {
  const before = await ledger.listTables();
  const { code, stderr } = await tables(...args);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
  expect(await ledger.listTables()).toEqual(before);
});
