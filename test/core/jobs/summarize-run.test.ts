import { beforeEach, expect, test } from 'vitest';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { RangeRecord, RunRecord, SuspectRecord } from '#core/ledger/records.ts';
import { changeSavedIndexes } from '#core/ledger/saved-indexes.ts';
import type { ObjectStore } from '#core/ports.ts';
import { causeOf } from '../../../functions/support/run-cause.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const START = Date.UTC(2026, 0, 1);
const iso = (seconds: number) => new Date(START + seconds * 1000).toISOString();
let ledger: Ledger;
let objects: ObjectStore;

beforeEach(() => {
  ledger = createLedger(createMemoryLedgerStore());
  objects = createMemoryObjectStore();
});

function run(change: Partial<RunRecord> = {}): RunRecord {
  return {
    version: 1,
    runId: 'r1',
    kind: 'validation',
    keyspace: 'ks',
    tables: ['a', 'b'],
    state: 'running',
    startedAt: iso(0),
    endedAt: null,
    rangeCount: 3,
    totalBytes: 0,
    input: {},
    ...change,
  };
}

function range(index: number, table: string, change: Partial<RangeRecord> = {}): RangeRecord {
  return {
    version: 1,
    runId: 'r1',
    index,
    keyspace: 'ks',
    table,
    state: 'done',
    checkpoint: null,
    counts: { partitions: 10, differing: 0 },
    error: null,
    updatedAt: iso(5),
    ...change,
  };
}

async function summarize(record: RunRecord, ranges: readonly RangeRecord[]) {
  // An id is used once; these tests look at one run in several ways.
  for await (const key of ledger.store.list('r')) await ledger.store.remove(key);
  await ledger.startRun(record);
  for (const each of ranges) await ledger.putRange(each);
  return summarizeRun('r1', { ledger, objects, clock: { nowMillis: () => START + 60_000 } });
}

test('a run whose ranges all agree validates its tables, clears older suspects and frees the keyspace', async () => {
  for (const [id, at] of [
    ['old', -5],
    ['new', 5],
  ] as const) {
    await ledger.addSuspect(id, {
      version: 1,
      keyspace: 'ks',
      table: 'a',
      range: null,
      reason: '',
      by: 'p',
      at: iso(at),
    });
  }
  const summary = await summarize(run(), [range(0, 'a'), range(1, 'a'), range(2, 'b')]);
  expect(summary).toMatchObject({ status: 'done', seconds: 60, doneRanges: 3, totals: { partitions: 30 }, failed: [] });
  expect((await ledger.listTables()).map(({ table, state }) => `${table} ${state}`)).toEqual([
    // A mark of meanwhile is left on it.
    'a pending',
    'b validated',
  ]);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ validatedAt: iso(0) });
  expect((await ledger.listSuspects()).map(({ id }) => id)).toEqual(['new']);
  expect(await ledger.readRun('r1')).toMatchObject({ state: 'done', endedAt: iso(60) });
  await ledger.startRun(run({ runId: 'r2' }));
  expect(JSON.parse(new TextDecoder().decode(await objects.get('runs/r1/summary.json')))).toEqual(summary);
});

test('differences make their table suspect until all of them are repaired', async () => {
  const found = range(0, 'a', { counts: { partitions: 10, differing: 2 } });
  expect(await summarize(run(), [found, range(1, 'a'), range(2, 'b')])).toMatchObject({ status: 'differences' });
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'suspect' });
  expect(await ledger.readTable('ks', 'b')).toMatchObject({ state: 'validated' });
  const again = await summarize(run(), [
    { ...found, counts: { ...found.counts, repaired: 2 } },
    ...[range(1, 'a'), range(2, 'b')],
  ]);
  expect(again).toMatchObject({ status: 'done' });
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'validated' });
});

test('a failed range and one that left no record fail the run, and nothing is called loaded that is not', async () => {
  const error = { name: 'SSTableCorruptError', message: 'nb-1-big-Data.db at 17' };
  const summary = await summarize(run({ kind: 'load' }), [range(0, 'a', { state: 'failed', error }), range(2, 'b')]);
  expect(summary.status).toBe('failed');
  expect(summary.failed).toEqual([
    { index: 0, table: 'a', error },
    { index: 1, table: '?', error: expect.objectContaining({ name: 'States.TaskFailed' }) },
  ]);
  expect((await ledger.listTables()).map(({ state }) => state)).toEqual(['suspect', 'suspect']);
});

test('a load whose ranges are all done makes its tables loaded', async () => {
  await summarize(run({ kind: 'load', rangeCount: 2 }), [range(0, 'a'), range(1, 'b')]);
  expect((await ledger.listTables()).map(({ state }) => state)).toEqual(['loaded', 'loaded']);
});

test('a load that still owes indexes has failed and names them, though its tables are loaded', async () => {
  const owe = (runId: string, table: string, state: 'restoring' | 'restored') =>
    changeSavedIndexes(ledger.store, 'ks', table, () => ({
      ...{ version: 1, keyspace: 'ks', table, runId, state, updatedAt: iso(1) },
      indexes: [
        {
          ...{ name: `${table}_i`, kind: 'COMPOSITES', options: { target: 'x' }, statement: 'CREATE INDEX …' },
          ...{ state: 'failed', createdAt: null, error: 'refused' },
        },
      ],
    }));
  await owe('r1', 'a', 'restoring');
  await owe('r1', 'b', 'restored');
  await owe('another', 'c', 'restoring');
  const summary = await summarize(run({ kind: 'load', rangeCount: 2 }), [range(0, 'a'), range(1, 'b')]);
  expect(summary).toMatchObject({ status: 'failed', owedIndexes: ['a_i on ks.a'], failed: [] });
  expect((await ledger.listTables()).map(({ state }) => state)).toEqual(['loaded', 'loaded']);
  expect(causeOf('r1', 'load', undefined, summary)).toMatch(/a_i on ks\.a\n.*ringshift indexes restore/);
  const failure = { error: 'PrerequisiteError', message: 'no ALTER permission' };
  const unloaded = { ...summary, failed: [{ index: 0, table: '?', error: { name: 'x', message: 'y' } }] };
  expect(causeOf('r1', 'load', failure, unloaded)).toContain('no ALTER permission');
});

test('what is left to do is told by what is missing: ranges are resumed, indexes restored', async () => {
  const summary = await summarize(run({ kind: 'load', rangeCount: 2 }), [range(0, 'a'), range(1, 'b')]);
  const owing = causeOf('r1', 'load', undefined, { ...summary, status: 'failed', owedIndexes: ['a_i on ks.a'] });
  expect(owing).toContain('ringshift indexes restore');
  expect(owing).not.toMatch(/load start|load resume/);
  const failed = { ...summary, failed: [{ index: 0, table: 'a', error: { name: 'x', message: 'y' } }] };
  expect(causeOf('r1', 'load', undefined, failed)).toMatch(/ringshift load resume r1$/);
  expect(causeOf('r1', 'validation', undefined, failed)).toContain('ringshift validate start');
});

test('a load that was stopped stays so when its process ends, and leaves tables alone that another has begun on', async () => {
  const record = run({ kind: 'load', rangeCount: 2 });
  await ledger.startRun(record);
  await ledger.setTable('ks', 'a', 'loading', { now: new Date(START), by: 'load', runId: 'r1' });
  await ledger.endRun('r1', 'stopped', new Date(START + 1000));
  await ledger.startRun({ ...record, runId: 'r2' });
  await ledger.setTable('ks', 'b', 'loading', { now: new Date(START + 2000), by: 'load', runId: 'r2' });
  await ledger.putRange(range(0, 'a'));
  await ledger.putRange(range(1, 'b'));
  const summary = await summarizeRun('r1', { ledger, objects, clock: { nowMillis: () => START + 60_000 } });
  expect(summary.status).toBe('failed');
  expect(await ledger.readRun('r1')).toMatchObject({ state: 'stopped', endedAt: iso(1) });
  expect((await ledger.listTables()).map(({ state, runId }) => `${state} ${runId}`)).toEqual([
    'loaded r1',
    'loading r2',
  ]);
  // Nor is a run stopped that has ended meanwhile; its keyspace stays the other's.
  await ledger.endRun('r2', 'done', new Date(START));
  await ledger.endRun('r2', 'stopped', new Date(START));
  expect(await ledger.readRun('r2')).toMatchObject({ state: 'done' });
});

test('a sample that agrees, and a table that became suspect meanwhile, are not called validated', async () => {
  await ledger.setTable('ks', 'a', 'suspect', { now: new Date(START + 1000), by: 'proxy p1', reason: 'overflow' });
  await ledger.setTable('ks', 'b', 'loaded', { now: new Date(START - 1000), by: 'load' });
  await summarize(run({ rangeCount: 2 }), [range(0, 'a'), range(1, 'b')]);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'suspect' });
  expect(await ledger.readTable('ks', 'b')).toMatchObject({ state: 'validated' });
  await ledger.setTable('ks', 'b', 'loaded', { now: new Date(START), by: 'load' });
  await summarize(run({ rangeCount: 2, input: { sampled: true } }), []);
  expect(await ledger.readTable('ks', 'b')).toMatchObject({ state: 'loaded' });
});

test('a run that was never planned proves nothing: no table is settled and every suspect mark stays', async () => {
  await ledger.addSuspect('old', {
    version: 1,
    keyspace: 'ks',
    table: 'a',
    range: null,
    reason: '',
    by: 'p',
    at: iso(-5),
  });
  await ledger.setTable('ks', 'a', 'suspect', { now: new Date(START - 5000), by: 'p' });
  for (const rangeCount of [null, 0]) {
    expect((await summarize(run({ rangeCount }), [])).status).toBe('failed');
    expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'suspect' });
    expect(await ledger.readTable('ks', 'b')).toBeUndefined();
    expect(await ledger.listSuspects()).toHaveLength(1);
    expect(await ledger.readRun('r1')).toMatchObject({ state: 'failed' });
  }
});

test('a table of which the plan has no range is not called validated', async () => {
  await summarize(run({ rangeCount: 1, rangesByTable: { a: 1, b: 0 } }), [range(0, 'a')]);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'validated' });
  expect(await ledger.readTable('ks', 'b')).toBeUndefined();
  await summarize(run({ rangeCount: 1 }), [range(0, 'a')]);
  expect(await ledger.readTable('ks', 'b')).toBeUndefined();
});

test('a table that a resumed load had nothing left to do for is loaded', async () => {
  const resumed = run({ kind: 'load', rangeCount: 1, rangesByTable: { a: 0, b: 1 }, input: { resume: 'r0' } });
  await summarize(resumed, [range(0, 'b')]);
  expect((await ledger.listTables()).map(({ state }) => state)).toEqual(['loaded', 'loaded']);
});

test('a mark that arrives while the summary is being written survives it, after a validation and after a load', async () => {
  for (const kind of ['validation', 'load'] as const) {
    const store = createMemoryLedgerStore();
    const plain = createLedger(store);
    let isMarked = false;
    ledger = createLedger({
      ...store,
      async put(key, value, version) {
        if (key === 'tables/ks.a.json' && !isMarked) {
          isMarked = true;
          await plain.setTable('ks', 'a', 'suspect', { now: new Date(START + 30_000), by: 'p1', reason: 'overflow' });
        }
        return store.put(key, value, version);
      },
    });
    await summarize(run({ kind, rangeCount: 2 }), [range(0, 'a'), range(1, 'b')]);
    expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'suspect', reasons: [{ reason: 'overflow' }] });
    expect(await ledger.readTable('ks', 'b')).toMatchObject({ state: kind === 'load' ? 'loaded' : 'validated' });
  }
});

/** Writes the plan of a run over marked places, one range each. */
async function plan(places: readonly (readonly [string, bigint, bigint])[]): Promise<void> {
  const items = places.map(([table, start, end], index) => ({
    ...{ runId: 'r1', index, keyspace: 'ks', table, bytes: 0, tableKey: 'k' },
    ...{ start: String(start), end: String(end) },
  }));
  await objects.put('runs/r1/plan.json', JSON.stringify(items));
}

const mark = (change: Partial<SuspectRecord>): SuspectRecord => ({
  ...{ version: 1, keyspace: 'ks', table: 'a', range: null, reason: 'lost', by: 'p', at: iso(-5) },
  ...change,
});

test('a table that was validated before is so again when all its marks were looked at, place by place', async () => {
  const facts = { loadedAt: iso(-200), validatedAt: iso(-100) };
  await ledger.setTable('ks', 'a', 'suspect', { now: new Date(START - 5000), by: 'p', reason: 'lost', facts });
  await ledger.addSuspect('m', mark({ tokens: ['10', '20'] }));
  const input = { suspects: true, sampled: false };
  await plan([['a', 9n, 10n]]);
  await summarize(run({ tables: ['a'], rangeCount: 1, input }), [range(0, 'a')]);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'suspect', ...facts });
  expect(await ledger.listSuspects()).toMatchObject([{ tokens: ['20'] }]);
  await plan([['a', 19n, 20n]]);
  await summarize(run({ tables: ['a'], rangeCount: 1, input }), [range(0, 'a')]);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'validated', ...facts });
  expect(await ledger.listSuspects()).toEqual([]);
});

test('a table that was only loaded is not validated by looking at its marks, nor one that must be loaded again', async () => {
  const now = new Date(START - 5000);
  await ledger.setTable('ks', 'a', 'suspect', { now, by: 'p', facts: { loadedAt: iso(-100) } });
  const remigrate = { at: iso(-50), why: 'dropped a column', by: 'x' };
  await ledger.setTable('ks', 'b', 'suspect', { now, by: 'p', facts: { validatedAt: iso(-100), remigrate } });
  const input = { suspects: true, sampled: false };
  await summarize(run({ rangeCount: 0, rangesByTable: { a: 0, b: 0 }, input }), []);
  expect((await ledger.listTables()).map(({ table, state }) => `${table} ${state}`)).toEqual(['a loaded', 'b suspect']);
});

test('what a range has found stays marked until it is repaired, and keeps older marks of the same place', async () => {
  await ledger.addSuspect('old', mark({ tokens: ['10', '30'], code: 'conditional-missing' }));
  await ledger.addSuspect('r1-0-0', mark({ tokens: ['10'], code: 'validation', at: iso(2) }));
  const found = range(0, 'a', { counts: { partitions: 10, differing: 1 } });
  await summarize(run({ tables: ['a'], rangeCount: 1 }), [found]);
  expect((await ledger.listSuspects()).map(({ id, tokens }) => [id, tokens])).toEqual([
    ['old', ['10']],
    ['r1-0-0', ['10']],
  ]);
  const repaired = { ...found, counts: { ...found.counts, repaired: 1 } };
  await summarize(run({ tables: ['a'], rangeCount: 1 }), [repaired]);
  expect(await ledger.listSuspects()).toEqual([]);
  expect(await ledger.readTable('ks', 'a')).toMatchObject({ state: 'validated', validatedAt: iso(0) });
});

test('what is found to differ again and again has one mark, and others of the same place that say more stay', async () => {
  const found = { code: 'validation' as const, by: 'validation r0' };
  await ledger.addSuspect('r0-0-0', mark({ ...found, tokens: ['10', '20'] }));
  await ledger.addSuspect('lacks', mark({ ...found, tokens: ['10'], lacking: 'origin' }));
  await ledger.addSuspect('other', mark({ tokens: ['10'], code: 'unknown-outcome' }));
  await ledger.addSuspect('r1-0-0', mark({ ...found, tokens: ['10'], at: iso(2) }));
  await plan([['a', 9n, 10n]]);
  const input = { suspects: true, sampled: false };
  const differs = range(0, 'a', { counts: { partitions: 10, differing: 1 } });
  await summarize(run({ tables: ['a'], rangeCount: 1, input }), [differs]);
  const left = new Map((await ledger.listSuspects()).map(({ id, tokens }) => [id, tokens]));
  expect(left).toEqual(
    new Map([
      ['r0-0-0', ['20']],
      ['lacks', ['10']],
      ['other', ['10']],
      ['r1-0-0', ['10']],
    ]),
  );
});

test('where a range has failed the marks of the others are looked at all the same', async () => {
  await ledger.addSuspect('one', mark({ tokens: ['10'] }));
  await ledger.addSuspect('two', mark({ tokens: ['20'] }));
  await plan([
    ['a', 0n, 15n],
    ['a', 15n, 30n],
  ]);
  await summarize(run({ tables: ['a'], rangeCount: 2 }), [range(0, 'a'), range(1, 'a', { state: 'failed' })]);
  expect((await ledger.listSuspects()).map(({ id }) => id)).toEqual(['two']);
});

test('a load says when, and does what was demanded before it began, not what was demanded meanwhile', async () => {
  const now = new Date(START - 5000);
  const remigrate = (seconds: number) => ({ at: iso(seconds), why: 'truncated', by: 'x' });
  await ledger.setTable('ks', 'a', 'loading', { now, by: 'load', runId: 'r1', facts: { remigrate: remigrate(-9) } });
  await ledger.setTable('ks', 'b', 'loading', { now, by: 'load', runId: 'r1', facts: { remigrate: remigrate(9) } });
  await summarize(run({ kind: 'load', rangeCount: 2 }), [range(0, 'a'), range(1, 'b')]);
  const [a, b] = await ledger.listTables();
  expect(a).toMatchObject({ state: 'loaded', loadedAt: iso(60) });
  expect(a).not.toHaveProperty('remigrate');
  expect(b).toMatchObject({ state: 'loaded', remigrate: remigrate(9) });
});

test('what a load has left in doubt, which has no mark, is not settled by looking at marks', async () => {
  const facts = { loadedAt: iso(-200), validatedAt: iso(-100) };
  const reason = 'ranges of load r0 failed';
  await ledger.setTable('ks', 'a', 'suspect', { now: new Date(START - 5000), by: 'load', reason, facts });
  const input = { suspects: true, sampled: false };
  await summarize(run({ tables: ['a'], rangeCount: 0, rangesByTable: { a: 0 }, input }), []);
  expect((await ledger.readTable('ks', 'a'))?.state).toBe('suspect');
  await summarize(run({ tables: ['a'], rangeCount: 1 }), [range(0, 'a')]);
  expect((await ledger.readTable('ks', 'a'))?.state).toBe('validated');
});
