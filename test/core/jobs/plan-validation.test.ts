import { expect, test } from 'vitest';
import { encodeText } from '#core/cql/value-codec.ts';
import { ObjectStoreError } from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { type PlanValidationPorts, planValidation } from '#core/jobs/plan-validation.ts';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { CqlSession } from '#core/ports.ts';
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
