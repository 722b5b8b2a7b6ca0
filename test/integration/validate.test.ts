import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { readSchema } from '#adapters/cassandra/read-schema.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import type { DifferenceLine } from '#core/checksum/difference-line.ts';
import { migrationConfigSchema, type ResolvedCluster } from '#core/config/schema.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { planValidation } from '#core/jobs/plan-validation.ts';
import { readRangeDifferences, reconcileRange } from '#core/jobs/reconcile-range.ts';
import { type RunSummary, summarizeRun } from '#core/jobs/summarize-run.ts';
import { validateRange } from '#core/jobs/validate-range.ts';
import type { ValidationItem } from '#core/jobs/validation-plan.ts';
import type { ValidationPorts } from '#core/jobs/validation-ports.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { CqlSession } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../support/memory-object-store.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'validate_test';
const SETTLE_MS = 300;
const TABLES = [
  'CREATE TYPE addr (street text, "No" int)',
  `CREATE TABLE wide (k text, b int, c timeuuid, d text, s text static, v text, n int, l list<text>, m map<text, int>,
    st set<int>, u addr, fu frozen<addr>, PRIMARY KEY ((k, b), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)`,
  'CREATE TABLE plain (id uuid PRIMARY KEY, "Weird Name" text, n bigint, f frozen<list<int>>)',
  'CREATE TABLE marks (k int, c int, PRIMARY KEY (k, c))',
];
const PARTITIONS = 400;

let drivers: { origin: Client; target: Client };
let sessions: { origin: CqlSession; target: CqlSession };
let ports: ValidationPorts;
let runs = 0;

function clusterOf(side: 'origin' | 'target'): ResolvedCluster {
  const { username, password, ...environment } = readTestEnvironment();
  const { host, port } = environment[side];
  const config = migrationConfigSchema.parse({
    origin: { contactPoints: [host], port },
    target: { contactPoints: [host], port },
  });
  const { auth: _, ...rest } = config[side];
  return { ...rest, name: side, credentials: { username, password } };
}

beforeAll(async () => {
  drivers = { origin: await connectToTestCluster('origin'), target: await connectToTestCluster('target') };
  for (const driver of [drivers.origin, drivers.target]) {
    await recreateKeyspace(driver, KEYSPACE);
    await driver.execute(`USE ${KEYSPACE}`);
    for (const text of TABLES) await driver.execute(text);
  }
  sessions = {
    origin: await createCqlSession(clusterOf('origin')),
    target: await createCqlSession(clusterOf('target')),
  };
  ports = {
    ...sessions,
    objects: createMemoryObjectStore(),
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: Date.now },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async (ms) => delay(ms),
  };
  await seed();
});

afterAll(async () => {
  await Promise.all(Object.values(sessions ?? {}).map((session) => session.close()));
  await Promise.all(Object.values(drivers ?? {}).map((driver) => driver.shutdown()));
});

/** The same statement with the same timestamp on both clusters. */
async function both(text: string): Promise<void> {
  await Promise.all([drivers.origin.execute(text), drivers.target.execute(text)]);
}

async function seed(): Promise<void> {
  const at = (Date.now() - 60_000) * 1000;
  const work = Array.from({ length: PARTITIONS }, (_, i) => async () => {
    const ttl = i % 5 === 0 ? ` AND TTL ${5000 + i}` : '';
    await both(
      `INSERT INTO wide (k, b, c, d, v, n, l, m, st, u, fu) VALUES ('k${i}', ${i % 3}, ${timeuuid(i)}, 'd', 'v${i}', ${i},
        ['a', 'b', 'a'], {'x': ${i}}, {3, 1, 2}, {street: 'high', "No": ${i}}, {street: 'low'}) USING TIMESTAMP ${at + i}${ttl}`,
    );
    await both(
      `INSERT INTO wide (k, b, c, d, v) VALUES ('k${i}', ${i % 3}, ${timeuuid(i + 1000)}, 'e', '') USING TIMESTAMP ${at}`,
    );
    await both(`UPDATE wide USING TIMESTAMP ${at} SET s = 'static ${i}' WHERE k = 'k${i}' AND b = ${i % 3}`);
    await both(
      `INSERT INTO plain (id, "Weird Name", n, f) VALUES (${uuid(i)}, 'w${i}', ${i}, [1, 2]) USING TIMESTAMP ${at + i}`,
    );
    await both(`INSERT INTO marks (k, c) VALUES (${i}, 1) USING TIMESTAMP ${at}`);
  });
  const workers = Array.from({ length: 16 }, async () => {
    for (let next = work.shift(); next; next = work.shift()) await next();
  });
  await Promise.all(workers);
  await both(`UPDATE wide USING TIMESTAMP ${at} SET s = 'alone' WHERE k = 'static only' AND b = 0`);
}

async function validate(): Promise<{ summary: RunSummary; items: ValidationItem[]; differences: DifferenceLine[] }> {
  const runId = `validation-test-${++runs}`;
  const filter = createFilter(NO_FILTER_RULES);
  const plan = await planValidation(
    runId,
    { keyspace: KEYSPACE },
    {
      ...ports,
      readSchema: async (side, keyspace, tables) => {
        const client = await connectDriver(clusterOf(side));
        try {
          return await readSchema(client, keyspace, tables);
        } finally {
          await client.shutdown();
        }
      },
    },
    { samplePercent: 100, compareWriteTime: true, rangesPerTable: 8, maxConcurrency: 4, filter },
  );
  const items = JSON.parse(new TextDecoder().decode(await ports.objects.get(plan.planKey))) as ValidationItem[];
  const differences: DifferenceLine[] = [];
  for (const item of items) {
    const { counts } = await validateRange(item, null, ports, rangeOptions());
    differences.push(...(await readRangeDifferences(ports.objects, runId, item.index, counts.parts)));
  }
  return { summary: await summarizeRun(runId, ports), items, differences };
}

const rangeOptions = () => ({
  originConsistency: Consistency.LOCAL_QUORUM,
  targetConsistency: Consistency.LOCAL_QUORUM,
  filter: createFilter(NO_FILTER_RULES),
  settleMs: SETTLE_MS,
  pageSize: 50,
});

test('two equal clusters of different releases have no differences', async () => {
  const { summary, differences } = await validate();
  expect(differences).toEqual([]);
  expect(summary).toMatchObject({
    status: 'done',
    totals: { partitions: 3 * PARTITIONS + 1, differing: 0, inFlight: 0 },
  });
  expect(await ports.ledger.readTable(KEYSPACE, 'wide')).toMatchObject({ state: 'validated' });
});

test('damage of every kind is named exactly, repaired, and gone', async () => {
  const { origin, target } = drivers;
  const at = (Date.now() - 30_000) * 1000;
  const where = (i: number) => `WHERE k = 'k${i}' AND b = ${i % 3}`;
  const row = (i: number) => `${where(i)} AND c = ${timeuuid(i)} AND d = 'd'`;
  // Changed later than the original, without a timestamp of its own, as a stray client would.
  await target.execute(`UPDATE wide SET v = 'changed' ${row(1)}`);
  await target.execute(`DELETE FROM wide ${row(2)}`);
  await target.execute(`INSERT INTO wide (k, b, c, d, v, l) VALUES ('k3', 0, ${timeuuid(9999)}, 'd', 'extra', ['z'])`);
  await target.execute(`DELETE n FROM wide ${row(4)}`);
  await target.execute(`UPDATE wide USING TIMESTAMP ${at} SET v = 'v6' ${row(6)}`);
  await target.execute(`UPDATE wide SET l = ['a', 'a', 'b'] ${row(7)}`);
  await target.execute(`UPDATE wide SET m['y'] = 1 ${row(8)}`);
  await target.execute(`UPDATE wide SET s = 'other' ${where(9)}`);
  await target.execute(`UPDATE wide SET u.street = 'side' ${row(11)}`);
  await target.execute(`UPDATE wide USING TTL 9999 SET fu = {street: 'low'} ${row(12)}`);
  await target.execute(`INSERT INTO plain (id, n) VALUES (${uuid(100_000)}, 1)`);
  await target.execute(`DELETE FROM plain WHERE id = ${uuid(13)}`);
  await target.execute('DELETE FROM marks WHERE k = 14 AND c = 1');
  await target.execute('INSERT INTO marks (k, c) VALUES (15, 2)');
  await origin.execute(
    `INSERT INTO plain (id, "Weird Name") VALUES (${uuid(100_001)}, 'never copied') USING TIMESTAMP ${at}`,
  );
  await origin.execute('INSERT INTO marks (k, c) VALUES (100000, 1)');
  await delay(SETTLE_MS * 2);

  const found = await validate();
  const named = found.differences.map(
    (line) => `${line.table} ${Object.values(line.key).join('/')} ${line.kind} ${whats(line)}`,
  );
  expect(named.sort()).toEqual(
    [
      "wide 'k1'/1 differs v:value",
      "wide 'k2'/2 differs row:onlyInOrigin",
      "wide 'k3'/0 differs row:onlyInTarget",
      "wide 'k4'/1 differs n:onlyInOrigin",
      "wide 'k6'/0 differs v:writeTime",
      "wide 'k7'/1 differs l:value",
      "wide 'k8'/2 differs m:value",
      "wide 'k9'/0 differs s:value",
      "wide 'k11'/2 differs u:value",
      "wide 'k12'/0 differs fu:writeTime",
      `plain ${uuid(100_000)} onlyInTarget row:onlyInTarget`,
      `plain ${uuid(13)} onlyInOrigin row:onlyInOrigin`,
      'marks 14 onlyInOrigin row:onlyInOrigin',
      'marks 15 differs row:onlyInTarget',
      `plain ${uuid(100_001)} onlyInOrigin row:onlyInOrigin`,
      'marks 100000 onlyInOrigin row:onlyInOrigin',
    ].sort(),
  );
  expect(found.summary).toMatchObject({ status: 'differences', totals: { differing: 16 } });
  expect(await ports.ledger.readTable(KEYSPACE, 'plain')).toMatchObject({ state: 'suspect' });

  for (const item of found.items) {
    const { counts } = await reconcileRange(item, null, ports, {
      ...rangeOptions(),
      originWriteConsistency: Consistency.LOCAL_QUORUM,
      targetWriteConsistency: Consistency.LOCAL_QUORUM,
      authority: 'origin',
    });
    expect(counts.unrepaired).toBe(0);
  }
  expect(await summarizeRun(found.summary.runId, ports)).toMatchObject({ status: 'done', totals: { repaired: 16 } });
  const after = await validate();
  expect(after.differences).toEqual([]);
  expect(after.summary).toMatchObject({ status: 'done' });
  const { rows } = await target.execute(`SELECT v, l FROM wide ${row(7)}`);
  expect(rows[0]).toMatchObject({ v: 'v7', l: ['a', 'b', 'a'] });
});

function whats(line: DifferenceLine): string {
  return line.rows
    .flatMap((row) =>
      row.kind === 'differs' ? row.columns.map(({ column, what }) => `${column}:${what}`) : [`row:${row.kind}`],
    )
    .join(',');
}

function uuid(i: number): string {
  return `00000000-0000-4000-8000-${i.toString(16).padStart(12, '0')}`;
}

function timeuuid(i: number): string {
  return `${i.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`;
}
