import { expect, test } from 'vitest';
import { createLedger } from '#core/ledger/ledger.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { changeSuspect, listMarksOf } from '#core/ledger/suspects.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const at = '2026-01-01T00:00:00.000Z';
const mark: SuspectRecord = { version: 1, keyspace: 'ks', table: 't', range: null, reason: 'lost', by: 'p', at };

test('a mark that is written again while it is being changed is looked at again', async () => {
  const store = createMemoryLedgerStore();
  const ledger = createLedger(store);
  await ledger.addSuspect('p1 a/b', mark);
  const [found] = await ledger.listSuspects();
  const seen: string[] = [];
  await changeSuspect(store, found!, (record) => {
    seen.push(record.at);
    if (seen.length === 1) void ledger.addSuspect('p1 a/b', { ...mark, at: '2026-01-01T01:00:00.000Z' });
    return { ...record, clearedAt: at };
  });
  expect(seen).toEqual([at, '2026-01-01T01:00:00.000Z']);
  expect(await ledger.listSuspects()).toEqual([]);
  const all = await listMarksOf(store, 'ks', 't');
  expect(all).toMatchObject([{ id: 'p1 a/b', clearedAt: at }]);
});

test('a cleared mark counts again when its writer writes it again', async () => {
  const store = createMemoryLedgerStore();
  const ledger = createLedger(store);
  await ledger.addSuspect('m', { ...mark, clearedAt: at });
  expect(await ledger.listSuspects()).toEqual([]);
  await ledger.addSuspect('m', mark);
  expect(await ledger.listSuspects()).toHaveLength(1);
});

test('what a table is known for outlasts changes of its state, until it is taken away', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const now = new Date(at);
  await ledger.setTable('ks', 't', 'loaded', { now, by: 'load', facts: { loadedAt: at, order: 3 } });
  await ledger.setTable('ks', 't', 'suspect', { now, by: 'p1', reason: 'lost' });
  expect(await ledger.readTable('ks', 't')).toMatchObject({ state: 'suspect', loadedAt: at, order: 3 });
  await ledger.setTable('ks', 't', 'loading', { now, by: 'load', facts: { loadedAt: undefined } });
  const record = await ledger.readTable('ks', 't');
  expect(record).toMatchObject({ state: 'loading', order: 3 });
  expect(record).not.toHaveProperty('loadedAt');
});
