import { describe, expect, it, test } from 'vitest';
import { encodeText } from '#core/cql/value-codec.ts';
import { ObjectStoreError } from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { cutForComparison } from '#core/jobs/marked-places.ts';
import { type PlanValidationPorts, planValidation } from '#core/jobs/plan-validation.ts';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
import { rangesOfItem, type ValidationItem } from '#core/jobs/validation-plan.ts';
import { CopiedTables } from '#core/ledger/copied-tables.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { changeReplayState } from '#core/ledger/replay-state.ts';
import type { CqlSession } from '#core/ports.ts';
import { WHOLE_RING } from '#core/token/token-range.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';
import { schemaOf } from '../merge/support.ts';

const START = Date.UTC(2026, 0, 1);
const options = {
  samplePercent: 100,
  compareWriteTime: true,
  rangesPerTable: 4,
  maxConcurrency: 2,
  filter: createFilter(NO_FILTER_RULES),
};

/** A node that says its release and has no estimates. */
const session: CqlSession = {
  protocolVersion: 4,
  query: async (text) => ({ columns: [], rows: text.includes('release_version') ? [[encodeText('4.1.0')]] : [] }),
  prepare: async (text) => ({ text, id: new Uint8Array(1) }),
  execute: async () => ({ columns: [], rows: [] }),
  batch: async () => undefined,
  close: async () => undefined,
};

function portsOf(changes: Partial<PlanValidationPorts> = {}): PlanValidationPorts {
  return {
    origin: session,
    target: session,
    readSchema: async () => [schemaOf()],
    objects: createMemoryObjectStore(),
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => START },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async () => undefined,
    ...changes,
  };
}

test('a plan says how many ranges each table has', async () => {
  const ports = portsOf();
  const plan = await planValidation('r1', { keyspace: 'shop' }, ports, options);
  expect(plan.rangeCount).toBe(4);
  expect(await ports.ledger.readRun('r1')).toMatchObject({ rangeCount: 4, rangesByTable: { orders: 4 } });
});

test.each(['origin', 'target'] as const)(
  'an %s whose tokens are not those of Murmur3 is not compared',
  async (side) => {
    const partitioner = 'org.apache.cassandra.dht.RandomPartitioner';
    const query: CqlSession['query'] = async (text) => ({
      columns: [],
      rows: text.includes('partitioner') ? [[encodeText('3.11.1'), encodeText(partitioner)]] : [],
    });
    const ports = portsOf({ [side]: { ...session, query } });
    await expect(planValidation('r1', { keyspace: 'shop' }, ports, options)).rejects.toThrow(
      `the ${side} uses the partitioner ${partitioner}; only Murmur3Partitioner`,
    );
    expect(await ports.ledger.listRuns()).toEqual([]);
  },
);

test('planning that fails gives the keyspace free, and its summary leaves tables and suspect marks as they were', async () => {
  const memory = createMemoryObjectStore();
  let isAway = true;
  const objects = {
    ...memory,
    put: async (key: string, body: string | Uint8Array) => {
      if (isAway) throw new ObjectStoreError('the bucket is away');
      await memory.put(key, body);
    },
  };
  const ports = portsOf({ objects });
  const at = new Date(START - 1000).toISOString();
  const mark = { version: 1 as const, keyspace: 'shop', table: 'orders', range: null, reason: 'lost', by: 'p', at };
  await ports.ledger.addSuspect('m', mark);
  await ports.ledger.setTable('shop', 'orders', 'suspect', { now: new Date(at), by: 'p', reason: 'lost' });
  await expect(planValidation('r1', { keyspace: 'shop' }, ports, options)).rejects.toThrow('the bucket is away');
  isAway = false;
  expect((await summarizeRun('r1', ports)).status).toBe('failed');
  expect(await ports.ledger.readTable('shop', 'orders')).toMatchObject({ state: 'suspect' });
  expect(await ports.ledger.listSuspects()).toHaveLength(1);
  await planValidation('r2', { keyspace: 'shop' }, ports, options);
});

test('a plan of the marked places has these only, neighbours joined, and the tables that have any', async () => {
  const ports = portsOf();
  const at = new Date(START - 1000).toISOString();
  const base = { version: 1 as const, keyspace: 'shop', table: 'orders', reason: 'lost', by: 'p', at };
  await ports.ledger.addSuspect('a', { ...base, range: null, tokens: ['7', '8', '100', '-5'] });
  await ports.ledger.addSuspect('b', { ...base, range: { start: '8', end: '9' } });
  await ports.ledger.addSuspect('c', { ...base, keyspace: 'other', range: null });
  const plan = await planValidation('r1', { keyspace: 'shop', suspects: true }, ports, options);
  const items = JSON.parse(new TextDecoder().decode(await ports.objects.get(plan.planKey))) as ValidationItem[];
  expect(items.flatMap(rangesOfItem)).toEqual([
    { start: -6n, end: -5n },
    { start: 6n, end: 9n },
    { start: 99n, end: 100n },
  ]);
  expect(items.length).toBeLessThanOrEqual(2);
});

test('where nothing is marked there is nothing to compare, and a sample of marks is refused', async () => {
  const ports = portsOf();
  const plan = await planValidation('r1', { keyspace: 'shop', suspects: true }, ports, options);
  expect(plan).toMatchObject({ rangeCount: 0, tables: [] });
  expect((await summarizeRun('r1', ports)).status).toBe('done');
  const sample = planValidation('r2', { keyspace: 'shop', suspects: true, samplePercent: 5 }, ports, options);
  await expect(sample).rejects.toThrow('not as a sample');
});

test('a mark of a whole table is cut like the table, and many single partitions into items of bounded size', () => {
  expect(cutForComparison(4, [WHOLE_RING]).map(({ place }) => place)).toEqual(
    cutForComparison(4, undefined).map(({ place }) => place),
  );
  const places = Array.from({ length: 1000 }, (_, i) => ({ start: BigInt(i * 10), end: BigInt(i * 10 + 1) }));
  const parts = cutForComparison(3, places).map(({ place }) => place);
  expect(parts.every((place) => (place.places ?? []).length <= 64)).toBe(true);
  const item = { runId: 'r', index: 0 };
  expect(parts.flatMap((place) => rangesOfItem({ ...item, ...place }))).toEqual(places);
});

describe('where a mark stands for a write that is lost', () => {
  const lostAt = START - 1000;
  const mark = {
    ...({ version: 1, keyspace: 'shop', table: 'orders', range: null, reason: 'lost', by: 'p' } as const),
    ...{ at: new Date(lostAt).toISOString(), lacking: 'target' as const },
  };
  const heldBefore = (ports: PlanValidationPorts) =>
    new CopiedTables(ports.ledger.store, ports.clock).before('target', { keyspace: 'shop', table: 'orders' });

  it.each([{ suspects: true }, {}])(
    'failed writes that are older are compared from then on, since comparing shows no deletion (%j)',
    async (more) => {
      const slept: number[] = [];
      let now = START;
      const sleep = async (ms: number) => {
        slept.push(ms);
        now += ms;
      };
      const ports = portsOf({ sleep, clock: { nowMillis: () => now } });
      await ports.ledger.initPhase('dual-async', 'test', new Date(START));
      await ports.ledger.addSuspect('m', { ...mark, code: 'journal-full' });
      const lag = { seconds: 1, at: new Date(START).toISOString() };
      await changeReplayState(ports.ledger.store, (state) => ({ ...state, lag }));
      await planValidation('r1', { keyspace: 'shop', ...more }, ports, options);
      expect(await heldBefore(ports)).toBe(lostAt);
      // The replay that is at work may not know of it yet; what is compared comes behind that.
      expect(slept).toHaveLength(1);
      expect((await ports.ledger.readRun('r1'))?.startedAt).toBe(new Date(now).toISOString());
      await ports.ledger.endRun('r1', 'done', new Date(now));
      await planValidation('r2', { keyspace: 'shop', ...more }, ports, options);
      expect(slept).toHaveLength(1);
    },
  );

  it('nobody waits where nothing is replayed, and nothing is held for marks of another kind', async () => {
    const sleep = () => Promise.reject(new Error('it waits'));
    const ports = portsOf({ sleep });
    await ports.ledger.initPhase('dual-async', 'test', new Date(START));
    await ports.ledger.addSuspect('m', { ...mark, code: 'validation' });
    await ports.ledger.addSuspect('n', { ...mark, code: 'journal-full', lacking: 'origin' });
    await planValidation('r1', { keyspace: 'shop' }, ports, options);
    expect(await heldBefore(ports)).toBe(0);
    await ports.ledger.endRun('r1', 'done', new Date(START));
    await ports.ledger.addSuspect('o', { ...mark, code: 'vanished' });
    await planValidation('r2', { keyspace: 'shop' }, ports, options);
    expect(await heldBefore({ ...ports, clock: { nowMillis: () => START + 60_000 } })).toBe(lostAt);
  });
});
