import { beforeEach, expect, test } from 'vitest';
import { GateClosedError, LedgerUnavailableError } from '#core/errors.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { RunRecord } from '#core/ledger/records.ts';
import type { LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const START = Date.UTC(2026, 0, 1);
let store: LedgerStore;
let ledger: Ledger;

beforeEach(() => {
  store = createMemoryLedgerStore();
  ledger = createLedger(store);
});

function run(runId: string, seconds = 0): RunRecord {
  return {
    version: 1,
    runId,
    kind: 'load',
    keyspace: 'ks',
    tables: [],
    state: 'running',
    startedAt: new Date(START + seconds * 1000).toISOString(),
    endedAt: null,
    rangeCount: null,
    totalBytes: 0,
    input: {},
  };
}

test('a keyspace has one run of a kind; the next may start when it has ended', async () => {
  await ledger.startRun(run('r1'));
  await expect(ledger.startRun(run('r2', 86_400))).rejects.toThrow(/r1 is under way.*load stop r1/);
  await ledger.endRun('r1', 'stopped', new Date(START));
  await ledger.startRun(run('r2'));
});

test('a planner that died between lock and record keeps the keyspace for a minute, not for ever', async () => {
  await store.put('active/load.ks.json', JSON.stringify({ runId: 'dead', at: new Date(START).toISOString() }));
  await expect(ledger.startRun(run('r2', 59))).rejects.toBeInstanceOf(GateClosedError);
  await ledger.startRun(run('r2', 61));
  await expect(ledger.startRun(run('r3', 200))).rejects.toThrow(/r2 is under way/);
});

test('a lock that an older release left without a record is taken over', async () => {
  await store.put('active/load.ks.json', JSON.stringify({ runId: 'dead' }));
  await ledger.startRun(run('r2'));
});

test('a run whose record could not be written leaves no lock', async () => {
  const failing = createLedger({
    ...store,
    async put(key, value, version) {
      if (key.startsWith('runs/')) throw new LedgerUnavailableError('away');
      return store.put(key, value, version);
    },
  });
  await expect(failing.startRun(run('r1'))).rejects.toBeInstanceOf(LedgerUnavailableError);
  await ledger.startRun(run('r2'));
});

test('an id is used once: ranges that an earlier run of it finished would pass for those of the next', async () => {
  const plan = { rangeCount: 1, rangesByTable: { t: 1 } };
  await ledger.startRun({ ...run('r1'), tables: ['t'] });
  // As the planner does whose answer was lost.
  await ledger.startRun({ ...run('r1'), tables: ['t'] });
  await ledger.updateRun('r1', plan);
  await ledger.startRun(run('r1'));
  await ledger.updateRun('r1', plan);
  await ledger.putRange({
    ...{ version: 1, runId: 'r1', index: 0, keyspace: 'ks', table: 't', state: 'done', checkpoint: null },
    ...{ counts: { rows: 5 }, error: null, updatedAt: new Date(START).toISOString() },
  });
  await expect(ledger.startRun(run('r1'))).rejects.toThrow(/a run r1 already.*take another --run-id/);
  await ledger.endRun('r1', 'done', new Date(START));
  await expect(ledger.startRun(run('r1'))).rejects.toThrow(/a run r1 already \(load of ks, done\)/);
  expect(await ledger.readRun('r1')).toMatchObject({ state: 'done', rangeCount: 1 });
});

test('a run that ended after its plan may not begin again, one that ended before may', async () => {
  await ledger.startRun(run('r1'));
  await ledger.endRun('r1', 'failed', new Date(START));
  await ledger.startRun(run('r1'));
  await expect(ledger.startRun({ ...run('r1'), keyspace: 'other' })).rejects.toThrow(/load of ks, running/);
  await ledger.updateRun('r1', { rangeCount: 0, rangesByTable: {} });
  await ledger.endRun('r1', 'done', new Date(START));
  await expect(ledger.startRun(run('r1'))).rejects.toBeInstanceOf(GateClosedError);
});

test('a run record of before the plan said its ranges still parses', async () => {
  const { rangesByTable: _, ...old } = { ...run('old'), rangeCount: 0, rangesByTable: undefined };
  await store.put('runs/old.json', JSON.stringify(old));
  expect(await ledger.readRun('old')).toMatchObject({ rangeCount: 0 });
});

test('the lock of a run that ends stays where another run has taken it meanwhile', async () => {
  await ledger.startRun(run('r1'));
  const interrupted = createLedger({
    ...store,
    async remove(key, version) {
      await store.put(key, JSON.stringify({ runId: 'r2', at: new Date(START).toISOString() }));
      return store.remove(key, version);
    },
  });
  await interrupted.endRun('r1', 'done', new Date(START));
  expect(JSON.parse((await store.get('active/load.ks.json'))!.value)).toMatchObject({ runId: 'r2' });
});
