import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { GateClosedError, LedgerConflictError } from '#core/errors.ts';
import { createLedger } from '#core/ledger/ledger.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ledger-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('a conditional write fails when the record was changed meanwhile', async () => {
  const store = createFileLedgerStore(directory);
  const version = await store.put('a/b.json', '1', null);
  await expect(store.put('a/b.json', '2', null)).rejects.toBeInstanceOf(LedgerConflictError);
  const next = await store.put('a/b.json', '2', version);
  await expect(store.put('a/b.json', '3', version)).rejects.toBeInstanceOf(LedgerConflictError);
  await store.put('a/b.json', '3', next);
  expect((await store.get('a/b.json'))?.value).toBe('3');
});

test('of many writers that count together none is lost', async () => {
  const ledger = createLedger(createFileLedgerStore(directory));
  await Promise.all(
    Array.from({ length: 12 }, (_, index) =>
      ledger.setTable('ks', 't', 'suspect', { now: new Date(), by: 'test', reason: `reason ${index}` }),
    ),
  );
  expect((await ledger.readTable('ks', 't'))?.reasons).toHaveLength(12);
});

test('keys are listed by prefix, in order, without temporary files', async () => {
  const store = createFileLedgerStore(directory);
  for (const key of ['r/2.json', 'r/1.json', 's/1.json']) await store.put(key, '{}');
  const keys: string[] = [];
  for await (const key of store.list('r/')) keys.push(key);
  expect(keys).toEqual(['r/1.json', 'r/2.json']);
});

test('a key can not leave the directory', async () => {
  await expect(createFileLedgerStore(directory).get('../secret')).rejects.toThrow(/not a ledger key/);
});

test('one run per keyspace and kind at a time; an ended one gives way', async () => {
  const ledger = createLedger(createFileLedgerStore(directory));
  const run = (runId: string) => ({
    version: 1 as const,
    runId,
    kind: 'load' as const,
    keyspace: 'ks',
    tables: [],
    state: 'running' as const,
    startedAt: new Date().toISOString(),
    endedAt: null,
    rangeCount: 0,
    totalBytes: 0,
    input: {},
  });
  await ledger.startRun(run('one'));
  await expect(ledger.startRun(run('two'))).rejects.toBeInstanceOf(GateClosedError);
  await ledger.startRun(run('one'));
  await ledger.endRun('one', 'done', new Date());
  await ledger.startRun(run('two'));
  expect((await ledger.readRun('one'))?.state).toBe('done');
});
