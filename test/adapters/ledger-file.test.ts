import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { GateClosedError } from '#core/errors.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { itKeepsTheLedgersContract } from '../support/ledger-contract.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

itKeepsTheLedgersContract('a directory', async () =>
  createFileLedgerStore(await mkdtemp(join(tmpdir(), 'ledger-contract-'))),
);
itKeepsTheLedgersContract('memory', createMemoryLedgerStore);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ledger-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('of many writers that count together none is lost', async () => {
  const ledger = createLedger(createFileLedgerStore(directory));
  await Promise.all(
    Array.from({ length: 12 }, (_, index) =>
      ledger.setTable('ks', 't', 'suspect', { now: new Date(), by: 'test', reason: `reason ${index}` }),
    ),
  );
  expect((await ledger.readTable('ks', 't'))?.reasons).toHaveLength(12);
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
