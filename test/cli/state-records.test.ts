import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { importRecords, readExport, writeExport } from '../../cli/state-records.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'state-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const OPTIONS = { overwrite: false, whileRunning: false, onProgress: () => undefined };

async function recordsOf(store: ReturnType<typeof createMemoryLedgerStore>) {
  const found: [string, unknown][] = [];
  for await (const { key, value } of store.entries('')) found.push([key, JSON.parse(value)]);
  return found;
}

test('ten thousand records go out and come back as they were, and the file is the owner’s alone', async () => {
  const store = createMemoryLedgerStore();
  for (let index = 0; index < 10_000; index++) {
    await store.put(`ranges/r1/${String(index).padStart(8, '0')}.json`, JSON.stringify({ index, text: 'ä "x"\n' }));
  }
  const file = join(directory, 'export.jsonl');
  expect(await writeExport(store, file)).toBe(10_000);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const other = createMemoryLedgerStore();
  const told: number[] = [];
  const outcome = await importRecords(other, readExport(file), { ...OPTIONS, onProgress: (count) => told.push(count) });
  expect(outcome).toEqual({ written: 10_000, kept: [] });
  expect(told).toEqual(Array.from({ length: 10 }, (_, index) => (index + 1) * 1000));
  expect(await recordsOf(other)).toEqual(await recordsOf(store));
});

test('records that exist are kept, or replaced when that is said; to import again changes nothing', async () => {
  const store = createMemoryLedgerStore();
  await store.put('tables/ks.t.json', '{"n":1}');
  await store.put('tables/ks.u.json', '{"n":2}');
  const file = join(directory, 'export.jsonl');
  await writeExport(store, file);
  await store.put('tables/ks.t.json', '{"n":3}');
  await store.remove('tables/ks.u.json');
  expect(await importRecords(store, readExport(file), OPTIONS)).toEqual({ written: 1, kept: ['tables/ks.t.json'] });
  expect(await store.get('tables/ks.t.json')).toMatchObject({ value: '{"n":3}' });
  expect(await importRecords(store, readExport(file), { ...OPTIONS, overwrite: true })).toMatchObject({ written: 2 });
  expect(await store.get('tables/ks.t.json')).toMatchObject({ value: '{"n":1}' });
});

test('a ledger in which proxies are registered is not changed under them', async () => {
  const store = createMemoryLedgerStore();
  const at = new Date().toISOString();
  const record = { version: 1, instance: 'p1', startedAt: at, leaseUntil: at, drainedForEpoch: 1, actingEpoch: 1 };
  await store.put('proxies/p1.json', JSON.stringify(record));
  const file = join(directory, 'export.jsonl');
  await writeExport(createMemoryLedgerStore(), file);
  await expect(importRecords(store, readExport(file), OPTIONS)).rejects.toThrow(/proxy p1 is registered/);
  expect(await importRecords(store, readExport(file), { ...OPTIONS, whileRunning: true })).toMatchObject({
    written: 0,
  });
});

test.each([
  ['an empty file', ''],
  ['another JSON', '{"a":1}\n'],
  ['no JSON', 'hello\n'],
  ['a broken line', '{"ringshift":"ledger","version":1}\n{"key":"a.json","value":1}\n{"key":'],
  ['a line without a value', '{"ringshift":"ledger","version":1}\n{"key":"a.json"}\n'],
])('%s is refused with its place', async (_, text) => {
  const file = join(directory, 'bad.jsonl');
  await writeFile(file, text);
  await expect(importRecords(createMemoryLedgerStore(), readExport(file), OPTIONS)).rejects.toThrow(/bad\.jsonl/);
  expect(await readFile(file, 'utf8')).toBe(text);
});
