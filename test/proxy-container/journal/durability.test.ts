import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { Counters } from '../../../proxy-container/src/counters/counters.ts';
import { Durability, journalBytes, storageOf } from '../../../proxy-container/src/journal/durability.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const NOW = 1_790_000_000_000;
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

let counters: Counters;
let ledger: Ledger;
let settledAtMs: number | undefined;
let told: number;
let left: number;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  counters = new Counters();
  ledger = createLedger(createMemoryLedgerStore());
  settledAtMs = undefined;
  told = 0;
  left = 0;
});
afterEach(() => vi.useRealTimers());

function open(storage: 'volume' | 'ephemeral'): Durability {
  return new Durability({
    storage,
    instance: 'run-1',
    processId: 'process-1',
    counters,
    ledger,
    logger,
    clock: { nowMillis: () => Date.now() },
    settledAtMs: () => settledAtMs ?? Date.now(),
    leftCount: () => left,
    onNewTable: () => told++,
  });
}

const durableAtOf = (durability: Durability) => Date.parse(durability.facts().durableAt!);

describe('an instance whose disk ends with it', () => {
  it('is one on Cloud Run, unless the configuration says otherwise', () => {
    expect(storageOf({ storage: null }, {})).toBe('volume');
    expect(storageOf({ storage: null }, { K_SERVICE: 'shop' })).toBe('ephemeral');
    expect(storageOf({ storage: 'volume' }, { K_SERVICE: 'shop' })).toBe('volume');
    expect(storageOf({ storage: 'ephemeral' }, {})).toBe('ephemeral');
  });

  it('has a quarter of its memory for the journal, since its disk may be that', () => {
    const journalMaxMB = 1024;
    const memory = 512 * 1024 * 1024;
    expect(journalBytes({ storage: 'ephemeral', journalMaxMB }, {}, memory)).toBe(memory / 4);
    expect(journalBytes({ storage: 'ephemeral', journalMaxMB: 64 }, {}, memory)).toBe(64 * 1024 * 1024);
    expect(journalBytes({ storage: 'volume', journalMaxMB }, {}, memory)).toBe(1024 * 1024 * 1024);
  });

  it('tells the tables that it is about to write, at once and once', () => {
    const durability = open('ephemeral');
    for (let time = 0; time < 2; time++) durability.writtenTables!.mayWrite([{ keyspace: 'shop', table: 'orders' }]);
    expect(durability.facts().tables).toEqual(['shop.orders']);
    expect(told).toBe(1);
  });

  it('is durable until the oldest of what failed, was marked, or is still on its way', () => {
    const durability = open('ephemeral');
    const whole = durableAtOf(durability);
    expect(whole).toBeLessThan(NOW);
    settledAtMs = NOW - 3_600_000;
    expect(whole - durableAtOf(durability)).toBe(3_600_000);
    settledAtMs = undefined;
    counters.shadows.enter(counters.table('shop', 'orders'), performance.now() - 120_000);
    expect(whole - durableAtOf(durability)).toBeGreaterThanOrEqual(120_000);
  });

  it('owes what only it has when it ends', () => {
    expect(open('ephemeral').owes).toBe(false);
    left = 1;
    expect(open('ephemeral').owes).toBe(true);
    expect(open('volume').owes).toBe(false);
  });

  it('tells nothing of this where the disk outlives it', async () => {
    const durability = open('volume');
    durability.start();
    await vi.advanceTimersByTimeAsync(1000);
    await durability.stop();
    expect([durability.facts(), durability.writtenTables]).toEqual([{ storage: 'volume' }, undefined]);
  });

  it('marks what its predecessor of the same name has taken with it, unless it has its disk: then it goes on for it', async () => {
    await ledger.initPhase('dual-async', 'test', new Date(NOW - 86_400_000));
    await ledger.putProxy({
      version: 1,
      instance: 'run-1',
      processId: 'process-0',
      startedAt: new Date(NOW - 600_000).toISOString(),
      leaseUntil: new Date(NOW - 1).toISOString(),
      drainedForEpoch: 1,
      actingEpoch: 1,
      counters: {},
      storage: 'ephemeral',
      tables: ['shop.orders'],
    });
    const heir = open('ephemeral');
    await heir.takeOver('process-0', false, async () => undefined);
    expect(await ledger.listSuspects()).toEqual([]);
    expect(heir.facts().tables).toEqual(['shop.orders']);
    const other = open('ephemeral');
    await other.takeOver(undefined, true, async () => undefined);
    expect(other.facts().tables).toEqual([]);
    expect(await ledger.listSuspects()).toMatchObject([{ table: 'orders', code: 'vanished' }]);
  });

  it('leaves something behind where its disk stays, and something is on it that nobody else has', () => {
    left = 1;
    expect([open('volume').leaves, open('ephemeral').leaves]).toEqual([true, false]);
    left = 0;
    expect(open('volume').leaves).toBe(false);
  });

  it('looks for others that are gone', async () => {
    await ledger.initPhase('dual-async', 'test', new Date(NOW - 86_400_000));
    const durability = open('ephemeral');
    durability.start();
    await vi.advanceTimersByTimeAsync(0);
    await ledger.putProxy({
      version: 1,
      instance: 'run-2',
      startedAt: new Date(NOW - 600_000).toISOString(),
      leaseUntil: new Date(NOW + 15_000).toISOString(),
      drainedForEpoch: 1,
      actingEpoch: 1,
      counters: {},
      storage: 'ephemeral',
      tables: ['shop.orders'],
    });
    await vi.advanceTimersByTimeAsync(300_000);
    expect(await ledger.listSuspects()).toMatchObject([{ table: 'orders', code: 'vanished', by: 'run-2' }]);
    await durability.stop();
  });
});
