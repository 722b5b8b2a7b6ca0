import { expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import type { Phase } from '#core/config/schema.ts';
import { GateClosedError } from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { filterRulesSchema } from '#core/filter/filter-rules.ts';
import { type ChangePhaseInput, changePhase } from '#core/jobs/change-phase.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { proposePhase } from '#core/ledger/phase-change.ts';
import { changeSavedIndexes } from '#core/ledger/saved-indexes.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { nothingSeen, openGates } from '../../support/open-gates.ts';

const input = (phase: Phase, more: Partial<ChangePhaseInput> = {}): ChangePhaseInput => ({
  phase,
  by: 'test',
  why: '',
  force: [],
  fence: [],
  withoutProxies: false,
  drainTimeoutMs: 1000,
  ...more,
});

/** A ledger with proxies that do as they are told each time the waiting side sleeps. */
async function world(proxies: readonly string[], behave: (instance: string) => 'obeys' | 'never drains' | 'gone') {
  const ledger = createLedger(createMemoryLedgerStore());
  let millis = Date.parse('2026-01-01T00:00:00Z');
  const now = () => new Date(millis);
  await ledger.initPhase('origin-only', 'test', now());
  const put = async (instance: string, drainedForEpoch: number, actingEpoch: number) =>
    ledger.putProxy({
      version: 1,
      instance,
      startedAt: now().toISOString(),
      leaseUntil: new Date(behave(instance) === 'gone' ? millis - 1 : millis + 60_000).toISOString(),
      drainedForEpoch,
      actingEpoch,
      counters: {},
    });
  for (const instance of proxies) await put(instance, 1, 1);
  const ports = {
    ledger,
    gates: openGates,
    logger: createLogger('test', 'silent'),
    now,
    onWait: () => undefined,
    sleep: async (ms: number) => {
      millis += ms;
      const record = await ledger.readPhase();
      for (const instance of proxies) {
        if (!record || behave(instance) !== 'obeys') continue;
        if (record.proposal) await put(instance, record.proposal.epoch, record.active.epoch);
        else await put(instance, record.active.epoch, record.active.epoch);
      }
    },
  };
  return { ledger, ports };
}

test('a phase is in force only after every proxy has drained and acts on it', async () => {
  const { ports } = await world(['a', 'b'], () => 'obeys');
  const record = await changePhase(input('dual-async'), ports);
  expect(record.active).toMatchObject({ epoch: 2, phase: 'dual-async' });
  expect(Date.parse(record.dualWritesSettledAt ?? '')).toBeGreaterThan(Date.parse(record.dualWritesSince ?? ''));
});

test('a proxy that does not drain stops the change, which is withdrawn', async () => {
  const { ledger, ports } = await world(['a', 'stuck'], (name) => (name === 'stuck' ? 'never drains' : 'obeys'));
  await expect(changePhase(input('dual-async'), ports)).rejects.toThrow(/not drained.*stuck/);
  expect(await ledger.readPhase()).toMatchObject({ proposal: null, active: { phase: 'origin-only', epoch: 1 } });
});

test('an expired lease is not an absence: the change is refused until the instance is fenced', async () => {
  const { ports } = await world(['a', 'lost'], (name) => (name === 'lost' ? 'gone' : 'obeys'));
  await expect(changePhase(input('dual-async'), ports)).rejects.toThrow(/--fence lost/);
  const record = await changePhase(input('dual-async', { fence: ['lost'] }), ports);
  expect(record.active.phase).toBe('dual-async');
});

test('a fenced instance is waited for until its lease is over, and stays in the ledger as one that is dead', async () => {
  const { ledger, ports } = await world(['a', 'hangs'], (name) => (name === 'hangs' ? 'never drains' : 'obeys'));
  const waited: string[] = [];
  const onWait = (step: string, instances: readonly string[]) => void waited.push(`${step} ${instances.join()}`);
  const before = ports.now().getTime();
  await changePhase(input('dual-async', { fence: ['hangs'] }), { ...ports, onWait });
  expect(waited[0]).toMatch(/^fence hangs \(until 20.*Z\)$/);
  expect(ports.now().getTime() - before).toBeGreaterThan(60_000);
  const hangs = (await ledger.listProxies()).find(({ instance }) => instance === 'hangs');
  expect(hangs?.fencedAt).toBe(new Date(before).toISOString());
  const mistaken = input('dual-sync', { fence: ['a', 'nobody'] });
  await expect(changePhase(mistaken, ports)).rejects.toThrow(/no proxy of this name/);
  expect((await ledger.listProxies()).find(({ instance }) => instance === 'a')?.fencedAt).toBeUndefined();
});

test('without any proxy the change needs the word of the caller', async () => {
  const { ports } = await world([], () => 'obeys');
  await expect(changePhase(input('dual-async'), ports)).rejects.toBeInstanceOf(GateClosedError);
  expect((await changePhase(input('dual-async', { withoutProxies: true }), ports)).active.phase).toBe('dual-async');
});

test('after a change that was withdrawn the next one waits for acknowledgements of its own', async () => {
  let isStuck = true;
  const { ledger, ports } = await world(['a', 'b'], (name) => (name === 'b' && isStuck ? 'never drains' : 'obeys'));
  await expect(changePhase(input('dual-async'), ports)).rejects.toThrow(/not drained/);
  // The proxy acknowledged the withdrawn epoch and has not looked since.
  const [a] = await ledger.listProxies();
  await ledger.putProxy({ ...a!, drainedForEpoch: 2 });
  const waited: string[] = [];
  isStuck = false;
  const record = await changePhase(input('dual-async'), {
    ...ports,
    onWait: (step, instances) => waited.push(`${step} ${instances.join()}`),
  });
  expect(waited[0]).toBe('drain a,b');
  expect(record.active.epoch).toBe(3);
});

test('setting the phase in force settles a change whose caller died after the activation', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  const dies = async () => {
    throw new Error('killed');
  };
  let drained = false;
  const dying = {
    ...ports,
    sleep: (ms: number) => (drained ? dies() : ports.sleep(ms)),
    onWait: (step: string) => {
      drained = step === 'act';
    },
  };
  await expect(changePhase(input('dual-async'), dying)).rejects.toThrow('killed');
  expect(await ledger.readPhase()).toMatchObject({ active: { phase: 'dual-async' }, dualWritesSettledAt: null });
  const record = await changePhase(input('dual-async'), ports);
  expect(record).toMatchObject({ active: { epoch: 2 }, dualWritesSettledAt: expect.any(String) });
  expect(await changePhase(input('dual-async'), ports)).toEqual(record);
});

test('a migration that begins in dual writes is settled by setting its phase', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  await ledger.store.remove('phase.json');
  await ledger.initPhase('dual-async', 'test', ports.now());
  expect((await changePhase(input('dual-async'), ports)).dualWritesSettledAt).not.toBeNull();
});

test('a proposal whose caller died stops nobody once it has expired', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  await ledger.changePhase((record) => proposePhase(record, 'dual-async', { by: 'dead', why: '', now: ports.now() }));
  await expect(changePhase(input('dual-async'), ports)).rejects.toThrow(/under way/);
  await ports.sleep(31_000);
  expect((await changePhase(input('dual-async'), ports)).active).toMatchObject({ phase: 'dual-async', epoch: 3 });
});

test('target-only is refused while filter rules keep data on the origin, unless that is given up', async () => {
  const { ports } = await world(['a'], () => 'obeys');
  const rules = { version: 1, tables: { exclude: ['ks.t'] } };
  const filtered = { ...ports, gates: { ...openGates, filter: createFilter(filterRulesSchema.parse(rules)) } };
  const toEnd = { force: ['step-skips-phase'] };
  await expect(changePhase(input('target-only', toEnd), filtered)).rejects.toThrow(/--abandon-filtered/);
  const record = await changePhase(input('target-only', { ...toEnd, abandonFiltered: true }), filtered);
  expect(record.active.phase).toBe('target-only');
});

test('the target does not become the primary while a definition is on the origin only', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  await changePhase(input('dual-async'), ports);
  await changePhase(input('dual-sync'), ports);
  const mark = { version: 1 as const, keyspace: 'ks', table: '*', range: null, reason: 'CREATE TYPE t', by: 'a' };
  await ledger.addSuspect('one', { ...mark, at: ports.now().toISOString() });
  await expect(changePhase(input('target-primary'), ports)).rejects.toThrow(/CREATE TYPE t.*schema diff ks/s);
  await ledger.removeSuspect('ks', '*', 'one');
  expect((await changePhase(input('target-primary'), ports)).active.phase).toBe('target-primary');
});

test('the target does not become the primary while a load owes it indexes, unless it is forced', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  const change = (state: 'restoring' | 'restored') =>
    changeSavedIndexes(ledger.store, 'ks', 't', () => ({
      ...{ version: 1, keyspace: 'ks', table: 't', runId: 'r1', state, updatedAt: ports.now().toISOString() },
      indexes: [
        {
          ...{ name: 't_a', kind: 'COMPOSITES', options: { target: 'a' }, statement: 'CREATE INDEX t_a ON ks.t (a)' },
          ...{ state: 'building', createdAt: null, error: null },
        },
      ],
    }));
  await changePhase(input('dual-async'), ports);
  await changePhase(input('dual-sync'), ports);
  await change('restoring');
  const refused = changePhase(input('target-primary'), ports);
  await expect(refused).rejects.toThrow(GateClosedError);
  await expect(refused).rejects.toThrow(/ks\.t: load r1 has dropped its indexes \(t_a\).*indexes restore/);
  await change('restored');
  // A load that saves its indexes behind the first look, while the proxies drain.
  let isLate = false;
  const sleep = async (ms: number) => {
    if (!isLate) await change('restoring');
    isLate = true;
    await ports.sleep(ms);
  };
  await expect(changePhase(input('target-primary'), { ...ports, sleep })).rejects.toThrow(/load r1 has dropped/);
  expect(isLate).toBe(true);
  expect(await ledger.readPhase()).toMatchObject({ proposal: null, active: { phase: 'dual-sync' } });
  await change('restored');
  expect((await changePhase(input('target-primary'), ports)).active.phase).toBe('target-primary');
  // To wait once more for what is in force is no change.
  await change('restoring');
  expect((await changePhase(input('target-primary'), ports)).active.phase).toBe('target-primary');
});

test.each(['target-primary', 'dual-sync'] as const)(
  'no change of primary to %s while a conditional write may be missing there, unless it is forced',
  async (next) => {
    const { ledger, ports } = await world(['a'], () => 'obeys');
    const before = next === 'dual-sync' ? 'target-primary' : 'dual-sync';
    await changePhase(input(before, { force: ['step-skips-phase'] }), ports);
    const at = ports.now().toISOString();
    const reason = 'a conditional write (LWT) may be missing: it could not be read back';
    const mark = { version: 1, keyspace: 'ks', table: 't', range: null, by: 'p', at } as const;
    await ledger.addSuspect('lwt', { ...mark, reason, code: 'conditional-missing' });
    await expect(changePhase(input(next), ports)).rejects.toThrow(/ks\.t: a conditional write.*validate/);
    expect((await ledger.readPhase())?.active.phase).toBe(before);
    const record = await changePhase(input(next, { force: ['conditional-missing:ks.t'] }), ports);
    expect(record.active).toMatchObject({ phase: next, forced: ['conditional-missing:ks.t'] });
  },
);

test.each(['target-only', 'dual-sync'] as const)(
  'from target-primary to %s a table is asked for that the ledger does not know',
  async (next) => {
    const { ports } = await world(['a'], () => 'obeys');
    await changePhase(input('target-primary', { force: ['step-skips-phase'] }), ports);
    const lookAtClusters = async () => ({ ...nothingSeen, tables: [{ keyspace: 'ks', table: 'new' }] });
    const change = changePhase(input(next), { ...ports, gates: { ...openGates, lookAtClusters } });
    await expect(change).rejects.toThrow(/table-not-validated:ks\.new/);
  },
);

test('what is forced must be exactly what is closed, and stays closed where nobody may force it', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  await changePhase(input('target-primary', { force: ['step-skips-phase'] }), ports);
  const mark = { version: 1, keyspace: 'ks', range: null, reason: 'a copy was lost', by: 'p' } as const;
  const at = ports.now().toISOString();
  await ledger.addSuspect('one', { ...mark, table: 't', lacking: null, at });
  const change = (...force: string[]) => changePhase(input('dual-sync', { force }), ports);
  await expect(change()).rejects.toThrow(/suspect:ks\.t: .*\n.*repeat all of it: --force suspect:ks\.t$/);
  await expect(change('suspect:ks.t', 'queue-not-empty')).rejects.toThrow(/names what is not closed: queue-not-empty/);
  await expect(change('suspect')).rejects.toThrow(/suspect:ks\.t: /);
  await ledger.addSuspect('two', { ...mark, table: 'u', lacking: 'origin', at });
  const hole = change('suspect:ks.t', 'hole:origin:ks.u');
  await expect(hole).rejects.toThrow(/hole:origin:ks\.u: a copy was lost .*--reconcile/);
  await expect(hole).rejects.not.toThrow(/repeat all of it/);
  expect(await ledger.readPhase()).toMatchObject({ proposal: null, active: { phase: 'target-primary' } });
  await ledger.removeSuspect('ks', 'u', 'two');
  expect((await change('suspect:ks.t')).active.phase).toBe('dual-sync');
});

test('a conditional write that is found missing while the proxies drain stops the change of primary', async () => {
  const { ledger, ports } = await world(['a'], () => 'obeys');
  await changePhase(input('dual-sync', { force: ['step-skips-phase'] }), ports);
  const sleep = async (ms: number): Promise<void> => {
    const reason = 'a conditional write (LWT) may be missing: it could not be read back';
    const code = 'conditional-missing';
    const at = ports.now().toISOString();
    await ledger.addSuspect('lwt', { version: 1, keyspace: 'ks', table: 't', range: null, reason, code, by: 'p', at });
    await ports.sleep(ms);
  };
  await expect(changePhase(input('target-primary'), { ...ports, sleep })).rejects.toThrow(/ks\.t/);
  expect(await ledger.readPhase()).toMatchObject({ proposal: null, active: { phase: 'dual-sync' } });
  const force = ['conditional-missing:ks.t'];
  expect((await changePhase(input('target-primary', { force }), ports)).active.phase).toBe('target-primary');
});
