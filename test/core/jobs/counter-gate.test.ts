import { expect, test } from 'vitest';
import type { Phase } from '#core/config/schema.ts';
import { checkCounterGate } from '#core/jobs/counter-gate.ts';
import type { PhaseRecord } from '#core/ledger/records.ts';

const AT = '2027-01-01T00:00:00.000Z';

function record(active: Phase, proposed?: Phase): PhaseRecord {
  const epoch = (phase: Phase, number: number) => ({ epoch: number, phase, since: AT, by: 'test', why: '' });
  return {
    version: 1,
    active: epoch(active, 1),
    proposal: proposed === undefined ? null : { ...epoch(proposed, 2), expiresAt: null },
    lastEpoch: 2,
    dualWritesSince: null,
    dualWritesSettledAt: null,
    history: [],
  };
}

const gate = (phase: PhaseRecord | undefined, countersQuiesced?: boolean) => () =>
  checkCounterGate({ keyspace: 'ks', countersQuiesced }, phase);

test('counters are loaded freely while increments reach the origin only', () => {
  expect(gate(undefined)).not.toThrow();
  expect(gate(record('origin-only'))).not.toThrow();
});

test.each<[Phase, Phase | undefined]>([
  ['dual-async', undefined],
  ['dual-sync', undefined],
  ['target-primary', undefined],
  ['origin-only', 'dual-async'],
  ['dual-async', 'origin-only'],
])('in phase %s (next: %s) only the word that nobody counts opens the gate', (active, proposed) => {
  expect(gate(record(active, proposed))).toThrow('--counters-quiesced');
  expect(gate(record(active, proposed), true)).not.toThrow();
});

test('when the target alone counts, the origin is behind it and nothing opens the gate', () => {
  expect(gate(record('target-only'), true)).toThrow('take them back');
  expect(gate(record('target-primary', 'target-only'), true)).toThrow('take them back');
});
