import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { testEnvironment } from '../../infra/local/environment.ts';
import { eventually } from '../support/eventually.ts';
import { LiveMigration } from './support/live-migration.ts';
import { Random } from './support/random.ts';
import { nodetool } from './support/shared-tools.ts';

/** A load while the application goes on through the proxy (CORRECTNESS: tests 4 and 12), and what a load must not undo. */
const KEYSPACE = 'load_live_test';
const TABLES = [
  'gone (id int, c int, v text, s set<int>, PRIMARY KEY (id, c)) WITH gc_grace_seconds = 864000',
  'lists (id int PRIMARY KEY, l list<text>, v int)',
  'cut (id int PRIMARY KEY, v text)',
];
const PARTITIONS = 300;

let live: LiveMigration;
let snapshot: string;

beforeAll(async () => {
  // No copy hangs, so none may be given up, however busy the machine is.
  const proxy = { shadowTimeoutMs: 60_000 };
  live = await LiveMigration.open({ keyspace: KEYSPACE, tables: TABLES, port: 19_672, proxy });
  const { origin } = live;
  await origin.execute(`ALTER TABLE ${KEYSPACE}.gone WITH gc_grace_seconds = 1`);
  // History: of before the dual writes, and on the origin only.
  const at = (Date.now() - 3_600_000) * 1000;
  const options = { prepare: true };
  await inTurns(PARTITIONS, async (id) => {
    for (const c of [1, 2, 3]) {
      const insert = `INSERT INTO ${KEYSPACE}.gone (id, c, v, s) VALUES (?, ?, ?, ?) USING TIMESTAMP ?`;
      await origin.execute(insert, [id, c, `v${id}`, [id, c], at + id], options);
    }
    const list = `INSERT INTO ${KEYSPACE}.lists (id, l, v) VALUES (?, ?, ?) USING TIMESTAMP ?`;
    await origin.execute(list, [id, ['old', String(id)], id, at + id], options);
    await origin.execute(`INSERT INTO ${KEYSPACE}.cut (id, v) VALUES (?, ?) USING TIMESTAMP ?`, [id, 'x', at], options);
  });
});

afterAll(() => live?.close());

async function inTurns(count: number, work: (index: number) => Promise<void>): Promise<void> {
  for (let start = 0; start < count; start += 50) {
    const indexes = Array.from({ length: Math.min(50, count - start) }, (_, index) => start + index);
    await Promise.all(indexes.map(work));
  }
}

async function rowsOf(client: Client, text: string): Promise<string[]> {
  const { rows } = await client.execute(text, [], { fetchSize: 5000 });
  return rows.map((row) => JSON.stringify(row.values().map((value: unknown) => String(value)))).sort();
}

async function expectEqual(text: string): Promise<string[]> {
  const expected = await rowsOf(live.origin, text);
  expect(await rowsOf(live.target, text)).toEqual(expected);
  return expected;
}

async function compactOrigin(): Promise<void> {
  for (const verb of ['flush', 'compact']) await nodetool(testEnvironment.origin, verb, KEYSPACE);
}

const GONE = `SELECT id, c, v, s, writetime(v) FROM ${KEYSPACE}.gone`;
const LISTS = `SELECT id, l, v, writetime(v) FROM ${KEYSPACE}.lists`;

test('a snapshot of after the dual writes into a target that has its lists by shadow: none is doubled', async () => {
  await inTurns(100, async (id) => {
    await live.app.execute('INSERT INTO lists (id, l, v) VALUES (?, ?, ?)', [id * 3, ['new', String(id)], -id]);
    await live.app.execute('UPDATE lists SET l = l + ? WHERE id = ?', [['appended'], 1000 + id]);
    await live.app.execute('UPDATE lists SET l = ? + l WHERE id = ?', [['first'], 1000 + id]);
  });
  await live.settled();
  snapshot = await live.snapshot('live-1', 'lists');
  const loaded = await live.load(snapshot);
  expect(loaded.json['status'], loaded.stderr).toBe('done');
  const lists = await expectEqual(LISTS);
  expect(lists).toHaveLength(PARTITIONS + 100);
  expect(lists.filter((line) => line.includes('first,appended'))).toHaveLength(100);
  const again = await live.load(snapshot);
  expect(again.json['status'], again.stderr).toBe('done');
  expect(await expectEqual(LISTS)).toEqual(lists);
});

test('what is deleted while it is loaded stays deleted, though the origin has forgotten its tombstones', async () => {
  const random = new Random(20_261_121);
  live.relay.fateOf = () => ({ delayMs: random.below(40) });
  for (const client of [live.target]) await client.execute(`TRUNCATE ${KEYSPACE}.gone`);
  const removed = new Set<string>();
  const remove = async (id: number): Promise<void> => {
    if (id % 3 === 0) await live.app.execute('DELETE FROM gone WHERE id = ?', [id]);
    else if (id % 3 === 1) await live.app.execute('DELETE FROM gone WHERE id = ? AND c >= 1 AND c < 3', [id]);
    else await live.app.execute('DELETE FROM gone WHERE id = ? AND c = 1', [id]);
    for (const c of id % 3 === 0 ? [1, 2, 3] : id % 3 === 1 ? [1, 2] : [1]) removed.add(`${id}/${c}`);
  };
  // Before the load, ...
  for (let id = 0; id < 60; id++) await remove(id);
  const before = live.load(snapshot, '--table', 'gone');
  // ... during it, ...
  let isLoading = true;
  void before.finally(() => {
    isLoading = false;
  });
  for (let id = 60; id < 180 && isLoading; id++) {
    await remove(id);
    await delay(random.below(30));
  }
  expect((await before).json['status'], (await before).stderr).toBe('done');
  for (let id = 180; id < 220; id++) await remove(id);
  await live.settled();
  live.relay.fateOf = () => ({});
  // ... and of all that the origin keeps nothing.
  await delay(2500);
  await compactOrigin();
  const rows = await expectEqual(GONE);
  expect(rows).toHaveLength(PARTITIONS * 3 - removed.size);
  expect(rows.filter((line) => removed.has(placeOf(line)))).toEqual([]);
  // The snapshot still has the rows that were deleted since; a younger one has neither rows nor tombstones.
  for (const place of [snapshot, await live.snapshot('live-2', 'gone')]) {
    const again = await live.load(place, '--table', 'gone');
    expect(again.json['status'], again.stderr).toBe('done');
    expect(await expectEqual(GONE)).toEqual(rows);
  }
  const validated = await live.run('validate', 'start', '--keyspace', KEYSPACE, '--local');
  expect(validated.json, validated.stderr).toMatchObject({ status: 'done', totals: { differing: 0 } });
});

function placeOf(line: string): string {
  const [id, c] = JSON.parse(line) as string[];
  return `${id}/${c}`;
}

test('a table that was truncated or redefined since the snapshot is not loaded from it, and says why', async () => {
  await live.app.execute('TRUNCATE cut');
  await live.app.execute('ALTER TABLE gone ADD w text');
  await eventually(async () => {
    expect((await live.ledger.readTable(KEYSPACE, 'cut'))?.truncatedAt).toBeDefined();
    expect((await live.ledger.readTable(KEYSPACE, 'gone'))?.definedAt).toBeDefined();
  });
  const refused = await live.load(snapshot);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(new RegExp(`${KEYSPACE}\\.cut: truncated at .*${KEYSPACE}\\.gone: its definition`));
  expect(await rowsOf(live.target, `SELECT * FROM ${KEYSPACE}.cut`)).toEqual([]);
  const others = await live.load(snapshot, '--skip-stale');
  expect(others.json['status'], others.stderr).toBe('done');
  expect((others.json['tables'] as { table: string }[]).map(({ table }) => table)).toEqual(['lists']);
  const young = await live.snapshot('live-3', 'lists');
  const all = await live.load(young);
  expect(all.json['status'], all.stderr).toBe('done');
  expect(await expectEqual(`SELECT * FROM ${KEYSPACE}.cut`)).toEqual([]);
});
