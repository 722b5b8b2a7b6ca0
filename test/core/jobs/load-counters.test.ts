import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { beforeEach, expect, test } from 'vitest';
import { GateClosedError, RequestTimeoutError, ServerError } from '#core/errors.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import { type LoadRangePorts, type LoadRangeResult, loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { parseCqlType } from '#core/model/parse-cql-type.ts';
import { NO_RENAMES } from '#core/model/rename.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { LoadSession, ObjectStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const FOLDER = fileURLToPath(new URL('../../golden/sstables/5.0-oa-big/counters/', import.meta.url));
const EXPECTED = new URL('../../golden/expected-select-json/counters.jsonl.gz', import.meta.url);
const column = (name: string, type: string) => ({ name, type: parseCqlType(type, 'ks', () => undefined) });
const schema: TableSchema = {
  keyspace: 'ks',
  table: 'counters',
  partitionKey: [column('pk', 'text')],
  clustering: [{ ...column('ck', 'int'), reversed: false }],
  staticColumns: [],
  regularColumns: [column('hits', 'counter'), column('misses', 'counter')],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: true,
};
const logger = { debug() {}, info() {}, warn() {}, error() {} };

/** What Cassandra's SELECT returned, as the target should hold it. */
const expected = new Map<string, bigint>();
for (const line of gunzipSync(readFileSync(EXPECTED)).toString('utf8').trim().split('\n')) {
  const { pk, ck, hits, misses } = JSON.parse(line) as {
    pk: string;
    ck: number;
    hits: number | null;
    misses: number | null;
  };
  if (hits !== null) expected.set(`${pk} ${ck} hits`, BigInt(hits));
  if (misses !== null) expected.set(`${pk} ${ck} misses`, BigInt(misses));
}

let objects: ObjectStore;
let ledger: Ledger;
let nowMillis: number;
let counters: Map<string, bigint>;
let additions: number;
/** Additions that arrive when the clock has come to their time. */
let late: { at: number; apply: () => void }[];
let onAddition: (apply: () => void) => void;

beforeEach(() => {
  const files = new Map<string, Uint8Array>();
  for (const name of readdirSync(FOLDER).filter((each) => /\.(db|crc32|txt)$/.test(each))) {
    files.set(`snap/n1/ks/counters-${'0'.repeat(32)}/${name}`, readFileSync(join(FOLDER, name)));
  }
  objects = createMemoryObjectStore(files);
  ledger = createLedger(createMemoryLedgerStore());
  nowMillis = Date.UTC(2027, 0, 1);
  counters = new Map();
  additions = 0;
  late = [];
  onAddition = (apply) => apply();
});

const int64 = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
};

const target: LoadSession = {
  protocolVersion: 5,
  query: async () => ({ columns: [], rows: [] }),
  prepare: async (text) => ({ text, id: new Uint8Array(1) }),
  async execute({ text }, values, options) {
    expect(options?.consistency).toBe(Consistency.LOCAL_QUORUM);
    late = late.filter(({ at, apply }) => at > nowMillis || apply());
    const row = `${Buffer.from(values.at(-2)!)} ${Buffer.from(values.at(-1)!).readInt32BE()}`;
    if (text.startsWith('SELECT')) {
      const found = ['hits', 'misses'].map((name) => counters.get(`${row} ${name}`));
      if (found.every((value) => value === undefined)) return { columns: [], rows: [] };
      return { columns: [], rows: [found.map((value) => (value === undefined ? null : int64(value)))] };
    }
    expect(options?.idempotent).toBe(false);
    const names = [...text.matchAll(/(\w+) = \1 \+ \?/g)].map((match) => match[1]!);
    expect(names.length).toBe(values.length - 2);
    const deltas = names.map((name, index) => [name, Buffer.from(values[index]!).readBigInt64BE()] as const);
    onAddition(() => {
      additions++;
      for (const [name, delta] of deltas)
        counters.set(`${row} ${name}`, (counters.get(`${row} ${name}`) ?? 0n) + delta);
    });
    return { columns: [], rows: [] };
  },
  batch: async () => expect.unreachable(),
  sendBatch: async () => expect.unreachable(),
  replicaSet: () => undefined,
  close: async () => undefined,
};

const ports = (): LoadRangePorts => ({
  objects,
  openSnapshot: () => ({ objects, prefix: 'snap' }),
  ledger,
  clock: { nowMillis: () => nowMillis },
  logger,
  target,
  sleep: async (ms) => {
    nowMillis += ms;
  },
});

async function plan(runId: string, input: Record<string, unknown> = {}): Promise<LoadItem[]> {
  await planLoad(
    runId,
    {
      keyspace: 'ks',
      snapshot: 'memory://snap',
      trustCoverage: true,
      allowEarlySnapshot: true,
      counters: true,
      ...input,
    },
    { ...ports(), readTarget: async () => ({ tables: [schema], views: [], indexes: [] }) },
    {
      targetWriteMBps: 1000,
      tombstones: 'all',
      consistency: 'LOCAL_ONE',
      memoryBudgetMB: 64,
      rangeMB: 1,
      maxConcurrency: 4,
      indexes: 'skip',
      filterRules: null,
      renames: NO_RENAMES,
      by: 'test',
    },
  );
  return JSON.parse(new TextDecoder().decode(await objects.get(`runs/${runId}/plan.json`))) as LoadItem[];
}

async function load(runId: string, input: Record<string, unknown> = {}): Promise<LoadRangeResult[]> {
  const results: LoadRangeResult[] = [];
  for (const item of await plan(runId, input)) results.push(await loadRange({ item, ports: ports() }));
  await ledger.endRun(runId, 'done', new Date(nowMillis));
  return results;
}

test('counters of the target become those of the origin, and a second load adds nothing', async () => {
  expect(expected.size).toBeGreaterThan(10);
  counters.set('c6 6 hits', 4000n).set('c6 6 misses', 9999n);
  await load('first');
  expect(counters).toEqual(expected);
  const before = additions;
  expect(before).toBeGreaterThan(0);
  await load('second');
  expect(counters).toEqual(expected);
  expect(additions).toBe(before);
});

test('an addition whose outcome is unknown is counted once, whether it arrived, was lost, or arrives late', async () => {
  let calls = 0;
  onAddition = (apply) => {
    calls++;
    if (calls % 4 === 0) return apply();
    if (calls % 4 === 1) apply();
    if (calls % 4 === 2) late.push({ at: nowMillis + 4000, apply });
    throw calls % 2 === 0 ? new RequestTimeoutError('no answer') : new ServerError('write timeout', 0x1100, true);
  };
  const [result] = await load('run');
  expect(counters).toEqual(expected);
  expect(result?.counts['unclearWrites']).toBeGreaterThan(2);
});

test('a range that was interrupted is loaded again, and finds what it had added', async () => {
  const [item] = await plan('run');
  let left = 10;
  onAddition = (apply) => {
    if (left-- > 0) return apply();
    // The process dies with this one under way.
    if (left === -1) late.push({ at: nowMillis + 4000, apply });
    throw new ServerError('down', 0x2200, false);
  };
  await expect(loadRange({ item, ports: ports() })).rejects.toBeInstanceOf(ServerError);
  expect((await ledger.readRange('run', 0))?.state).toBe('failed');
  onAddition = (apply) => apply();
  expect((await loadRange({ item, ports: ports() })).kind).toBe('done');
  expect(counters).toEqual(expected);
});

test('a range whose load was stopped adds nothing', async () => {
  const [item] = await plan('run');
  await ledger.endRun('run', 'stopped', new Date(nowMillis));
  await expect(loadRange({ item, ports: ports() })).rejects.toThrow(/run was stopped/);
  expect(additions).toBe(0);
});

test('a range that another call is writing is refused; one whose writer died is taken after a minute', async () => {
  const [item] = await plan('run');
  const claim = await ledger.claimRange(item!, ports());
  const renewing = {
    ...ports(),
    sleep: async (ms: number) => {
      nowMillis += ms;
      await claim.renew();
    },
  };
  await expect(loadRange({ item, ports: renewing })).rejects.toBeInstanceOf(GateClosedError);
  expect(additions).toBe(0);
  const before = nowMillis;
  expect((await loadRange({ item, ports: ports() })).kind).toBe('done');
  expect(nowMillis - before).toBeGreaterThanOrEqual(30_000);
  expect(counters).toEqual(expected);
});

test('without the mode a counter table is left out by name, and the mode leaves out all others', async () => {
  expect(await plan('ordinary', { counters: false })).toEqual([]);
});
