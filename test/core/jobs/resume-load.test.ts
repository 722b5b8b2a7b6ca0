import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { type LoadItem, readTableManifest } from '#core/jobs/load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts, TargetTables } from '#core/jobs/load-planning.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { MANIFEST_NAME, type SnapshotManifest } from '#core/jobs/snapshot-manifest.ts';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { PhaseRecord, RangeRecord } from '#core/ledger/records.ts';
import { NO_RENAMES } from '#core/model/rename.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { fixture } from '../../golden/fixtures.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const START = Date.UTC(2026, 0, 10);
const iso = (seconds: number) => new Date(START + seconds * 1000).toISOString();
const schemaOf = (table: string, keyspace = 'ks'): TableSchema => ({
  keyspace,
  table,
  partitionKey: [{ name: 'id', type: { kind: 'native', name: 'int' } }],
  clustering: [],
  staticColumns: [],
  regularColumns: [{ name: 'v', type: { kind: 'native', name: 'text' } }],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
});

let files: Map<string, Uint8Array>;
let ledger: Ledger;
let target: TargetTables;
let options: PlanLoadOptions;
let nowMillis: number;

/** One node with the same SSTable as tables `a` and `b`; run r1 has loaded `a`, and was stopped. */
beforeEach(async () => {
  files = new Map();
  nowMillis = START;
  const { directory } = fixture('4.1-nb-big/simple/nb-1-big');
  const components: SnapshotManifest['components'] = [];
  for (const name of readdirSync(directory).filter((each) => /^nb-1-big-.*\.db$/.test(each))) {
    const bytes = new Uint8Array(readFileSync(join(directory, name)));
    for (const table of ['a', 'b']) {
      const key = `ks/${table}-${'0'.repeat(32)}/${name}`;
      files.set(`snap/n1/${key}`, bytes);
      components.push({ key, byteLength: bytes.length, crc32: 0 });
    }
  }
  const node = { node: 'n1', hostId: 'h1', datacenter: 'dc1', rack: 'r1', tokens: ['1'], ring: ['h1'], tag: '' };
  const tables = ['a', 'b'].map((table) => ({ keyspace: 'ks', table, droppedColumns: [] }));
  const manifest: SnapshotManifest = { version: 1, ...node, takenAt: iso(0), tables, components };
  files.set(`snap/n1/${MANIFEST_NAME}`, new TextEncoder().encode(JSON.stringify(manifest)));
  ledger = createLedger(createMemoryLedgerStore());
  target = { tables: [schemaOf('a'), schemaOf('b')], views: [], indexes: [] };
  options = {
    ...{ targetWriteMBps: 100, tombstones: 'all', consistency: 'LOCAL_QUORUM', memoryBudgetMB: 64, rangeMB: 1024 },
    ...{ maxConcurrency: 2, filterRules: null, indexes: 'rebuild', renames: NO_RENAMES, by: 'test' },
  };
  await setDualWrites(-60);
  await plan('r1');
  await finish('r1', 'a');
  await ledger.endRun('r1', 'stopped', new Date(START));
});

const ports = (): PlanLoadPorts => ({
  readTarget: async (keyspace) => ({
    ...target,
    tables: target.tables.filter((table) => table.keyspace === keyspace),
  }),
  objects: createMemoryObjectStore(files),
  openSnapshot: () => ({ objects: createMemoryObjectStore(files), prefix: 'snap' }),
  ledger,
  clock: { nowMillis: () => nowMillis },
  logger: { debug() {}, info() {}, warn() {}, error() {} },
});

async function setDualWrites(settledSeconds: number): Promise<void> {
  const record: PhaseRecord = {
    version: 1,
    active: { epoch: 2, phase: 'dual-async', since: iso(settledSeconds - 10), by: 'x', why: 'y' },
    proposal: null,
    lastEpoch: 2,
    dualWritesSince: iso(settledSeconds - 10),
    dualWritesSettledAt: iso(settledSeconds),
    history: [],
  };
  await ledger.store.put('phase.json', JSON.stringify(record));
}

async function plan(runId: string, more: object = {}) {
  const made = await planLoad(runId, { keyspace: 'ks', snapshot: 's3://b/snap', ...more }, ports(), options);
  const items = JSON.parse(new TextDecoder().decode(files.get(made.planKey))) as LoadItem[];
  return { made, items };
}
const resume = (runId = 'r2', more: object = {}) => plan(runId, { resume: 'r1', ...more });

/** As the ranges do: all of the table's are done. */
async function finish(runId: string, table: string): Promise<void> {
  const items = JSON.parse(new TextDecoder().decode(files.get(`runs/${runId}/plan.json`))) as LoadItem[];
  for (const item of items.filter((each) => each.table === table)) {
    const { index, keyspace } = item;
    const record: RangeRecord = {
      ...{ version: 1, runId, index, keyspace, table, state: 'done', checkpoint: null },
      ...{ counts: { rows: 1 }, error: null, updatedAt: iso(1) },
    };
    await ledger.putRange(record);
  }
}
const stateOf = async (table: string) => (await ledger.readTable('ks', table))?.state;

test('only what is not finished goes on, and what was finished without anyone saying so is said at the end', async () => {
  const { made, items } = await resume();
  expect(made.tables.map(({ table, ranges }) => [table, ranges > 0])).toEqual([
    ['a', false],
    ['b', true],
  ]);
  expect(items.every(({ runId, table }) => runId === 'r2' && table === 'b')).toBe(true);
  await finish('r2', 'b');
  const { objects, clock } = ports();
  expect(await summarizeRun('r2', { objects, clock, ledger })).toMatchObject({ status: 'done' });
  expect([await stateOf('a'), await stateOf('b')]).toEqual(['loaded', 'loaded']);
});

test('a table that is finished keeps the state that it has got since', async () => {
  await ledger.setTable('ks', 'a', 'suspect', { now: new Date(START + 1000), by: 'proxy', reason: 'a lost write' });
  const { made } = await resume();
  expect(made.tables.map(({ table }) => table)).toEqual(['b']);
  await finish('r2', 'b');
  const { objects, clock } = ports();
  await summarizeRun('r2', { objects, clock, ledger });
  expect([await stateOf('a'), await stateOf('b')]).toEqual(['suspect', 'loaded']);
});

test('a table that was validated since is no part of a run that loads nothing of it', async () => {
  await ledger.setTable('ks', 'a', 'validated', { now: new Date(START + 1000), by: 'validation', runId: 'v1' });
  expect((await resume()).made.tables.map(({ table }) => table)).toEqual(['b']);
  expect(await stateOf('a')).toBe('validated');
});

test('the run that goes on needs an id of its own, running or not', async () => {
  await expect(resume('r1')).rejects.toThrow(/take another --run-id/);
  await ledger.updateRun('r1', { state: 'running' });
  await expect(resume('r1')).rejects.toThrow(/take another --run-id/);
  await expect(resume('r2')).rejects.toThrow(/is under way; stop it first/);
});

test('dual writes that began anew since the snapshot refuse the rest, as they would refuse a start', async () => {
  await setDualWrites(3600);
  await expect(plan('r2')).rejects.toThrow(/before every proxy wrote to both clusters/);
  await expect(resume()).rejects.toThrow(/before every proxy wrote to both clusters/);
  const { made, items } = await resume('r2', { allowEarlySnapshot: true });
  expect(made.warnings).toEqual([expect.stringContaining('before every proxy')]);
  // Lists are held against the dual writes of today.
  const { dualWritesSinceMicros } = await readTableManifest(ports().objects, items[0]!.tableKey);
  expect(dualWritesSinceMicros).toBe(String(BigInt(Date.parse(iso(3590))) * 1000n));
});

test('a node that has gone from the snapshot refuses the rest', async () => {
  files.delete(`snap/n1/${MANIFEST_NAME}`);
  await expect(resume()).rejects.toThrow(/nothing proves that the snapshot covers the ring/);
});

test.each<[string, () => void, RegExp]>([
  [
    'filter rules',
    () => {
      options = { ...options, filterRules: { version: 1, excludedTenants: ['t'] } as never };
    },
    /the filter rules have changed/,
  ],
  [
    'renames',
    () => {
      options = { ...options, renames: { keyspaces: {}, tables: { 'ks.b': 'ks.c' } } };
      target = { ...target, tables: [schemaOf('a'), schemaOf('c')] };
    },
    /ks\.b was loaded into ks\.b, and the renames now name ks\.c/,
  ],
  [
    'columns of the target',
    () => {
      target = { ...target, tables: [schemaOf('a'), { ...schemaOf('b'), regularColumns: [] }] };
    },
    /ks\.b has changed on the target since the plan: column v is missing/,
  ],
  [
    'files of the snapshot',
    () => {
      for (const [name, bytes] of [...files]) {
        files.delete(name);
        const body = name.endsWith(MANIFEST_NAME) ? new TextDecoder().decode(bytes).replaceAll('nb-1', 'nb-2') : bytes;
        const moved = name.startsWith('snap/') ? name.replace('nb-1', 'nb-2') : name;
        files.set(moved, typeof body === 'string' ? new TextEncoder().encode(body) : body);
      }
    },
    /the snapshot of ks\.b has been replaced/,
  ],
])('other %s than those of the plan refuse the rest, with the remedy', async (_, change, message) => {
  change();
  await expect(resume()).rejects.toThrow(message);
  await expect(resume()).rejects.toThrow(/start a new load/);
  expect(await ledger.readRun('r2')).toBeUndefined();
});

test('a column that the target has got since is written by the rest', async () => {
  const added = { name: 'w', type: { kind: 'native', name: 'int' } } as const;
  const { regularColumns } = schemaOf('b');
  target = { ...target, tables: [schemaOf('a'), { ...schemaOf('b'), regularColumns: [...regularColumns, added] }] };
  const { items } = await resume();
  const { schema } = await readTableManifest(ports().objects, items[0]!.tableKey);
  expect(schema.regularColumns.map(({ name }) => name)).toEqual(['v', 'w']);
});
