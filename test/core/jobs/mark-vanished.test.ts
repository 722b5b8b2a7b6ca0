import { beforeEach, describe, expect, it } from 'vitest';
import { markPredecessor, markVanished } from '#core/jobs/mark-vanished.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { PhaseRecord, ProxyRecord } from '#core/ledger/records.ts';
import type { LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const START = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;
const at = (ms: number) => new Date(START + ms).toISOString();
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

let store: LedgerStore;
let ledger: Ledger;
let now: number;
const ports = () => ({ ledger, clock: { nowMillis: () => now }, logger });

beforeEach(async () => {
  store = createMemoryLedgerStore();
  ledger = createLedger(store);
  now = START + 30 * MINUTE;
  await setPhases([{ phase: 'dual-async', sinceMs: -600 * MINUTE }]);
});

async function setPhases(phases: readonly { phase: PhaseRecord['active']['phase']; sinceMs: number }[]) {
  const epochs = phases.map(({ phase, sinceMs }, index) => ({
    epoch: index + 1,
    phase,
    since: at(sinceMs),
    by: 'test',
    why: 'test',
  }));
  const record: PhaseRecord = {
    version: 1,
    active: epochs.at(-1)!,
    proposal: null,
    lastEpoch: epochs.length,
    dualWritesSince: null,
    dualWritesSettledAt: null,
    history: epochs.slice(0, -1),
  };
  await store.put('phase.json', JSON.stringify(record));
}

/** Last heard of in minute 10. */
function proxy(change: Partial<ProxyRecord> = {}): Promise<void> {
  return ledger.putProxy({
    version: 1,
    instance: 'run-1',
    processId: 'process-1',
    startedAt: at(0),
    leaseUntil: at(10 * MINUTE),
    drainedForEpoch: 1,
    actingEpoch: 1,
    counters: {},
    storage: 'ephemeral',
    durableAt: at(9 * MINUTE),
    tables: ['shop.orders', 'shop.items'],
    ...change,
  });
}

const marks = async () => (await ledger.listSuspects()).map(({ keyspace, table }) => `${keyspace}.${table}`).sort();
const names = async () => (await ledger.listProxies()).map(({ instance }) => instance);

describe('a proxy that is gone with its disk', () => {
  it('leaves a mark on each table that it wrote, from what was in the queue to the end of its lease', async () => {
    await proxy();
    expect(await markVanished(ports())).toEqual(['run-1']);
    expect(await marks()).toEqual(['shop.items', 'shop.orders']);
    const [mark] = await ledger.listSuspects();
    expect(mark).toMatchObject({ code: 'vanished', lacking: 'target', range: null, from: at(9 * MINUTE), by: 'run-1' });
    const end = Date.parse(mark!.at);
    expect(end).toBeGreaterThanOrEqual(START + 10 * MINUTE);
    expect(end).toBeLessThan(START + 11 * MINUTE);
    expect((await ledger.readTable('shop', 'orders'))?.state).toBe('suspect');
  });

  it('is left alone while its lease lasts, within the difference of the clocks, and where its disk outlives it', async () => {
    await proxy({ leaseUntil: new Date(now - 1000).toISOString() });
    await proxy({ instance: 'living', leaseUntil: new Date(now + 1000).toISOString() });
    await proxy({ instance: 'stateful', storage: 'volume' });
    await proxy({ instance: 'older', storage: undefined });
    expect(await markVanished(ports())).toEqual([]);
    expect(await marks()).toEqual([]);
    expect(await names()).toHaveLength(4);
  });

  it('stays in the ledger, where it may serve on without a lease, and is marked once until it is fenced', async () => {
    await proxy();
    await markVanished(ports());
    expect(await names()).toEqual(['run-1']);
    for (const { keyspace, table, id } of await ledger.listSuspects()) await ledger.removeSuspect(keyspace, table, id);
    expect(await markVanished(ports())).toEqual([]);
    expect(await marks()).toEqual([]);

    const [found] = await ledger.listProxies();
    await ledger.putProxy({ ...found!, fencedAt: at(40 * MINUTE) });
    now = START + 41 * MINUTE;
    expect(await markVanished(ports())).toEqual(['run-1']);
    const [mark] = await ledger.listSuspects();
    expect(mark).toMatchObject({ from: at(9 * MINUTE) });
    expect(Date.parse(mark!.at)).toBeGreaterThanOrEqual(START + 40 * MINUTE);
    expect(await markVanished(ports())).toEqual([]);
    expect(await names()).toEqual(['run-1']);
  });

  it('needs no lease to run out once it is fenced', async () => {
    await proxy({ leaseUntil: new Date(now + 5_000).toISOString(), fencedAt: new Date(now).toISOString() });
    expect(await markVanished(ports())).toEqual(['run-1']);
    expect((await ledger.listSuspects()).every((mark) => Date.parse(mark.at) > now + 5_000)).toBe(true);
  });

  it('is taken out where it refuses requests without a lease', async () => {
    await proxy({ stopsWithLease: true });
    await markVanished(ports());
    expect(await names()).toEqual([]);
  });

  it('may have begun on a table that only others have told of', async () => {
    await proxy({ tables: ['shop.orders'] });
    await proxy({ instance: 'run-2', leaseUntil: at(60 * MINUTE), tables: ['shop.new'] });
    await markVanished(ports());
    expect(await marks()).toEqual(['shop.new', 'shop.orders']);
  });

  it('has written any table when it counted too many', async () => {
    await proxy({ tables: ['*'] });
    await ledger.setTable('shop', 'known', 'loaded', { now: new Date(START), by: 'test' });
    await markVanished(ports());
    expect(await marks()).toEqual(['shop.known']);
  });

  it('owes nothing in a phase without copies', async () => {
    await setPhases([
      { phase: 'dual-async', sinceMs: -600 * MINUTE },
      { phase: 'origin-only', sinceMs: -60 * MINUTE },
    ]);
    await proxy();
    expect(await markVanished(ports())).toEqual(['run-1']);
    expect(await marks()).toEqual([]);
  });

  it('may have owed to either cluster when the primary changed in that time', async () => {
    await setPhases([
      { phase: 'dual-sync', sinceMs: -600 * MINUTE },
      { phase: 'target-primary', sinceMs: 8 * MINUTE },
    ]);
    await proxy();
    await markVanished(ports());
    expect((await ledger.listSuspects()).every(({ lacking }) => lacking === null)).toBe(true);
    await setPhases([
      { phase: 'dual-sync', sinceMs: -600 * MINUTE },
      { phase: 'target-primary', sinceMs: -60 * MINUTE },
    ]);
    await proxy({ processId: 'process-2' });
    await markVanished(ports());
    expect((await ledger.listSuspects()).filter(({ lacking }) => lacking === 'origin')).toHaveLength(2);
  });

  it('is alive when it renews its lease while it is looked at', async () => {
    await proxy({ stopsWithLease: true });
    const comesBack: Ledger = {
      ...ledger,
      addSuspect: async (id, record) => {
        await ledger.addSuspect(id, record);
        await proxy({ stopsWithLease: true, leaseUntil: at(90 * MINUTE) });
      },
    };
    expect(await markVanished({ ...ports(), ledger: comesBack })).toEqual([]);
    expect(await names()).toEqual(['run-1']);
  });

  it('stays in the ledger when it renews its lease just before it is taken out', async () => {
    await proxy({ stopsWithLease: true });
    const comesBack: Ledger = {
      ...ledger,
      removeProxy: async (instance, version) => {
        await proxy({ stopsWithLease: true, leaseUntil: at(90 * MINUTE) });
        return ledger.removeProxy(instance, version);
      },
    };
    expect(await markVanished({ ...ports(), ledger: comesBack })).toEqual([]);
    expect((await ledger.listProxies()).map(({ leaseUntil }) => leaseUntil)).toEqual([at(90 * MINUTE)]);
  });

  it('leaves no record for ever: fenced and marked, it is taken out an hour later, and not if its name is used again', async () => {
    await proxy({ fencedAt: at(20 * MINUTE) });
    expect(await markVanished(ports())).toEqual(['run-1']);
    now = START + 79 * MINUTE;
    await markVanished(ports());
    expect(await names()).toEqual(['run-1']);
    now = START + 82 * MINUTE;
    const another: Ledger = {
      ...ledger,
      removeProxy: async (instance, version) => {
        await proxy({ processId: 'process-2', leaseUntil: at(90 * MINUTE) });
        return ledger.removeProxy(instance, version);
      },
    };
    await markVanished({ ...ports(), ledger: another });
    expect(await names()).toEqual(['run-1']);
    await proxy({ fencedAt: at(20 * MINUTE), vanishedAt: at(30 * MINUTE) });
    await proxy({ instance: 'stateful', storage: 'volume', fencedAt: at(20 * MINUTE) });
    expect(await markVanished(ports())).toEqual([]);
    expect(await names()).toEqual(['stateful']);
  });

  it('is looked at again when whoever looked died in between', async () => {
    await proxy();
    const dies: Ledger = { ...ledger, setTable: () => Promise.reject(new Error('killed')) };
    await expect(markVanished({ ...ports(), ledger: dies })).rejects.toThrow('killed');
    expect(await markVanished(ports())).toEqual(['run-1']);
    expect(await marks()).toEqual(['shop.items', 'shop.orders']);
  });
});

describe('a process that takes over a name', () => {
  const disk = (of: string | undefined, isDiskNew = false) => ({
    hasDisk: (id: string | undefined) => id === of,
    isDiskNew,
  });
  const proxyRecord = async (change: Partial<ProxyRecord>) => {
    await proxy(change);
    return (await ledger.readProxy('run-1'))?.record;
  };

  it('marks what its predecessor took with it, whatever the clocks say', async () => {
    await proxy({ leaseUntil: new Date(now - 1).toISOString() });
    await markPredecessor('run-1', disk('process-2'), ports());
    expect(await marks()).toEqual(['shop.items', 'shop.orders']);
  });

  it('marks nothing where it has found the disk of its predecessor', async () => {
    await proxy();
    await markPredecessor('run-1', disk('process-1'), ports());
    await markPredecessor('run-2', disk(undefined), ports());
    expect(await marks()).toEqual([]);
  });

  it('marks every table where the disk of a proxy that was to keep it is another one, and none where it is the same', async () => {
    await ledger.setTable('shop', 'orders', 'loaded', { now: new Date(START), by: 'test' });
    await ledger.setTable('shop', 'items', 'loaded', { now: new Date(START), by: 'test' });
    const { tables: _, durableAt: __, ...volume } = (await proxyRecord({ storage: 'volume' }))!;
    await ledger.putProxy(volume);
    await markPredecessor('run-1', disk(undefined), ports());
    await markPredecessor('run-1', disk('process-1', true), ports());
    expect(await marks()).toEqual([]);
    await markPredecessor('run-1', disk(undefined, true), ports());
    expect(await marks()).toEqual(['shop.items', 'shop.orders']);
    expect((await ledger.listSuspects())[0]).toMatchObject({ code: 'vanished', lacking: 'target' });
  });
});
