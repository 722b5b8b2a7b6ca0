import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { LedgerUnavailableError } from '#core/errors.ts';
import { filterRulesSchema } from '#core/filter/filter-rules.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { NO_RENAMES } from '#core/model/rename.ts';
import { fixture } from '../../golden/fixtures.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';
import { schemaOf } from '../merge/support.ts';

const START = Date.UTC(2026, 0, 10);
let files: Map<string, Uint8Array>;
let ledger: Ledger;

/** One node with one SSTable of ks.a; ks.empty is on the target only. */
beforeEach(() => {
  files = new Map();
  const { directory } = fixture('4.1-nb-big/simple/nb-1-big');
  for (const name of readdirSync(directory).filter((each) => /^nb-1-big-.*\.db$/.test(each))) {
    files.set(`snap/n1/ks/a-${'0'.repeat(32)}/${name}`, new Uint8Array(readFileSync(join(directory, name))));
  }
  ledger = createLedger(createMemoryLedgerStore());
});

const ports = (): PlanLoadPorts => ({
  readTarget: async (keyspace) => ({
    ...{ views: [], indexes: [] },
    tables: ['a', 'empty'].map((table) => ({ ...schemaOf(), keyspace, table })),
  }),
  objects: createMemoryObjectStore(files),
  openSnapshot: () => ({ objects: createMemoryObjectStore(files), prefix: 'snap' }),
  ledger,
  clock: { nowMillis: () => START },
  logger: { debug() {}, info() {}, warn() {}, error() {} },
});
const options: PlanLoadOptions = {
  ...{ targetWriteMBps: 100, tombstones: 'all', consistency: 'LOCAL_QUORUM', memoryBudgetMB: 64, rangeMB: 1024 },
  ...{ maxConcurrency: 2, filterRules: null, indexes: 'rebuild', renames: NO_RENAMES, by: 'test' },
};
const allowed = { trustCoverage: true, allowEarlySnapshot: true };
const plan = (runId: string, changes: Partial<PlanLoadOptions> = {}, more: object = {}) =>
  planLoad(runId, { keyspace: 'ks', snapshot: 's3://b/snap', ...allowed, ...more }, ports(), {
    ...options,
    ...changes,
  });
const itemsOf = (runId: string) =>
  JSON.parse(new TextDecoder().decode(files.get(`runs/${runId}/plan.json`))) as LoadItem[];

test('a plan that is asked for again because its answer was lost is the same run', async () => {
  const first = await plan('r1');
  expect(await plan('r1')).toEqual(first);
  expect(itemsOf('r1').map(({ runId, table }) => `${runId} ${table}`)).toEqual(['r1 a']);
  expect((await ledger.listTables()).map(({ table, state }) => `${table} ${state}`)).toEqual([
    'a loading',
    'empty loading',
  ]);
});

test('an id whose run has ended is refused, and neither its plan nor its tables change', async () => {
  await plan('r1');
  const before = files.get('runs/r1/plan.json');
  await ledger.endRun('r1', 'done', new Date(START));
  await ledger.setTable('ks', 'a', 'loaded', { now: new Date(START), by: 'load', runId: 'r1' });
  await expect(plan('r1')).rejects.toThrow(/a run r1 already.*take another --run-id/);
  expect(files.get('runs/r1/plan.json')).toBe(before);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'loaded' });
  await plan('r2');
});

test('planning that failed half-way is done again under the same id', async () => {
  const { store } = ledger;
  let isAway = true;
  ledger = createLedger({
    ...store,
    async put(key, value, version) {
      if (isAway && key === 'tables/ks.empty.json') throw new LedgerUnavailableError('away');
      return store.put(key, value, version);
    },
  });
  await expect(plan('r1')).rejects.toThrow('away');
  expect(await ledger.readRun('r1')).toMatchObject({ state: 'failed', rangeCount: null });
  isAway = false;
  await plan('r1');
  expect(await ledger.readRun('r1')).toMatchObject({ state: 'running', rangeCount: 1 });
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'loading', runId: 'r1' });
});

test('an entry of the list of indexes for a table that the target does not have is told', async () => {
  const indexList = [{ keyspace: 'ks', table: 'aa', name: 'i', optional: false }];
  const told = expect.stringContaining('tables that the target does not have: ks.aa');
  expect((await plan('r1', { indexList }, { dryRun: true })).warnings).toContainEqual(told);
  expect((await plan('r1', { indexList, indexes: 'skip' }, { dryRun: true })).warnings).not.toContainEqual(told);
});

test('tables are planned in their order, those without one last', async () => {
  const now = new Date(START);
  await ledger.setTable('ks', 'empty', 'pending', { now, by: 'x', facts: { order: 2 } });
  await ledger.setTable('other', 'a', 'pending', { now, by: 'x', facts: { order: 1 } });
  expect((await plan('r1')).tables.map(({ table }) => table)).toEqual(['empty', 'a']);
  await ledger.endRun('r1', 'done', now);
  await ledger.setTable('ks', 'a', 'pending', { now, by: 'x', facts: { order: 1 } });
  expect((await plan('r2')).tables.map(({ table }) => table)).toEqual(['a', 'empty']);
});

test('a table that was truncated, changed or asked for since the snapshot is refused by name, the others with it', async () => {
  const now = new Date(START);
  const at = now.toISOString();
  for (const facts of [{ truncatedAt: at }, { definedAt: at }, { remigrate: { at, why: 'a repair', by: 'x' } }]) {
    ledger = createLedger(createMemoryLedgerStore());
    await ledger.setTable('ks', 'a', 'suspect', { now, by: 'x', facts });
    await expect(plan('r1')).rejects.toThrow(/ks\.a: .*the snapshot is of unknown age.*--skip-stale/);
    expect(await ledger.listRuns()).toEqual([]);
    const made = await plan('r1', {}, { skipStale: true });
    expect(made.tables.map(({ table }) => table)).toEqual(['empty']);
    expect(made.skipped).toMatchObject([{ table: 'a' }]);
    expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'suspect', ...facts });
  }
});

test('where no table is left there is nothing to skip to', async () => {
  const now = new Date(START);
  await ledger.setTable('ks', 'a', 'suspect', { now, by: 'x', facts: { truncatedAt: now.toISOString() } });
  await expect(plan('r1', {}, { tables: ['a'], skipStale: true })).rejects.toThrow(/truncated at .*Take a new one$/);
});

test('what a load leaves out keeps its state', async () => {
  await ledger.setTable('ks', 'gone', 'validated', { now: new Date(START), by: 'validation' });
  const filterRules = filterRulesSchema.parse({ tables: { exclude: ['ks.gone'] } });
  await plan('r1', { filterRules }, { tables: ['a', 'gone'] });
  expect(await ledger.readTable('ks', 'gone')).toMatchObject({ state: 'validated' });
});
