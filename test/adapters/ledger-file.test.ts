import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readlink, rm, utimes, writeFile } from 'node:fs/promises';
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

/** Leaves the lock of a record as a process does that is killed while it has it; one of the future is never too old. */
async function leaveLock(pid: number, ageSeconds: number): Promise<void> {
  const id = '00000000-0000-4000-8000-000000000000';
  const namespace = await readlink('/proc/self/ns/pid').catch(() => 'none');
  const lock = join(directory, 'tables', 'ks.t.json.lock');
  await mkdir(join(directory, 'tables'));
  await writeFile(lock, `${id} ${pid} ${namespace}`);
  const then = Date.now() / 1000 - ageSeconds;
  await utimes(lock, then, then);
}

test.each([
  ['a process that was killed', () => spawnSync(process.execPath, ['-e', '']).pid, -3600],
  ['nobody knows whom, but long ago', () => process.pid, 60],
])('the lock of %s goes to one of those who wait for it, and none of their changes is lost', async (_, pidOf, age) => {
  await leaveLock(pidOf(), age);
  const ledgers = Array.from({ length: 12 }, () => createLedger(createFileLedgerStore(directory)));
  await Promise.all(
    ledgers.map((ledger, index) =>
      ledger.setTable('ks', 't', 'suspect', { now: new Date(), by: 'test', reason: `reason ${index}` }),
    ),
  );
  expect((await ledgers[0]!.readTable('ks', 't'))?.reasons).toHaveLength(12);
  expect(await readdir(join(directory, 'tables'))).toEqual(['ks.t.json']);
});

test('a table may be called like a lock', async () => {
  const ledger = createLedger(createFileLedgerStore(directory));
  for (const table of ['lock', 'locks', 'a.lock', 'b.tmp.c']) {
    await ledger.setTable('ks', table, 'loaded', { now: new Date(), by: 'test' });
  }
  expect((await ledger.listTables()).map(({ table }) => table).sort()).toEqual(['a.lock', 'b.tmp.c', 'lock', 'locks']);
});
