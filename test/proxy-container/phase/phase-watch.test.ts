import { afterEach, expect, test, vi } from 'vitest';
import type { Phase } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { activateProposal, proposePhase, withdrawProposal } from '#core/ledger/phase-change.ts';
import type { PhaseGate } from '../../../proxy-container/src/phase/phase-gate.ts';
import { PhaseWatch } from '../../../proxy-container/src/phase/phase-watch.ts';
import { eventually } from '../../support/eventually.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const watches: PhaseWatch[] = [];
afterEach(async () => {
  await Promise.all(watches.splice(0).map((watch) => watch.stop()));
});

const who = (now = new Date()) => ({ by: 'test', why: '', now });

function watchOf(
  ledger: Ledger,
  logged: string[] = [],
  beforeHandOver: (next: Phase) => Promise<boolean> = async () => true,
): PhaseWatch {
  const log = (message: string) => void logged.push(message);
  const watch = new PhaseWatch({
    ledger,
    instance: 'p1',
    logger: { debug: log, info: log, warn: log, error: log },
    counters: () => ({}),
    lease: { pollMs: 100, heartbeatSecs: 5 },
    facts: () => ({}),
    onFenced: () => undefined,
    onAct: () => undefined,
    beforeHandOver,
  });
  watches.push(watch);
  return watch;
}

async function started(phase: Phase): Promise<{ ledger: Ledger; gate: PhaseGate }> {
  const ledger = createLedger(createMemoryLedgerStore());
  const watch = watchOf(ledger);
  const gate = await watch.begin(await ledger.initPhase(phase, 'test', new Date()));
  watch.start();
  return { ledger, gate };
}

const propose = (ledger: Ledger, phase: Phase) => ledger.changePhase((record) => proposePhase(record, phase, who()));
const activate = (ledger: Ledger) => ledger.changePhase((record) => activateProposal(record, new Date()));
const proxyOf = async (ledger: Ledger) => (await ledger.listProxies())[0]!;
const drained = (ledger: Ledger, epoch: number) =>
  eventually(async () => expect((await proxyOf(ledger)).drainedForEpoch).toBe(epoch));

test('a proxy takes back its acknowledgement of a change that held nothing and was withdrawn', async () => {
  const { ledger, gate } = await started('target-primary');
  await propose(ledger, 'target-only');
  await drained(ledger, 2);
  expect(gate.isHolding).toBe(false);
  await ledger.changePhase(withdrawProposal);
  await drained(ledger, 1);
});

test('a change of primary after a withdrawn one is acknowledged only when requests are held and those under way ended', async () => {
  const { ledger, gate } = await started('target-primary');
  await propose(ledger, 'target-only');
  await drained(ledger, 2);
  const earlier = gate.enter();
  await ledger.changePhase((record) => proposePhase(withdrawProposal(record), 'dual-sync', who()));
  await eventually(() => expect(gate.isHolding).toBe(true));
  expect((await proxyOf(ledger)).drainedForEpoch).toBeLessThan(3);
  gate.leave(earlier);
  await drained(ledger, 3);
  expect(gate.isHolding).toBe(true);
});

test('requests that were held for a withdrawn change go on when the next one keeps the primary', async () => {
  const { ledger, gate } = await started('target-primary');
  await propose(ledger, 'dual-sync');
  await drained(ledger, 2);
  expect(gate.isHolding).toBe(true);
  await ledger.changePhase((record) => proposePhase(withdrawProposal(record), 'target-only', who()));
  await drained(ledger, 3);
  expect(gate.isHolding).toBe(false);
});

test('a proxy says that it acts on dual writes only when the requests of before have ended', async () => {
  const { ledger, gate } = await started('origin-only');
  const earlier = gate.enter();
  await propose(ledger, 'dual-async');
  await drained(ledger, 2);
  await activate(ledger);
  await eventually(() => expect(gate.phase).toBe('dual-async'));
  await eventually(async () => expect((await proxyOf(ledger)).drainedForEpoch).toBe(2));
  expect(gate.isHolding).toBe(false);
  expect((await proxyOf(ledger)).actingEpoch).toBe(1);
  gate.leave(earlier);
  await eventually(async () => expect((await proxyOf(ledger)).actingEpoch).toBe(2));
});

test('a proxy that is never idle settles when the requests of before have ended, and holds none', async () => {
  const { ledger, gate } = await started('origin-only');
  const hold = vi.spyOn(gate, 'holdAndDrain');
  const underWay = new Set<NodeJS.Timeout>();
  let leastInFlight = Number.POSITIVE_INFINITY;
  // Each is followed by the next one before it ends, so that some are always under way.
  const begin = (): void => {
    const epoch = gate.enter();
    const end = setTimeout(() => {
      underWay.delete(end);
      begin();
      gate.leave(epoch);
      leastInFlight = Math.min(leastInFlight, gate.inFlight);
    }, 50);
    underWay.add(end);
  };
  for (let client = 0; client < 5; client++) begin();
  const oldest = gate.enter();
  try {
    await propose(ledger, 'dual-async');
    await drained(ledger, 2);
    await activate(ledger);
    await eventually(() => expect(gate.phase).toBe('dual-async'));
    await eventually(() => expect(gate.earlierInFlight).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect((await proxyOf(ledger)).actingEpoch).toBe(1);
    gate.leave(oldest);
    await eventually(async () => expect((await proxyOf(ledger)).actingEpoch).toBe(2));
    expect(leastInFlight).toBeGreaterThan(1);
    expect(hold).not.toHaveBeenCalled();
  } finally {
    for (const end of underWay) clearTimeout(end);
  }
});

test('a proposal whose caller died is withdrawn by a running proxy, and one that starts says that it waits', async () => {
  const { ledger } = await started('origin-only');
  await ledger.changePhase((record) => proposePhase(record, 'dual-async', who(new Date(Date.now() - 3_600_000))));
  await eventually(async () => expect((await ledger.readPhase())?.proposal).toBeNull());

  const other = createLedger(createMemoryLedgerStore());
  const first = await other.initPhase('origin-only', 'test', new Date());
  await other.changePhase((record) => proposePhase(record, 'dual-async', who(new Date(Date.now() - 26_000))));
  const logged: string[] = [];
  const gate = await watchOf(other, logged).begin(first);
  expect(gate.phase).toBe('origin-only');
  expect(logged).toEqual([expect.stringMatching(/waits for its end/), expect.stringMatching(/expired/)]);
});

test('what must be settled before another cluster answers is settled with nothing under way and before it is acknowledged', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const settled = Promise.withResolvers<boolean>();
  const asked: string[] = [];
  const watch = watchOf(ledger, [], (next) => {
    asked.push(`${next} with ${gate.inFlight}`);
    return settled.promise;
  });
  const gate = await watch.begin(await ledger.initPhase('dual-sync', 'test', new Date()));
  watch.start();
  const earlier = gate.enter();
  await propose(ledger, 'target-primary');
  await eventually(() => expect(gate.isHolding).toBe(true));
  expect(asked).toEqual([]);
  gate.leave(earlier);
  await eventually(() => expect(asked).toEqual(['target-primary with 0']));
  expect((await proxyOf(ledger)).drainedForEpoch).toBe(1);
  settled.resolve(true);
  await drained(ledger, 2);
});

test('a change for which that can not be done is given up, and requests go on', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const watch = watchOf(ledger, [], async () => false);
  const gate = await watch.begin(await ledger.initPhase('dual-sync', 'test', new Date()));
  watch.start();
  await propose(ledger, 'target-primary');
  await eventually(async () => expect((await ledger.readPhase())?.proposal).toBeNull());
  await eventually(() => expect(gate.isHolding).toBe(false));
  expect(gate.phase).toBe('dual-sync');
});

test('one that starts during a change of primary settles the same before it acknowledges that, and tries again', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const first = await ledger.initPhase('dual-sync', 'test', new Date());
  await propose(ledger, 'target-primary');
  const asked: Phase[] = [];
  let isSettled = false;
  const watch = watchOf(ledger, [], async (next) => {
    asked.push(next);
    return isSettled;
  });
  const gate = watch.begin(first);
  await eventually(() => expect(asked.length).toBeGreaterThan(1));
  expect(new Set(asked)).toEqual(new Set(['target-primary']));
  expect((await proxyOf(ledger)).drainedForEpoch).toBe(0);
  isSettled = true;
  await drained(ledger, 2);
  await activate(ledger);
  expect((await gate).phase).toBe('target-primary');
});

test('one that starts during a change that keeps the primary has nothing to settle', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const first = await ledger.initPhase('origin-only', 'test', new Date());
  await propose(ledger, 'dual-async');
  const gate = watchOf(ledger, [], async () => false).begin(first);
  await drained(ledger, 2);
  await activate(ledger);
  expect((await gate).phase).toBe('dual-async');
});

test('a proxy that has something to tell renews its lease at once, and not in its turn', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  let tables: string[] = [];
  const watch = new PhaseWatch({
    ledger,
    instance: 'p1',
    logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    counters: () => ({}),
    lease: { pollMs: 60_000, heartbeatSecs: 300 },
    facts: () => ({ tables }),
    onFenced: () => undefined,
    onAct: () => undefined,
    beforeHandOver: async () => true,
  });
  watches.push(watch);
  await watch.begin(await ledger.initPhase('dual-async', 'test', new Date()));
  watch.start();
  tables = ['shop.orders'];
  watch.hurry();
  await eventually(async () => expect((await proxyOf(ledger)).tables).toEqual(['shop.orders']));
});

test('a proxy that leaves something behind does not take itself out of the ledger', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const watch = watchOf(ledger);
  await watch.begin(await ledger.initPhase('dual-async', 'test', new Date()));
  watch.start();
  await watch.stop(true);
  expect(await ledger.listProxies()).toHaveLength(1);
  await watch.stop();
  expect(await ledger.listProxies()).toHaveLength(0);
});

test('an acknowledgement that the ledger did not take is told at the next look, not with the next heartbeat', async () => {
  const memory = createMemoryLedgerStore();
  let isAway = false;
  const store: typeof memory = {
    ...memory,
    put: async (key, value, expected) => {
      if (isAway && key.startsWith('proxies/')) {
        isAway = false;
        throw new Error('the ledger is away');
      }
      return memory.put(key, value, expected);
    },
  };
  const ledger = createLedger(store);
  const watch = new PhaseWatch({
    ledger,
    instance: 'p1',
    logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    counters: () => ({}),
    lease: { pollMs: 100, heartbeatSecs: 300 },
    facts: () => ({}),
    onFenced: () => undefined,
    onAct: () => undefined,
    beforeHandOver: async () => true,
  });
  watches.push(watch);
  await watch.begin(await ledger.initPhase('dual-async', 'test', new Date()));
  watch.start();
  isAway = true;
  await propose(ledger, 'dual-sync');
  await drained(ledger, 2);
  expect(isAway).toBe(false);
});
