/** Functions that yield something else each time: what a client sees of such statements does not show where they run. */
import type { Client } from 'cassandra-driver';
import { check, rowsOf, same } from './checks.ts';

const PREPARE = { prepare: true } as const;

const IN_EACH_PLACE: readonly (readonly [string, unknown[] | object])[] = [
  ['INSERT INTO moments (id, ts) VALUES (?, now())', [1]],
  ['INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)', [2, 'middle']],
  ['INSERT INTO moments (ts, id, v) VALUES (now(), ?, ?)', [3, 'first']],
  ['INSERT INTO moments (id, ts, v) VALUES (:id, now(), :name)', { id: 4, name: 'named' }],
  ['INSERT INTO moments (id, ts, v) VALUES (:zid, now(), :zz)', { zid: 5, zz: 'named late' }],
  ["INSERT INTO moments (id, ts, v) VALUES (?, system.now(), 'literal')", [6]],
  ['UPDATE moments USING TTL ? SET v = ? WHERE id = ? AND ts = now()', [1000, 'where', 7]],
  ["INSERT INTO moments (id, ts, v) VALUES (8, now(), 'no marker')", []],
  ['INSERT INTO pairs (b, a, v) VALUES (now(), ?, ?)', [1, 'composite']],
  ['INSERT INTO pairs (a, b, v) VALUES (?, uuid(), ?)', [2, 'composite']],
];

const NESTED: readonly (readonly [string, unknown[] | object])[] = [
  ['INSERT INTO stamps (id, t, u, v) VALUES (?, toTimestamp(now()), uuid(), ?)', [1, 'a']],
  ['INSERT INTO stamps (id, d, ti, tu) VALUES (?, currentDate(), currentTime(), currentTimeUUID())', [2]],
  ['INSERT INTO stamps (t, id, b) VALUES (currentTimestamp(), :id, toUnixTimestamp(now()))', { id: 3 }],
  ['UPDATE stamps SET u = uuid(), v = ?, d = toDate(now()) WHERE id = ?', ['set', 4]],
  ['UPDATE stamps SET tup = (?, now()) WHERE id = ?', [1, 5]],
  ['UPDATE stamps SET m[?] = now() WHERE id = ?', ['key', 6]],
  [
    'BEGIN BATCH INSERT INTO stamps (id, u) VALUES (?, uuid()); INSERT INTO stamps (id, tu, v) VALUES (?, now(), ?); APPLY BATCH',
    [7, 8, 'batch'],
  ],
];

export async function functionChecks(client: Client): Promise<void> {
  await client.execute('CREATE TABLE moments (id int, ts timeuuid, v text, PRIMARY KEY (id, ts))');
  await client.execute('CREATE TABLE pairs (a int, b uuid, v text, PRIMARY KEY ((a, b)))');
  await client.execute(
    `CREATE TABLE stamps (id int PRIMARY KEY, t timestamp, d date, ti time, u uuid, tu timeuuid, b bigint, v text,
     l list<timeuuid>, m map<text, timeuuid>, tup tuple<int, timeuuid>)`,
  );

  await check('prepares now() in each place', async () => {
    for (const [query, params] of IN_EACH_PLACE) await client.execute(query, params as never, PREPARE);
    return [await rowsOf(client, 'SELECT id, v FROM moments'), await rowsOf(client, 'SELECT v FROM pairs')];
  });

  await check('prepares nested and other functions', async () => {
    for (const [query, params] of NESTED) await client.execute(query, params as never, PREPARE);
    return [
      await rowsOf(client, 'SELECT id, v FROM stamps'),
      await rowsOf(client, 'SELECT count(t), count(u), count(tu) FROM stamps'),
    ];
  });

  await check('prepares functions inside of collections', async () => {
    const query = "UPDATE recorded_stamps SET l = [now(), now()], m = {'k': now()}, v = ? WHERE id = ?";
    await client.execute(
      'CREATE TABLE recorded_stamps (id int PRIMARY KEY, l list<timeuuid>, m map<text, timeuuid>, v text)',
    );
    await client.execute(query, ['a', 5], PREPARE);
    await client.execute(query, ['b', 5], PREPARE);
    return rowsOf(client, 'SELECT id, v FROM recorded_stamps');
  });

  await check('evaluates functions in texts and batches', async () => {
    await client.execute("INSERT INTO moments (id, ts, v) VALUES (20, now(), 'now() in a text')");
    await client.execute('INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)', [21, 'values'], {
      hints: ['int', 'text'],
    });
    await client.execute('INSERT INTO stamps (id, t, u) VALUES (20, toTimestamp(now()), uuid())');
    const insert = 'INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)';
    const texts = ["INSERT INTO moments (id, ts, v) VALUES (23, now(), 'text')"];
    await client.batch(texts, { prepare: false });
    const twice = [
      { query: insert, params: [24, 'prepared'] },
      { query: insert, params: [24, 'again'] },
    ];
    await client.batch(twice, PREPARE);
    return [
      await rowsOf(client, 'SELECT id, v FROM moments WHERE id IN (20, 21, 23)'),
      (await rowsOf(client, 'SELECT * FROM moments WHERE id = 24')).length,
    ];
  });

  await check('reads with functions', async () => {
    const recent = 'SELECT v FROM moments WHERE id = ? AND ts < now() AND ts > minTimeuuid(?)';
    const { rows } = await client.execute('SELECT now() AS n, uuid() AS u FROM system.local');
    same([Object.keys(rows[0]!)], [['n', 'u']]);
    return rowsOf(client, recent, [2, new Date(0)]);
  });
}
