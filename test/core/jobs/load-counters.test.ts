import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { beforeEach, expect, test } from 'vitest';
import { GateClosedError, RequestTimeoutError, ServerError } from '#core/errors.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import { type LoadRangePorts, type LoadRangeResult, loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
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
let onRead: () => Promise<void>;
/** Counters that were deleted on the target. */
let deleted: Set<string>;

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
  onRead = async () => undefined;
  deleted = new Set();
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
      await onRead();
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
      for (const [name, delta] of deltas) {
        // As Cassandra does it: without a word.
        if (deleted.has(`${row} ${name}`)) continue;
        counters.set(`${row} ${name}`, (counters.get(`${row} ${name}`) ?? 0n) + delta);
      }
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
  // Those who sleep at the same time wake at the same time.
  sleep: async (ms) => {
    const until = nowMillis + ms;
    await Promise.resolve();
    if (until > nowMillis) nowMillis = until;
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
  // The record is that of the call which has the range.
  expect(await ledger.readRange('run', 0)).toBeUndefined();
  const before = nowMillis;
  expect((await loadRange({ item, ports: ports() })).kind).toBe('done');
  expect(nowMillis - before).toBeGreaterThanOrEqual(30_000);
  expect(counters).toEqual(expected);
});

test('without the mode a counter table is left out by name, and the mode leaves out all others', async () => {
  expect(await plan('ordinary', { counters: false })).toEqual([]);
});

test('a call that has lost its range while it read adds nothing, and leaves the record to the call that has it', async () => {
  const [item] = await plan('run');
  const key = `claims/ks.counters/${item!.start}_${item!.end}.json`;
  let other: Promise<unknown> | undefined;
  onRead = async () => {
    if (other !== undefined) return;
    nowMillis += 61_000;
    const leaseUntil = new Date(nowMillis + 60_000).toISOString();
    other = ledger.store.put(key, JSON.stringify({ version: 1, runId: 'other', leaseUntil }));
  };
  await expect(loadRange({ item, ports: ports() })).rejects.toBeInstanceOf(GateClosedError);
  await other;
  expect(additions).toBe(0);
  expect((await ledger.readRange('run', 0))?.state).toBe('running');
});

test('nothing is added when too little of the lease is left to be sure of it', async () => {
  const [item] = await plan('run');
  const { store } = ledger;
  const slow = createLedger({
    ...store,
    async put(key, value, expected) {
      const version = await store.put(key, value, expected);
      if (key.startsWith('claims/') && typeof expected === 'string') nowMillis += 50_000;
      return version;
    },
  });
  onRead = async () => {
    nowMillis += 16_000;
  };
  await expect(loadRange({ item, ports: { ...ports(), ledger: slow } })).rejects.toThrow('lease');
  expect(additions).toBe(0);
});

test('the claim is kept while the snapshot is slow', async () => {
  const [item] = await plan('run');
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const timed: LoadRangePorts = {
    ...ports(),
    sleep: async (ms) => {
      const until = nowMillis + ms;
      while (nowMillis < until) await turn();
    },
  };
  let stalls = 0;
  const slow: ObjectStore = {
    ...objects,
    async open(key) {
      const source = await objects.open(key);
      if (!key.endsWith('Data.db')) return source;
      return {
        ...source,
        async read(start, end, signal) {
          const isFirst = stalls++ === 0;
          for (let seconds = 0; seconds < 80; seconds++) {
            nowMillis += 1000;
            for (let i = 0; i < 20; i++) await turn();
          }
          if (isFirst) await expect(ledger.claimRange(item!, timed)).rejects.toBeInstanceOf(GateClosedError);
          return source.read(start, end, signal);
        },
      };
    },
  };
  const running = loadRange({
    item,
    ports: { ...timed, openSnapshot: () => ({ objects: slow, prefix: 'snap' }), sleep: timed.sleep },
  });
  const clock = setInterval(() => {
    nowMillis += 1000;
  }, 1);
  try {
    expect((await running).kind).toBe('done');
  } finally {
    clearInterval(clock);
  }
  expect(stalls).toBeGreaterThan(0);
  expect(counters).toEqual(expected);
});

test('a partition that outlasts its calls goes on behind a row', async () => {
  let [item] = await plan('run');
  const checkpoints: string[] = [];
  for (;;) {
    const result = await loadRange({ item, ports: ports(), deadlineMillis: nowMillis });
    if (result.kind === 'done') break;
    checkpoints.push(result.checkpoint);
    expect(checkpoints.length).toBeLessThan(2 * expected.size);
    item = JSON.parse(JSON.stringify(result.item)) as LoadItem;
  }
  expect(new Set(checkpoints).size).toBe(checkpoints.length);
  // Each of the partitions has ten rows.
  const partitions = new Set([...expected.keys()].map((name) => name.split(' ')[0]));
  expect(checkpoints.length).toBeGreaterThan(3 * partitions.size);
  expect(counters).toEqual(expected);
});

test('a counter that was deleted on the target takes no addition: its row is counted, its table suspect, the run not done', async () => {
  deleted.add('c6 6 hits').add('c1 9 misses').add('c1 41 hits');
  const results: LoadRangeResult[] = [];
  for (const item of await plan('run')) results.push(await loadRange({ item, ports: ports() }));
  expect(results.reduce((sum, { counts }) => sum + (counts['rowsNotTaken'] ?? 0), 0)).toBe(3);
  const taken = new Map([...expected].filter(([name]) => !deleted.has(name)));
  expect(counters).toEqual(taken);
  const table = await ledger.readTable('ks', 'counters');
  expect(table?.state).toBe('suspect');
  expect(table?.reasons.at(-1)?.reason).toMatch(/deleted on the target.*[Tt]runcate/);
  expect(await ledger.listSuspects()).toHaveLength(1);
  const summary = await summarizeRun('run', ports());
  expect(summary).toMatchObject({ status: 'differences', tables: [{ state: 'suspect' }] });

  // Truncated.
  deleted.clear();
  counters.clear();
  for (const item of await plan('again')) await loadRange({ item, ports: ports() });
  expect(await summarizeRun('again', ports())).toMatchObject({ status: 'done', tables: [{ state: 'loaded' }] });
  expect(counters).toEqual(expected);
});
