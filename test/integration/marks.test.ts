import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { BUCKET_BYTES, encodeBuckets } from '#core/ledger/mark-places.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { bucketOf } from '#core/token/buckets.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { begun, MigrationCommand } from './support/command.ts';
import { readTestEnvironment } from './support/test-environment.ts';

/** Marks of single partitions and of parts of the ring: only these are compared, repaired, and taken away. */
const KEYSPACE = 'marks_test';
const PARTITIONS = 2000;

let folder: string;
let command: MigrationCommand;
let origin: Client;
let target: Client;
let ledger: Ledger;
/** Ids by token. */
let tokens: Map<bigint, number>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-marks-'));
  const environment = readTestEnvironment();
  command = new MigrationCommand(folder, environment.origin, environment.target);
  ledger = createLedger(createFileLedgerStore(command.ledgerFolder));
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  const at = (Date.now() - 60_000) * 1000;
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.t (id int PRIMARY KEY, v text)`);
    for (let start = 0; start < PARTITIONS; start += 100) {
      const ids = Array.from({ length: 100 }, (_, index) => start + index);
      const insert = `INSERT INTO ${KEYSPACE}.t (id, v) VALUES (?, ?) USING TIMESTAMP ?`;
      await Promise.all(ids.map((id) => client.execute(insert, [id, `v${id}`, at], { prepare: true })));
    }
  }
  const { rows } = await origin.execute(`SELECT id, token(id) AS t FROM ${KEYSPACE}.t`, [], { fetchSize: 5000 });
  tokens = new Map(rows.map((row) => [BigInt((row['t'] as types.Long).toString()), row['id'] as number]));
});

afterAll(async () => {
  for (const client of [origin, target]) {
    await client?.execute(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
    await client?.shutdown();
  }
  rmSync(folder, { recursive: true, force: true });
});

const bucketOfToken = (token: bigint) => bucketOf(Number(BigInt.asIntN(32, token >> 32n)));

function bucketsOf(chosen: readonly bigint[]): string {
  const bits = new Uint8Array(BUCKET_BYTES);
  for (const token of chosen) bits[bucketOfToken(token) >> 3]! |= 1 << (bucketOfToken(token) & 7);
  return encodeBuckets(bits);
}

/** As a proxy does it. */
async function mark(id: string, places: Partial<SuspectRecord>): Promise<void> {
  const now = new Date();
  const common = { version: 1 as const, keyspace: KEYSPACE, table: 't', range: null, code: 'journal-full' as const };
  await ledger.addSuspect(id, { ...common, reason: 'no room', by: 'p1', at: now.toISOString(), ...places });
  await ledger.setTable(KEYSPACE, 't', 'suspect', { now, by: 'p1', reason: 'no room' });
}

const validate = (...more: string[]) => command.run('validate', 'start', '--keyspace', KEYSPACE, '--local', ...more);

async function stateOf(): Promise<{ state: string | undefined; marks: number }> {
  return { state: (await ledger.readTable(KEYSPACE, 't'))?.state, marks: (await ledger.listSuspects()).length };
}

test('only the marked places are read, differences stay marked, and other damage is not seen', async () => {
  expect((await validate()).json).toMatchObject({ status: 'done', totals: { partitions: PARTITIONS } });
  expect(await stateOf()).toMatchObject({ state: 'validated', marks: 0 });

  const all = [...tokens.keys()];
  const [inBuckets, single, elsewhere] = [all.slice(0, 40), all.slice(100, 110), all[200]!];
  for (const token of [inBuckets[0]!, single[0]!, elsewhere]) {
    await target.execute(`DELETE FROM ${KEYSPACE}.t WHERE id = ${tokens.get(token)}`);
  }
  await mark('p1-buckets', { buckets: bucketsOf(inBuckets) });
  await mark('p1-single', { tokens: single.map(String) });
  const buckets = new Set(inBuckets.map(bucketOfToken));
  const marked = all.filter((token) => buckets.has(bucketOfToken(token)) || single.includes(token));

  const found = await validate('--suspects');
  expect(found.code, found.stderr).toBe(1);
  expect(found.json).toMatchObject({
    status: 'differences',
    totals: { partitions: marked.length, originRows: marked.length, differing: 2 },
  });
  expect(await stateOf()).toMatchObject({ state: 'suspect' });
  const left = (await ledger.listSuspects()).flatMap((record) => record.tokens ?? []);
  expect([...new Set(left)].sort()).toEqual([String(inBuckets[0]), String(single[0])].sort());
});

test('they are repaired, a mark that is made meanwhile stays, and when it is looked at the table is validated again', async () => {
  const fresh = [...tokens.keys()].at(-1)!;
  const running = validate('--suspects', '--reconcile');
  await begun(async () => (await ledger.listRuns('validation')).filter(({ state }) => state === 'running'));
  await mark('p1-later', { tokens: [String(fresh)] });
  const repaired = await running;
  expect(repaired.code, repaired.stderr).toBe(0);
  expect(repaired.json).toMatchObject({ status: 'done', totals: { partitions: 2, differing: 2, repaired: 2 } });
  expect((await ledger.listSuspects()).map(({ id }) => id)).toEqual(['p1-later']);
  expect(await stateOf()).toMatchObject({ state: 'suspect', marks: 1 });

  const last = await validate('--suspects');
  expect(last.json, last.stderr).toMatchObject({ status: 'done', totals: { partitions: 1, differing: 0 } });
  expect(await stateOf()).toMatchObject({ state: 'validated', marks: 0 });
});
