import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, types } from 'cassandra-driver';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Phase } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { CqlProxy } from '../../proxy-container/src/proxy.ts';
import { forcePhase } from '../support/force-phase.ts';
import { FrameRelay } from '../support/frame-relay.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { startProxyHere } from './support/proxy-here.ts';
import { replayHere } from './support/replay-here.ts';
import { readTestEnvironment } from './support/test-environment.ts';

/** Writes that race, with a shadow that is late or loses them, between two real clusters (CORRECTNESS: tests 1, 6, 7, 8). */
const KEYSPACE = 'write_races_test';
const TABLES = [
  'race (id int PRIMARY KEY, v int, w text)',
  'lwt (id int, c int, s text static, v text, n int, f frozen<list<int>>, PRIMARY KEY (id, c))',
  'soft (id int PRIMARY KEY, v text, tags set<text>, l list<int>)',
  'counts (id int PRIMARY KEY, c counter)',
  'lists (id int PRIMARY KEY, v text, l list<int>)',
  'ordered (id int, c int, s list<int> static, l list<int>, PRIMARY KEY (id, c))',
];
const environment = readTestEnvironment();
const folder = mkdtempSync(join(tmpdir(), 'ringshift-races-'));
const queue = new MemoryQueue();

let origin: Client;
let target: Client;
let relay: FrameRelay;
let ledger: Ledger;
let proxy: CqlProxy;
const apps: Client[] = [];

async function connect(): Promise<Client> {
  const { address, port } = proxy.addresses!.listen;
  const client = await connectToProxy({ host: address, port }, KEYSPACE, {
    queryOptions: { consistency: types.consistencies.localOne, prepare: true },
    policies: { timestampGeneration: null as never },
  });
  apps.push(client);
  return client;
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    for (const table of TABLES) await client.execute(`CREATE TABLE ${KEYSPACE}.${table}`);
  }
  relay = new FrameRelay(environment.target);
  ledger = createLedger(createMemoryLedgerStore());
  proxy = await startProxyHere({
    instance: 'races',
    origin: environment.origin,
    target: { host: '127.0.0.1', port: await relay.listen() },
    // Also on a busy machine only what the relay loses is late.
    shadowTimeoutMs: 3000,
    journalDir: join(folder, 'journal'),
    ledger,
    queue,
  });
  await Promise.all([connect(), connect()]);
  // The proxy's own connections to the target take longer than a copy may, while everything starts at once.
  await apps[0]!.execute("INSERT INTO lists (id, v) VALUES (-1, 'first')");
  await settled();
  await apps[0]!.execute('DELETE FROM lists WHERE id = -1');
  await settled();
  queue.messages.length = 0;
});

afterEach(() => {
  relay.fateOf = () => ({});
  queue.messages.length = 0;
});

afterAll(async () => {
  for (const app of apps) await app.shutdown();
  await proxy?.stop();
  await relay?.close();
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
  rmSync(folder, { recursive: true, force: true });
});

const counter = (name: string): number => proxy.status().counters[name] ?? 0;

async function settled(): Promise<void> {
  for (let attempt = 0; attempt < 1800; attempt++) {
    const { failedWrites } = proxy.status();
    if (counter('shadowInFlight') === 0 && failedWrites.journalMessages === 0) return;
    await sleep(50);
  }
  throw new Error('shadow writes did not settle');
}

async function rowsOf(client: Client, query: string): Promise<string[]> {
  const result = await client.execute(query, [], { prepare: false, fetchSize: 5000 });
  return result.rows.map((row) => JSON.stringify(row.values().map((value: unknown) => String(value)))).sort();
}

async function expectEqual(query: string): Promise<string[]> {
  const onOrigin = await rowsOf(origin, query);
  expect(await rowsOf(target, query)).toEqual(onOrigin);
  return onOrigin;
}

const isSuspect = async (table: string): Promise<boolean> =>
  (await ledger.readTable(KEYSPACE, table))?.state === 'suspect';

/** Each with its code and reason. */
async function marksOf(table: string): Promise<string[]> {
  const marks = (await ledger.listSuspects()).filter((mark) => mark.keyspace === KEYSPACE && mark.table === table);
  return marks.map(({ code, reason }) => `${code}: ${reason}`);
}

async function eventuallySuspect(table: string): Promise<void> {
  for (let attempt = 0; attempt < 1200 && !(await isSuspect(table)); attempt++) await sleep(50);
  expect(await isSuspect(table)).toBe(true);
}

const delayed = (maxMs: number) => (): { delayMs: number } => ({ delayMs: Math.random() * maxMs });

/** Applies what waits in the queue, again and again, as a scheduled replay does; resolves to how many are dead. */
async function replayAll(): Promise<number> {
  const here = replayHere({ ledger, settleMs: 300 });
  try {
    return (await here.drain(queue.messages.splice(0).map(({ body }) => body))).dead;
  } finally {
    await here.close();
  }
}

test('1000 pairs of quick updates with a shadow that is late at random leave the same winner on both clusters', async () => {
  relay.fateOf = delayed(60);
  const update = 'UPDATE race SET v = ?, w = ? WHERE id = ?';
  for (let start = 0; start < 1000; start += 50) {
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const id = start + index;
        const pair = [1, 2].map((v) => apps[v - 1]!.execute(update, [v, `winner ${v}`, id]));
        await Promise.all(pair);
      }),
    );
  }
  await settled();
  const rows = await expectEqual(`SELECT id, v, w, writetime(v), writetime(w) FROM ${KEYSPACE}.race`);
  expect(rows).toHaveLength(1000);
  expect(counter('shadowFailed')).toBe(0);
});

test('two clients that race by conditional writes leave the same cells with the same write times on both clusters', async () => {
  relay.fateOf = delayed(40);
  await apps[0]!.execute('INSERT INTO lwt (id, c, n, v) VALUES (0, 0, 0, ?) IF NOT EXISTS', ['begun']);
  const count = async (app: Client, name: string): Promise<void> => {
    for (let wins = 0; wins < 25; ) {
      const row = (
        await app.execute('SELECT n FROM lwt WHERE id = 0 AND c = 0', [], {
          consistency: types.consistencies.localSerial,
        })
      ).first();
      const n = row['n'] as number;
      const result = await app.execute('UPDATE lwt SET n = ?, v = ?, s = ? WHERE id = 0 AND c = 0 IF n = ?', [
        n + 1,
        name,
        name,
        n,
      ]);
      if (result.wasApplied()) wins++;
    }
  };
  const make = async (app: Client, name: string): Promise<void> => {
    for (let c = 0; c < 20; c++) {
      await app.execute('INSERT INTO lwt (id, c, v, n, f) VALUES (1, ?, ?, null, ?) IF NOT EXISTS', [c, name, [c]], {
        hints: ['int', 'text', 'list<int>'],
      });
    }
  };
  const [first, second] = apps as [Client, Client];
  await Promise.all([count(first, 'first'), count(second, 'second'), make(first, 'first'), make(second, 'second')]);
  await first.execute('INSERT INTO lwt (id, c, v) VALUES (2, 0, ?) IF NOT EXISTS USING TTL 5000', ['dies']);
  await first.batch(
    [
      { query: 'UPDATE lwt SET v = ? WHERE id = 2 AND c = 0 IF v = ?', params: ['in a batch', 'dies'] },
      { query: 'INSERT INTO lwt (id, c, v) VALUES (2, 1, ?)', params: ['beside it'] },
      { query: 'DELETE FROM lwt WHERE id = 2 AND c = 2', params: [] },
    ],
    { prepare: true },
  );
  await first.execute("INSERT INTO lwt (id, c, v) VALUES (3, 0, 'text') IF NOT EXISTS", [], { prepare: false });
  await settled();
  const cells = 'v, writetime(v), n, writetime(n), f, writetime(f)';
  const rows = await expectEqual(`SELECT id, c, s, writetime(s), ${cells} FROM ${KEYSPACE}.lwt`);
  expect(rows).toHaveLength(24);
  expect(rows.find((row) => row.startsWith('["0","0"'))).toContain('"50"');
  expect(await isSuspect('lwt')).toBe(false);
  expect(queue.messages).toEqual([]);
});

test('a deleted row marker, and the remaining life of what a conditional write left, are those of the primary', async () => {
  await apps[0]!.execute('INSERT INTO lwt (id, c, v) VALUES (5, 0, ?) IF NOT EXISTS USING TTL 1000', ['x']);
  await apps[0]!.execute('INSERT INTO lwt (id, c, v) VALUES (5, 1, ?) IF NOT EXISTS', ['marked']);
  await apps[0]!.execute('UPDATE lwt SET v = ? WHERE id = 5 AND c = 2 IF v = null', ['no marker']);
  await settled();
  for (const c of [1, 2]) await apps[0]!.execute('DELETE v FROM lwt WHERE id = 5 AND c = ?', [c]);
  await settled();
  // The row with a marker stays without its cell, the one without is gone.
  expect(await expectEqual(`SELECT c, v FROM ${KEYSPACE}.lwt WHERE id = 5`)).toHaveLength(2);
  const lives = await Promise.all(
    [origin, target].map(async (client) => {
      const { rows } = await client.execute(`SELECT ttl(v) AS t FROM ${KEYSPACE}.lwt WHERE id = 5 AND c = 0`);
      return rows[0]?.['t'] as number;
    }),
  );
  expect(Math.abs(lives[0]! - lives[1]!)).toBeLessThanOrEqual(2);
});

test('collections and deletions of conditional writes are equal at once, and their table is to be validated', async () => {
  const app = apps[0]!;
  await app.execute('INSERT INTO soft (id, v, tags, l) VALUES (1, ?, ?, ?) IF NOT EXISTS', ['x', ['a', 'b'], [1, 2]]);
  await app.execute("UPDATE soft SET tags = tags + {'c'}, l = l + [3] WHERE id = 1 IF v = 'x'", [], { prepare: false });
  await app.execute("UPDATE soft SET tags = tags - {'a'} WHERE id = 1 IF v = 'x'", [], { prepare: false });
  await app.execute('INSERT INTO soft (id, v) VALUES (2, ?) IF NOT EXISTS', ['deleted']);
  await app.execute('DELETE FROM soft WHERE id = 2 IF EXISTS');
  await settled();
  expect(await expectEqual(`SELECT id, v, writetime(v), tags, l FROM ${KEYSPACE}.soft`)).toHaveLength(1);
  await eventuallySuspect('soft');
});

test('a counter whose copies are lost is behind by exactly those, and none is ever sent twice', async () => {
  const COUNTED = 1000;
  let sent = 0;
  let lost = 0;
  relay.fateOf = () => {
    if (++sent % 100 === 0) return { lose: 'reply' };
    if (sent % 100 !== 50) return {};
    lost++;
    return { lose: 'request' };
  };
  for (let start = 0; start < COUNTED; start += 100) {
    // Of one counter the servers themselves lose some under contention.
    const update = 'UPDATE counts SET c = c + 1 WHERE id = ?';
    await Promise.all(Array.from({ length: 100 }, (_, id) => apps[0]!.execute(update, [id])));
  }
  await settled();
  expect(lost).toBeGreaterThan(0);
  const [counted] = await rowsOf(origin, `SELECT sum(c) FROM ${KEYSPACE}.counts`);
  expect(counted).toBe(`["${COUNTED}"]`);
  expect(await rowsOf(target, `SELECT sum(c) FROM ${KEYSPACE}.counts`)).toEqual([`["${COUNTED - lost}"]`]);
  expect(queue.messages).toEqual([]);
  expect(counter('shadowUnqueueable')).toBeGreaterThanOrEqual(lost);
  await eventuallySuspect('counts');
});

test('appends to lists whose copies time out are copied from the origin: nothing is doubled, nothing is missing', async () => {
  let sent = 0;
  relay.fateOf = () => {
    if (++sent % 7 !== 0) return {};
    return { lose: sent % 2 === 0 ? 'request' : 'reply' };
  };
  await Promise.all(
    Array.from({ length: 8 }, async (_, id) => {
      await apps[0]!.execute('INSERT INTO lists (id, v, l) VALUES (?, ?, ?)', [id, 'made', [0]]);
      for (let element = 1; element < 15; element++) {
        await apps[id % 2]!.execute('UPDATE lists SET l = l + ? WHERE id = ?', [[element], id]);
      }
    }),
  );
  await settled();
  relay.fateOf = () => ({});
  expect(queue.writes.length).toBeGreaterThan(5);
  for (const { readBack } of queue.writes) expect(readBack).toBe(true);
  const twice = [...queue.messages];
  expect(await replayAll()).toBe(0);
  expect(await expectEqual(`SELECT id, v, writetime(v), l FROM ${KEYSPACE}.lists`)).toHaveLength(8);
  // A queue may deliver again.
  queue.messages.push(...twice.reverse());
  expect(await replayAll()).toBe(0);
  await expectEqual(`SELECT id, v, writetime(v), l FROM ${KEYSPACE}.lists`);
  expect(await marksOf('lists')).toEqual([]);
});

/** What an application does to a list: as a whole, with text and bound values, at both ends, several at once. */
async function writeList(id: number): Promise<void> {
  const [one, other] = apps as [Client, Client];
  const plain = { prepare: false };
  for (let round = 0; round < 4; round++) {
    await one.execute('INSERT INTO ordered (id, c, l, s) VALUES (?, 0, ?, ?)', [id, [round], [round]]);
    await one.execute('UPDATE ordered SET l = l + ? WHERE id = ? AND c = 0', [[100], id]);
    await one.execute(`UPDATE ordered SET l = [${round}, 200] WHERE id = ${id} AND c = 0`, [], plain);
    await one.execute(`UPDATE ordered SET l = [300] + l WHERE id = ${id} AND c = 0`, [], plain);
    await one.execute('UPDATE ordered SET l = l + ? WHERE id = ? AND c = 0', [[400], id]);
    await Promise.all(
      [1, 2, 3, 4].map((n) =>
        (n % 2 ? one : other).execute('UPDATE ordered SET l = l + ? WHERE id = ? AND c = 0', [[n], id]),
      ),
    );
    await one.execute('UPDATE ordered SET s = s + ? WHERE id = ?', [[round + 10], id]);
    await one.execute(`UPDATE ordered SET l[1] = 500 WHERE id = ${id} AND c = 0`, [], plain);
  }
}

test.each(['dual-async', 'dual-sync'] as const)(
  'in %s a list that is written as a whole and appended to ends alike on both clusters, also where appends come at once',
  async (phase) => {
    await inPhase(phase);
    relay.fateOf = delayed(60);
    const first = phase === 'dual-async' ? 0 : 100;
    await Promise.all(Array.from({ length: 6 }, (_, index) => writeList(first + index)));
    await settled();
    const rows = await expectEqual(`SELECT id, c, l, s FROM ${KEYSPACE}.ordered`);
    expect(rows.filter((row) => row.includes('500')).length).toBeGreaterThanOrEqual(6);
    expect(await marksOf('ordered')).toEqual([]);
    expect(queue.messages).toEqual([]);
    await inPhase('dual-async');
  },
);

async function inPhase(phase: Phase): Promise<void> {
  if (proxy.status().phase === phase) return;
  await forcePhase(ledger, phase);
}
