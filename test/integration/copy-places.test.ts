import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeInt } from '#core/cql/value-codec.ts';
import { type CopyMessage, encodeMessage } from '#core/model/message.ts';
import { tokenOf } from '#core/token/token.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { type ReplayHere, replayHere } from './support/replay-here.ts';
import { contentsOf } from './support/same-on-both.ts';

/** Places of which nothing is known but their tokens are made the same, while the application writes (CORRECTNESS 26 to 28). */
const KEYSPACE = 'copy_places_test';
const TABLE = `${KEYSPACE}.items`;
const SETTLE_MS = 500;
/** More than a page. */
const WIDE_ROWS = 1500;

let origin: Client;
let target: Client;
let here: ReplayHere;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(
      `CREATE TABLE ${TABLE} (id int, c int, s text static, v text, l list<int>, tags set<int>, PRIMARY KEY (id, c))`,
    );
    await client.execute(`CREATE TABLE ${KEYSPACE}.counts (id int PRIMARY KEY, n counter)`);
  }
  here = replayHere({ settleMs: SETTLE_MS });
  await here.ledger.initPhase('dual-async', 'test', new Date());
});

afterAll(async () => {
  await here?.close();
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

const tokenOfId = (id: number): bigint => tokenOf(encodeInt(id));
/** A while ago, so that nothing of it is on its way. Microseconds. */
const longAgo = (Date.now() - 3_600_000) * 1000;

function placesOf(ids: readonly number[], change: Partial<CopyMessage> = {}): string {
  return encodeMessage({
    kind: 'copy',
    id: `copy-${ids[0]}`,
    keyspace: KEYSPACE,
    table: 'items',
    tokens: ids.map(tokenOfId),
    lacking: 'target',
    code: 'unknown-outcome',
    attempts: 1,
    enqueuedAt: new Date().toISOString(),
    instance: 'p1',
    ...change,
  });
}

async function run(clients: readonly Client[], text: string, values: readonly unknown[] = []): Promise<void> {
  await Promise.all(clients.map((client) => client.execute(text, [...values], { prepare: true })));
}

const insert = `INSERT INTO ${TABLE} (id, c, v) VALUES (?, ?, ?) USING TIMESTAMP ?`;

async function itemsOf(client: Client): Promise<string[]> {
  return (await contentsOf(client, KEYSPACE))['items']!.sort();
}

test('what is missing, deleted, covered by a range, static or wide becomes the same, and what is no place stays as it is', async () => {
  const both = [origin, target];
  // 1: the target missed all of it. 2: the origin has deleted it. 3: a range of it.
  for (const c of [0, 1]) await run([origin], insert, [1, c, `v${c}`, longAgo]);
  for (const id of [2, 3]) for (const c of [0, 1, 2, 3]) await run(both, insert, [id, c, `v${c}`, longAgo]);
  await run([origin], `DELETE FROM ${TABLE} USING TIMESTAMP ? WHERE id = 2`, [longAgo + 5]);
  await run([origin], `DELETE FROM ${TABLE} USING TIMESTAMP ? WHERE id = 3 AND c > 0 AND c < 3`, [longAgo + 5]);
  // 4: static values alone. 5: a row marker alone. 6: a cell that the origin has deleted, and one that it has not.
  await run([origin], `UPDATE ${TABLE} USING TIMESTAMP ? SET s = 'alone' WHERE id = 4`, [longAgo]);
  await run([origin], `INSERT INTO ${TABLE} (id, c) VALUES (5, 0) USING TIMESTAMP ?`, [longAgo]);
  await run(both, `INSERT INTO ${TABLE} (id, c, v, s, l, tags) VALUES (6, 0, 'v', 's', [1], {1}) USING TIMESTAMP ?`, [
    longAgo,
  ]);
  await run([origin], `DELETE v FROM ${TABLE} USING TIMESTAMP ? WHERE id = 6 AND c = 0`, [longAgo + 5]);
  await run(
    [origin],
    `UPDATE ${TABLE} USING TIMESTAMP ? SET l = l + [2], tags = tags + {2}, s = 't' WHERE id = 6 AND c = 0`,
    [longAgo + 5],
  );
  // 7: wide, of which the target has nothing.
  for (let from = 0; from < WIDE_ROWS; from += 100) {
    const queries = Array.from({ length: 100 }, (_, at) => ({
      query: insert,
      params: [7, from + at, 'wide', longAgo],
    }));
    await origin.batch(queries, { prepare: true, logged: false });
  }
  // 8: deleted on both. 9: the target has what the origin never had. 10: no place.
  await run(both, `DELETE FROM ${TABLE} USING TIMESTAMP ? WHERE id = 8`, [longAgo]);
  await run([target], insert, [9, 0, 'stray', longAgo]);
  await run([origin], insert, [10, 0, 'not a place', longAgo]);

  const [outcome] = await here.replay([placesOf([1, 2, 3, 4, 5, 6, 7, 8, 9])]);
  expect(outcome).toMatchObject({ remove: true, resend: [], bury: [], targetAnswered: true });
  expect(outcome!.counts).toEqual({ applied: 0, away: 0, refused: 0, dead: 0, copied: 9 });
  const isPlace = (row: string) => !row.includes('not a place');
  expect(await itemsOf(target)).toEqual((await itemsOf(origin)).filter(isPlace));
  expect((await target.execute(`SELECT id FROM ${TABLE} WHERE id = 7`, [], { fetchSize: 5000 })).rowLength).toBe(
    WIDE_ROWS,
  );
  // Once more, and nothing changes.
  expect((await here.replay([placesOf([1, 2, 3, 4, 5, 6, 7, 8, 9])]))[0]!.counts.copied).toBe(9);
  expect(await itemsOf(target)).toEqual((await itemsOf(origin)).filter(isPlace));
  expect(await here.ledger.listSuspects()).toEqual([]);
});

test('no write of the application is reverted, doubled or lost by a copy that meets it', async () => {
  const ids = Array.from({ length: 6 }, (_, index) => 100 + index);
  // The target has missed what there was before.
  for (const id of ids) {
    await run([origin], insert, [id, 0, 'before', longAgo]);
    await run(
      [origin],
      `UPDATE ${TABLE} USING TIMESTAMP ? SET l = [-1], tags = {-1}, s = 'before' WHERE id = ? AND c = 0`,
      [longAgo, id],
    );
  }
  let isOver = false;
  let micros = Date.now() * 1000;
  const now = () => {
    micros = Math.max(micros + 1, Date.now() * 1000);
    return types.Long.fromNumber(micros);
  };
  /** As the proxy writes: the primary first, its copy a little later with the same time. */
  const write = async (text: string, values: readonly unknown[]) => {
    const at = now();
    await run([origin], text, [at, ...values]);
    await sleep(Math.random() * 100);
    await run([target], text, [at, ...values]);
  };
  const writer = async (id: number) => {
    for (let step = 0; !isOver; step++) {
      await write(`UPDATE ${TABLE} USING TIMESTAMP ? SET v = ?, s = ? WHERE id = ? AND c = ?`, [
        `w${step}`,
        `s${step}`,
        id,
        step % 3,
      ]);
      if (step % 4 === 1)
        await write(`DELETE FROM ${TABLE} USING TIMESTAMP ? WHERE id = ? AND c = ?`, [id, (step + 1) % 3]);
      if (step % 7 === 2)
        await write(`UPDATE ${TABLE} USING TIMESTAMP ? SET l = l + ?, tags = tags + ? WHERE id = ? AND c = 0`, [
          [step],
          [step],
          id,
        ]);
      await sleep(Math.random() * 60);
    }
  };
  const writers = ids.map(writer);
  let copies = 0;
  const waiting = [placesOf(ids)];
  for (const until = Date.now() + 6_000; Date.now() < until; copies++) {
    const [outcome] = await here.replay([waiting.pop() ?? placesOf(ids)], { maxAttempts: 1000 });
    waiting.push(...outcome!.resend.map(({ body }) => body));
  }
  isOver = true;
  await Promise.all(writers);
  expect(copies).toBeGreaterThan(1);
  // Nothing was lost on the primary either, which a reverted write would show there.
  const { rows } = await origin.execute(`SELECT id, l, tags FROM ${TABLE} WHERE c = 0 ALLOW FILTERING`);
  for (const row of rows.filter((one) => ids.includes(Number(one['id'])))) {
    const list: number[] = row['l'] ?? [];
    expect(new Set(list).size).toBe(list.length);
  }
  await sleep(SETTLE_MS);
  expect(await here.drain([placesOf(ids)])).toEqual({ applied: 1, dead: 0 });
  const ofIds = (all: string[]) => all.filter((row) => ids.some((id) => row.includes(`"id": ${id},`)));
  const mine = ofIds(await itemsOf(origin));
  expect(ofIds(await itemsOf(target))).toEqual(mine);
  expect(mine.length).toBeGreaterThan(ids.length);
});

test('the primary of the phase in force decides, and a place that the new primary may lack is left to people', async () => {
  await run([origin], insert, [200, 0, 'of the origin', longAgo]);
  await run([target], insert, [200, 0, 'of the target', longAgo + 5]);
  await here.ledger.changePhase((record) => ({ ...record, active: { ...record.active, phase: 'target-primary' } }));
  try {
    const [left] = await here.replay([placesOf([200])]);
    expect(left).toMatchObject({ remove: true, resend: [], bury: [], counts: { dead: 1 } });
    const [mark] = await here.ledger.listSuspects();
    expect(mark).toMatchObject({ table: 'items', lacking: 'target', tokens: [String(tokenOfId(200))] });
    expect((await origin.execute(`SELECT v FROM ${TABLE} WHERE id = 200`)).first()['v']).toBe('of the origin');

    expect(await here.drain([placesOf([200], { lacking: 'origin' })])).toEqual({ applied: 1, dead: 0 });
    expect((await origin.execute(`SELECT v FROM ${TABLE} WHERE id = 200`)).first()['v']).toBe('of the target');
    // A copy takes no mark away: only a comparison that began after it does.
    expect(await here.ledger.listSuspects()).toEqual([mark]);
  } finally {
    await here.ledger.changePhase((record) => ({ ...record, active: { ...record.active, phase: 'dual-async' } }));
  }
});

test('counters, and tables that are not there, are not copied: they are marked', async () => {
  const [counters] = await here.replay([placesOf([1], { table: 'counts', id: 'counters' })]);
  expect(counters).toMatchObject({ remove: true, resend: [], bury: [], counts: { dead: 1 } });
  const [missing] = await here.replay([placesOf([1], { table: 'nowhere', id: 'missing' })]);
  expect(missing).toMatchObject({ remove: true, counts: { refused: 1 } });
  expect(missing!.resend).toHaveLength(1);
  await here.replay([placesOf([1], { table: 'nowhere', id: 'missing', attempts: 3 })]);
  const marks = (await here.ledger.listSuspects()).map(({ table, code }) => `${table} ${code}`);
  expect(marks).toEqual(expect.arrayContaining(['counts counter', 'nowhere unknown-outcome']));
});
