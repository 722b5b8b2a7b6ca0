import { expect, test } from 'vitest';
import { LedgerUnavailableError } from '#core/errors.ts';
import { type ProbePorts, probeStore } from '#core/ledger/probe-store.ts';
import type { LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const ports: ProbePorts = { nowMillis: () => 0, newId: () => 'id', sleep: () => new Promise(() => undefined) };
const away = () => Promise.reject(new LedgerUnavailableError('away'));
const never = () => new Promise<never>(() => undefined);

test.each<[string, Partial<LedgerStore>]>([
  ['write', { put: away }],
  ['read', { get: away }],
  ['read', { get: async () => undefined }],
  ['read', { get: async () => ({ value: '{"probe":"of another"}', version: '1' }) }],
  ['remove', { remove: away }],
])('the step that fails is named: %s', async (step, changes) => {
  const outcome = await probeStore({ ...createMemoryLedgerStore(), ...changes }, ports);
  expect(outcome).toMatchObject({ isHealthy: false, step, error: expect.stringMatching(/./) });
});

test.each<[string, Partial<LedgerStore>]>([
  ['write', { put: never }],
  ['read', { get: never }],
  ['remove', { remove: never }],
])('a step without an answer fails when its time is over: %s', async (step, changes) => {
  const atOnce = { ...ports, sleep: () => new Promise<void>((resolve) => setImmediate(resolve)) };
  const outcome = await probeStore({ ...createMemoryLedgerStore(), ...changes }, atOnce);
  expect(outcome).toMatchObject({ isHealthy: false, step });
});

test('a record that could be written and not read is not left behind', async () => {
  const store = createMemoryLedgerStore();
  await probeStore({ ...store, get: away }, ports);
  expect(await store.has('probe/id.json')).toBe(false);
});
