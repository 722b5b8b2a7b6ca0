import { expect, test } from 'vitest';
import { ObjectStoreError } from '#core/errors.ts';
import { parseLoadInput } from '#core/jobs/load-plan.ts';
import type { LoadPlan, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { publishPlan } from '#core/jobs/publish-plan.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { ObjectStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const START = Date.UTC(2026, 0, 10);
const input = parseLoadInput({ keyspace: 'ks', snapshot: 's3://b/snap' });
const ledger = () => createLedger(createMemoryLedgerStore());

function planOf(runId: string): LoadPlan {
  const tables = [{ table: 'a', sstables: 1, ranges: 2, bytes: 10 }];
  return {
    ...{ runId, planKey: `runs/${runId}/plan.json`, rangeCount: 2, totalBytes: 10, maxConcurrency: 1, dryRun: false },
    ...{ tables, skipped: [{ table: 'v', reason: 'a view' }], rebuildIndexes: [], warnings: ['w'] },
  };
}

const publish = (runId: string, ports: Pick<PlanLoadPorts, 'ledger' | 'objects'>) =>
  publishPlan(planOf(runId), [], input, [[`runs/${runId}/tables/ks.a.json`, '{}']], portsOf(ports), 'test');
const portsOf = (ports: Pick<PlanLoadPorts, 'ledger' | 'objects'>) =>
  ({
    ...{ clock: { nowMillis: () => START }, logger: { debug() {}, info() {}, warn() {}, error() {} } },
    ...ports,
  }) as unknown as PlanLoadPorts;

test('a published plan is a running run, whose tables are being loaded and whose others wait', async () => {
  const ports = { ledger: ledger(), objects: createMemoryObjectStore() };
  await publish('r1', ports);
  expect(await ports.ledger.readRun('r1')).toMatchObject({
    ...{ state: 'running', rangeCount: 2, rangesByTable: { a: 2 }, warnings: ['w'], tables: ['a'] },
  });
  expect((await ports.ledger.listTables()).map(({ table, state }) => `${table} ${state}`)).toEqual([
    'a loading',
    'v pending',
  ]);
  await expect(publish('r2', ports)).rejects.toThrow(/r1 is under way/);
  expect(await ports.objects.get('runs/r2/plan.json')).toBeUndefined();
});

test('a plan that can not be written gives the keyspace free and leaves tables as they were', async () => {
  const memory = createMemoryObjectStore();
  const objects: ObjectStore = {
    ...memory,
    put: async (key, body) => {
      if (key.endsWith('plan.json')) throw new ObjectStoreError('the bucket is away');
      await memory.put(key, body);
    },
  };
  const ports = { ledger: ledger(), objects };
  await ports.ledger.setTable('ks', 'a', 'validated', { now: new Date(START - 1000), by: 'validation' });
  await expect(publish('r1', ports)).rejects.toThrow('the bucket is away');
  expect(await ports.ledger.readRun('r1')).toMatchObject({ state: 'failed', rangeCount: null });
  expect(await ports.ledger.readTable('ks', 'a')).toMatchObject({ state: 'validated' });
  await publish('r2', { ...ports, objects: memory });
});
