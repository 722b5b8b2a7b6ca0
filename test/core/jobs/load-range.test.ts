import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, expect, test } from 'vitest';
import { decodeInt } from '#core/cql/value-codec.ts';
import { ClusterUnreachableError } from '#core/errors.ts';
import { parseFilterRules } from '#core/filter/filter-rules.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts, TargetTables } from '#core/jobs/load-planning.ts';
import { type LoadRangePorts, type LoadRangeResult, loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { changeSavedIndexes } from '#core/ledger/saved-indexes.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { parseCqlType } from '#core/model/parse-cql-type.ts';
import { NO_RENAMES } from '#core/model/rename.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { ObjectStore } from '#core/ports.ts';
import { createLoadSession, type SentBatch } from '../../support/load-session.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

// 400 partitions of one row with sets, lists and maps, and a second SSTable with changes to them.
const FOLDER = fileURLToPath(new URL('../../golden/sstables/4.1-nb-big/colls/', import.meta.url));
const column = (name: string, type: string) => ({ name, type: parseCqlType(type, 'ks', () => undefined) });
const schema: TableSchema = {
  keyspace: 'ks',
  table: 'colls',
  partitionKey: [column('id', 'int')],
  clustering: [],
  staticColumns: [],
  regularColumns: [
    column('fl', 'frozen<list<text>>'),
    column('fm', 'frozen<map<int, text>>'),
    column('fs', 'frozen<set<int>>'),
    column('l', 'list<int>'),
    column('m', 'map<text, bigint>'),
    column('mb', 'map<timeuuid, blob>'),
    column('nested', 'map<text, frozen<list<frozen<set<int>>>>>'),
    column('s', 'set<text>'),
  ],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
};
const START = Date.UTC(2027, 0, 1);
const logger = { debug() {}, info() {}, warn() {}, error() {} };

let objects: ObjectStore;
let ledger: Ledger;
let nowMillis: number;
let target: TargetTables;
/** Partitions as they were written, and the write times of lists. */
let written: number[];
let listTimes: bigint[];
let tablesWritten: string[];
let levels: Set<Consistency | undefined>;
let onWrite: () => void;

beforeEach(() => {
  const files = new Map<string, Uint8Array>();
  for (const name of readdirSync(FOLDER).filter((each) => each.endsWith('.db'))) {
    files.set(`snap/n1/ks/colls-${'0'.repeat(32)}/${name}`, readFileSync(join(FOLDER, name)));
  }
  objects = createMemoryObjectStore(files);
  ledger = createLedger(createMemoryLedgerStore());
  nowMillis = START;
  target = { tables: [schema], views: [], indexes: [] };
  written = [];
  listTimes = [];
  tablesWritten = [];
  levels = new Set();
  onWrite = () => undefined;
});

const session = createLoadSession(({ entries, consistency }) => {
  let last: string | undefined;
  levels.add(consistency);
  for (const entry of entries) {
    const id = String(idOf(entry));
    // As often as partitions are written, however many share a request.
    if (id !== last) onWrite();
    last = id;
    note(entry);
  }
});

type Entry = SentBatch['entries'][number];

function idOf({ text, values }: Entry): number {
  return decodeInt((text.startsWith('INSERT') ? values[0] : values.at(-1)) as Uint8Array);
}

function note(entry: Entry): void {
  const { text, values } = entry;
  tablesWritten.push(/\w+\.\w+/.exec(text)?.[0] ?? '');
  written.push(idOf(entry));
  if (!text.includes('l = ? + l')) return;
  const at = values[0] as Uint8Array;
  listTimes.push(new DataView(at.buffer, at.byteOffset, 8).getBigInt64(0));
}

const planPorts = (): PlanLoadPorts => ({
  readTarget: async () => target,
  objects,
  openSnapshot: () => ({ objects, prefix: 'snap' }),
  ledger,
  clock: { nowMillis: () => nowMillis },
  logger,
});
const loadPorts = (): LoadRangePorts => ({
  ...planPorts(),
  target: session,
  sleep: async (ms) => {
    nowMillis += ms;
  },
});
const options: PlanLoadOptions = {
  targetWriteMBps: 1000,
  tombstones: 'all',
  consistency: 'LOCAL_QUORUM',
  memoryBudgetMB: 64,
  rangeMB: 1024,
  maxConcurrency: 2,
  filterRules: null,
  indexes: 'rebuild',
  renames: NO_RENAMES,
  by: 'test',
};
const input = { keyspace: 'ks', snapshot: 's3://b/snap', trustCoverage: true, allowEarlySnapshot: true };

async function plan(runId: string, more: object = {}, changes: Partial<PlanLoadOptions> = {}) {
  const made = await planLoad(runId, { ...input, ...more }, planPorts(), { ...options, ...changes });
  const items = JSON.parse(new TextDecoder().decode(await objects.get(made.planKey))) as LoadItem[];
  return { made, items };
}

const distinct = (ids: readonly number[]) => [...new Set(ids)].sort((a, b) => a - b);

test('a renamed table is written by its new name, filtered and recorded by its old one', async () => {
  target = { ...target, tables: [{ ...schema, keyspace: 'archive', table: 'stuff' }] };
  const renames = { keyspaces: {}, tables: { 'ks.colls': 'archive.stuff' } };
  const filterRules = parseFilterRules('tables: { exclude: [archive.stuff] }', 'rules');
  await expect(plan('r0')).rejects.toThrow(/no table ks\.colls/);
  const { made, items } = await plan('r1', {}, { renames, filterRules });
  expect(made.tables.map(({ table }) => table)).toEqual(['colls']);
  expect(items[0]).toMatchObject({ keyspace: 'ks', table: 'colls' });
  for (const item of items) await loadRange({ item, ports: loadPorts() });
  expect(distinct(written).length).toBeGreaterThan(390);
  expect(new Set(tablesWritten)).toEqual(new Set(['archive.stuff']));
  expect(await ledger.readTable('ks', 'colls')).toMatchObject({ state: 'loading' });
  await summarizeRun('r1', { objects, ledger, clock: { nowMillis: () => nowMillis } });
  const byOldName = parseFilterRules('tables: { exclude: [ks.colls] }', 'rules');
  const filtered = await plan('r2', {}, { renames, filterRules: byOldName });
  expect(filtered.made.skipped.map(({ table }) => table)).toEqual(['colls']);
});

test('a range that reaches its deadline stops at a partition, and its checkpoint goes on there without leaving any out', async () => {
  const { items } = await plan('r1');
  let item: unknown = items[0];
  let result: LoadRangeResult;
  let calls = 0;
  const perCall: number[] = [];
  do {
    const before = written.length;
    onWrite = () => {
      nowMillis += 10;
    };
    result = await loadRange({ item, ports: loadPorts(), deadlineMillis: nowMillis + 500 });
    perCall.push(written.length - before);
    if (result.kind === 'checkpoint') {
      item = result.item;
      expect(await ledger.readRange('r1', 0)).toMatchObject({ state: 'running', checkpoint: result.checkpoint });
    }
  } while (result.kind === 'checkpoint' && ++calls < 100);
  expect(perCall.length).toBeGreaterThan(2);
  expect(Math.max(...perCall)).toBeLessThan(written.length);
  const inPieces = distinct(written);
  written = [];
  await summarizeRun('r1', { objects, ledger, clock: { nowMillis: () => nowMillis } });
  const whole = await plan('r2');
  await loadRange({ item: whole.items[0], ports: loadPorts() });
  expect(inPieces).toEqual(distinct(written));
  expect(inPieces.length).toBeGreaterThan(390);
});

test('a load that failed is resumed where its range had come to, as a run of its own', async () => {
  const { items } = await plan('r1');
  let count = 0;
  onWrite = () => {
    nowMillis += 100;
    if (++count > 200) throw new ClusterUnreachableError('away');
  };
  await expect(loadRange({ item: items[0], ports: loadPorts() })).rejects.toThrow('away');
  const first = distinct(written);
  await summarizeRun('r1', { objects, ledger, clock: { nowMillis: () => nowMillis } });
  expect(await ledger.readTable('ks', 'colls')).toMatchObject({ state: 'suspect' });
  onWrite = () => undefined;
  const resumed = await plan('r2', { resume: 'r1' });
  expect(resumed.items[0]?.checkpoint).toBeDefined();
  written = [];
  await loadRange({ item: resumed.items[0], ports: loadPorts() });
  expect(distinct(written).length).toBeLessThan(390);
  expect(distinct([...first, ...written]).length).toBeGreaterThan(390);
  const summary = await summarizeRun('r2', { objects, ledger, clock: { nowMillis: () => nowMillis } });
  expect(summary.status).toBe('done');
  expect(await ledger.readTable('ks', 'colls')).toMatchObject({ state: 'loaded' });
});

test('a range whose load is stopped by another process ends soon, and can be resumed', async () => {
  const { items } = await plan('r1');
  let count = 0;
  onWrite = () => {
    nowMillis += 100;
    // Of the other process: the memory ledger is changed before this one looks again.
    if (++count === 200) void ledger.endRun('r1', 'stopped', new Date(nowMillis));
  };
  await expect(loadRange({ item: items[0], ports: loadPorts() })).rejects.toThrow(/r1 was stopped|run was stopped/);
  expect(distinct(written).length).toBeLessThan(300);
  expect(await ledger.readRange('r1', 0)).toMatchObject({ state: 'failed', error: { name: 'GateClosedError' } });
  const before = written.length;
  await expect(loadRange({ item: items[0], ports: loadPorts() })).rejects.toThrow(/load resume r1/);
  expect(written.length).toBe(before);
  onWrite = () => undefined;
  const resumed = await plan('r2', { resume: 'r1' });
  expect((await loadRange({ item: resumed.items[0], ports: loadPorts() })).kind).toBe('done');
  expect(distinct(written).length).toBeGreaterThan(390);
});

test('a plan knows what an ended load still owes: a start brings it back, a resume of nothing says how to', async () => {
  const { items } = await plan('r1');
  await loadRange({ item: items[0], ports: loadPorts() });
  await changeSavedIndexes(ledger.store, 'ks', 'colls', () => ({
    ...{ version: 1, keyspace: 'ks', table: 'colls', runId: 'r1', state: 'restoring' },
    updatedAt: new Date(nowMillis).toISOString(),
    indexes: [
      {
        ...{ name: 'by_s', kind: 'COMPOSITES', options: { target: 's' }, statement: 'CREATE INDEX by_s …' },
        ...{ state: 'failed', createdAt: null, error: 'away' },
      },
    ],
  }));
  await ledger.endRun('r1', 'failed', new Date(nowMillis));
  const resumed = await plan('r2', { resume: 'r1' });
  expect(resumed.made).toMatchObject({ rangeCount: 0, rebuildIndexes: [] });
  expect(resumed.made.warnings.join()).toMatch(/load r1 has dropped .*by_s.*ringshift indexes restore/);
  await ledger.endRun('r2', 'done', new Date(nowMillis));
  const again = await plan('r3');
  expect(again.made.rebuildIndexes).toEqual([{ keyspace: 'ks', table: 'colls', name: 'by_s' }]);
});

test('every write is sent with the consistency of the configuration, whatever the target’s own level is', async () => {
  const { items } = await plan('r1', {}, { consistency: 'EACH_QUORUM' });
  for (const item of items) await loadRange({ item, ports: loadPorts() });
  expect([...levels]).toEqual([Consistency.EACH_QUORUM]);
});

test('what the filter rules exclude is read and not written', async () => {
  const filterRules = parseFilterRules('tenants: { columns: [id], exclude: [1, 2, 3] }', 'rules');
  const { items } = await plan('r1', {}, { filterRules });
  const result = await loadRange({ item: items[0], ports: loadPorts() });
  expect(result.counts).toMatchObject({ excludedPartitions: 3 });
  expect(written.filter((id) => [1, 2, 3].includes(id))).toEqual([]);
  expect(distinct(written).length).toBeGreaterThan(390);
});

test('no two runs share the write times of lists, whichever of them is resumed or begun anew', async () => {
  const bases: number[] = [];
  for (const [runId, more] of [
    ['a', {}],
    ['b', {}],
    ['c', { resume: 'a' }],
    ['d', { resume: 'b' }],
    ['e', {}],
  ] as const) {
    const { items } = await plan(runId, more);
    bases.push(items[0]!.listAttemptBase);
    await ledger.endRun(runId, 'stopped', new Date(nowMillis));
  }
  expect(new Set(bases).size).toBe(5);
  expect(bases).toEqual(bases.toSorted((a, b) => a - b));
});

test('lists that were written while only some proxies wrote to both clusters make their table suspect', async () => {
  // The fixture was written on 2026-11-21 at about 02:33:40.
  const since = '2026-11-21T02:33:00.000Z';
  const active = { epoch: 2, phase: 'dual-async' as const, since, by: 'x', why: '' };
  const phase = (dualWritesSettledAt: string) =>
    JSON.stringify({ version: 1, active, proposal: null, dualWritesSince: since, dualWritesSettledAt, history: [] });
  await ledger.store.put('phase.json', phase('2026-11-21T02:40:00.000Z'));
  const { items } = await plan('r1');
  await loadRange({ item: items[0], ports: loadPorts() });
  expect(await ledger.listSuspects()).toMatchObject([{ table: 'colls', id: 'r1-0-unclearListCell' }]);
  await summarizeRun('r1', { objects, ledger, clock: { nowMillis: () => nowMillis } });
  expect(await ledger.readTable('ks', 'colls')).toMatchObject({ state: 'suspect' });
});

test('lists of long after the settling are left to the shadow, and nothing is suspect', async () => {
  const since = '2026-11-20T00:00:00.000Z';
  const active = { epoch: 2, phase: 'dual-async' as const, since, by: 'x', why: '' };
  const record = {
    version: 1,
    active,
    proposal: null,
    dualWritesSince: since,
    dualWritesSettledAt: since,
    history: [],
  };
  await ledger.store.put('phase.json', JSON.stringify(record));
  const { items } = await plan('r1');
  await loadRange({ item: items[0], ports: loadPorts() });
  expect(listTimes).toEqual([]);
  expect(await ledger.listSuspects()).toEqual([]);
});

test('materialized views are left out, by name', async () => {
  target = { tables: [], views: [{ keyspace: 'ks', table: 'colls' }], indexes: [] };
  const { made, items } = await plan('r1');
  expect(made.skipped).toEqual([{ table: 'colls', reason: expect.stringContaining('materialized view') }]);
  expect(items).toEqual([]);
});

test('a plan says which secondary indexes are rebuilt and which stay in place', async () => {
  const index = (table: string, name: string) => ({
    ...{ keyspace: schema.keyspace, table, name, kind: 'COMPOSITES' },
    options: { target: 's' },
  });
  target = { ...target, indexes: [index('colls', 'by_s'), index('other', 'x')] };
  const warnings = async (runId: string, indexes?: 'rebuild' | 'skip') => {
    const { made } = await plan(runId, {}, indexes === undefined ? {} : { indexes });
    await ledger.endRun(runId, 'stopped', new Date(nowMillis));
    const record = await ledger.readRun(runId);
    expect(record?.warnings).toEqual(made.warnings);
    expect(record?.rebuildIndexes).toEqual(made.rebuildIndexes);
    expect(made.rebuildIndexes.map(({ name }) => name)).toEqual(indexes === 'rebuild' ? ['by_s'] : []);
    return made.warnings.filter((warning) => warning.includes('index')).join();
  };
  expect(await warnings('r1', 'rebuild')).toBe('');
  expect(await warnings('r2', 'skip')).toMatch(/slow it: by_s on colls \(indexes: skip\)$/);
  target = { ...target, indexes: [] };
  expect(await warnings('r4')).toBe('');
});
