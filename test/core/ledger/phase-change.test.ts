import { expect, test } from 'vitest';
import { phases } from '#core/config/schema.ts';
import { GateClosedError } from '#core/errors.ts';
import {
  activateProposal,
  changesPrimary,
  firstPhaseRecord,
  hasExpired,
  missingActs,
  missingDrains,
  primaryOf,
  proposePhase,
  shadowOf,
  withdrawProposal,
} from '#core/ledger/phase-change.ts';
import { parsePhase } from '#core/ledger/phase-names.ts';
import { type ProxyRecord, phaseRecordSchema } from '#core/ledger/records.ts';

const now = new Date('2026-01-01T00:00:00.000Z');
const later = new Date('2026-01-01T00:00:05.000Z');
const who = { by: 'me', why: '', now };
const start = firstPhaseRecord('origin-only', 'p1', now);
const proxy = (instance: string, drainedForEpoch: number, actingEpoch: number): ProxyRecord => ({
  version: 1,
  instance,
  startedAt: now.toISOString(),
  leaseUntil: later.toISOString(),
  drainedForEpoch,
  actingEpoch,
  counters: {},
});

test('a proposal does not change the phase in force', () => {
  const proposed = proposePhase(start, 'dual-async', who);
  expect(proposed.active).toEqual(start.active);
  expect(proposed.proposal).toMatchObject({ epoch: 2, phase: 'dual-async' });
});

test('dual writes are dated from their activation and forgotten when they end', () => {
  const active = activateProposal(proposePhase(start, 'dual-async', who), later);
  expect(active.active).toMatchObject({ epoch: 2, phase: 'dual-async', since: later.toISOString() });
  expect(active.dualWritesSince).toBe(later.toISOString());
  expect(active.dualWritesSettledAt).toBeNull();
  const sync = activateProposal(proposePhase(active, 'dual-sync', who), now);
  expect(sync.dualWritesSince).toBe(later.toISOString());
  const back = activateProposal(proposePhase(active, 'origin-only', who), now);
  expect(back.dualWritesSince).toBeNull();
});

test('a phase may not be repeated or proposed twice', () => {
  expect(() => proposePhase(start, 'origin-only', who)).toThrow(GateClosedError);
  expect(() => proposePhase(start, 'origin-only', who)).toThrow(/already/);
  const proposed = proposePhase(start, 'dual-async', who);
  expect(() => proposePhase(proposed, 'dual-async', who)).toThrow(/under way/);
  expect(withdrawProposal(proposed)).toEqual({ ...start, lastEpoch: 2 });
});

test('the number of a withdrawn proposal is never used again, so that acknowledgements of it count for nothing', () => {
  const inTarget = { ...start, active: { ...start.active, phase: 'target-primary' as const } };
  const withdrawn = withdrawProposal(proposePhase(inTarget, 'target-only', who));
  const rollback = proposePhase(withdrawn, 'dual-sync', who);
  expect(changesPrimary('target-primary', 'dual-sync')).toBe(true);
  expect(rollback.proposal?.epoch).toBe(3);
  expect(missingDrains(rollback, [proxy('acknowledged-the-withdrawn-one', 2, 1)], now)).toHaveLength(1);
  const old = phaseRecordSchema.parse({ ...inTarget, lastEpoch: undefined });
  expect(proposePhase(old, 'target-only', who).proposal?.epoch).toBe(2);
});

test('a proposal whose caller died expires, and another takes its place under a new number', () => {
  const proposed = proposePhase(start, 'dual-async', { ...who, drainTimeoutMs: 1000 });
  expect(hasExpired(proposed.proposal!, later)).toBe(false);
  const muchLater = new Date(now.getTime() + 60_000);
  expect(hasExpired(proposed.proposal!, muchLater)).toBe(true);
  expect(proposePhase(proposed, 'dual-async', { ...who, now: muchLater }).proposal?.epoch).toBe(3);
  const old = phaseRecordSchema.parse({ ...proposed, proposal: { ...proposed.proposal, expiresAt: undefined } });
  expect(hasExpired(old.proposal!, muchLater)).toBe(true);
});

test('what was forced stays in the record of the epoch', () => {
  const forced = ['queue-not-empty', 'suspect:ks.t'];
  const proposed = proposePhase(start, 'dual-async', { ...who, forced });
  expect(activateProposal(proposed, later).active.forced).toEqual(forced);
  expect(activateProposal(proposePhase(start, 'dual-async', who), later).active).not.toHaveProperty('forced');
});

test('every instance that has not drained, or not acted, is named', () => {
  const proposed = proposePhase(start, 'dual-async', who);
  expect(missingDrains(proposed, [proxy('a', 2, 1), proxy('b', 1, 1)], now)).toEqual(['b']);
  const active = activateProposal(proposed, later);
  expect(missingActs(active, [proxy('a', 2, 2), proxy('b', 2, 1)], now)).toEqual(['b']);
});

test('an instance that was fenced is waited for until its lease is over', () => {
  const proposed = proposePhase(start, 'dual-async', who);
  const fenced = { ...proxy('b', 1, 1), fencedAt: now.toISOString() };
  expect(missingDrains(proposed, [fenced], later)).toEqual(['b']);
  const afterLease = new Date(later.getTime() + 10_000);
  expect(missingDrains(proposed, [fenced], afterLease)).toEqual([]);
  expect(missingDrains(proposed, [proxy('b', 1, 1)], afterLease)).toEqual(['b']);
  expect(missingActs(activateProposal(proposed, later), [fenced], afterLease)).toEqual([]);
});

test('each phase has one primary, and a shadow exactly where both clusters are written', () => {
  expect(phases.map((phase) => [primaryOf(phase), shadowOf(phase)])).toEqual([
    ['origin', undefined],
    ['origin', 'target'],
    ['origin', 'target'],
    ['target', 'origin'],
    ['target', undefined],
  ]);
});

test('phase names of other tools are understood', () => {
  expect(['DualWriteAsync', 'dual_async', 'ShadowPrimary', 'TargetOnly', 'SourceOnly'].map(parsePhase)).toEqual([
    'dual-async',
    'dual-async',
    'target-primary',
    'target-only',
    'origin-only',
  ]);
  expect(() => parsePhase('turbo')).toThrow(/there is no phase turbo/);
});
