/** Values, markers, batches, pages, conditions, times, traces. */
import { type Client, types } from 'cassandra-driver';
import { check, columnsOf, failureOf, keyspace, rowsOf, same, textsOf, withClient } from './checks.ts';

const PREPARE = { prepare: true } as const;
const INSERT_ROW = 'INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?)';
const INSERT_ITEM = 'INSERT INTO items (id, v, w) VALUES (?, ?, ?)';

const TABLES = [
  'CREATE TYPE address (street text, zip int, tags frozen<set<text>>)',
  `CREATE TABLE kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, da date, de decimal, d double,
   du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid, ty tinyint,
   u uuid, vc varchar, vi varint, l list<text>, se set<int>, m map<text, bigint>,
   fl frozen<list<frozen<map<int, text>>>>, tup tuple<int, text, double>, ad frozen<address>, op address)`,
  'CREATE TABLE items (id int PRIMARY KEY, v text, w text, n int)',
  'CREATE TABLE rows_of (p int, c int, v text, PRIMARY KEY (p, c))',
  'CREATE TABLE counts (id int PRIMARY KEY, c counter, d counter)',
  'CREATE TABLE lwt_items (id int, c int, v text, s text static, PRIMARY KEY (id, c))',
];

export async function statementChecks(client: Client): Promise<void> {
  for (const table of TABLES) await client.execute(table);
  await valueChecks(client);
  await batchChecks(client);
  await readChecks(client);
  await timeChecks(client);
  await extraChecks(client);
}

async function valueChecks(client: Client): Promise<void> {
  await check('stores every type with a prepared statement', async () => {
    const names = 'id a b bl bo da de d du f i n s t ti ts tu ty u vc vi l se m fl tup ad op'.split(' ');
    const insert = `INSERT INTO kinds (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
    const home = { street: 'Main Street', zip: 4711, tags: ['x'] };
    const values = [
      ...[1, 'ascii', types.Long.MIN_VALUE, Buffer.from([0, 1, 255]), true, types.LocalDate.fromString('1900-03-15')],
      ...[
        types.BigDecimal.fromString('-123456789.000000000000000001'),
        5e-324,
        new types.Duration(1, 2, types.Long.fromNumber(3e9)),
      ],
      ...[1.5, types.InetAddress.fromString('2001:db8::1'), -(2 ** 31), 2 ** 15 - 1, 'text \u00e4\u20ac\u{1f600}'],
      ...[types.LocalTime.fromString('23:59:59.999999999'), new Date(-1)],
      ...[types.TimeUuid.fromString('50554d6e-29bb-11e5-b345-feff819cdc9f'), -128],
      ...[types.Uuid.fromString('f81d4fae-7dec-41d0-a765-00a0c91e6bf6'), 'varchar'],
      ...[types.Integer.fromString('-170141183460469231731687303715884105729'), ['b', 'a', 'b'], [3, 1, 2], { k: 1 }],
      ...[[{ 1: 'one' }], new types.Tuple(1, 'two', 3.5), home, home],
    ];
    await client.execute(insert, values, PREPARE);
    return [await rowsOf(client, 'SELECT * FROM kinds'), await rowsOf(client, 'SELECT * FROM kinds WHERE id = ?', [1])];
  });

  await check('tells null, unset and empty values apart', async () => {
    const insert = 'INSERT INTO items (id, v, w, n) VALUES (?, ?, ?, ?)';
    for (const values of [
      ...[
        [1, 'v', 'w', 1],
        [1, 'v2', types.unset, undefined],
      ],
      ...[
        [2, 'v', 'w', 1],
        [2, null, 'w2', 2],
      ],
      [3, '', 'w', null],
    ]) {
      await client.execute(insert, values, PREPARE);
    }
    return rowsOf(client, 'SELECT * FROM items WHERE id IN (1, 2, 3)');
  });

  await check('binds values by position and by name', async () => {
    await client.execute('INSERT INTO items (v, n, id) VALUES (:v, :n, :id)', { id: 11, v: 'name', n: 2 }, PREPARE);
    await client.execute('UPDATE items SET v = :x, w = :x WHERE id = :id', { id: 12, x: 'twice' }, PREPARE);
    await client.execute('UPDATE items SET v = ?, w = ? WHERE id = ?', ['position', 'w', 13], PREPARE);
    const hints = { hints: ['int', 'text'] };
    await client.execute('INSERT INTO items (id, v) VALUES (?, ?)', [14, 'not prepared'], hints);
    await client.execute(
      'INSERT INTO items (id, v) VALUES (:id, :v)',
      { id: 15, v: 'named' },
      { hints: { id: 'int' } as never },
    );
    await client.execute("INSERT INTO items (id, v) VALUES (16, 'it''s; -- no comment') /* ? */ -- ?\n");
    await client.execute("INSERT INTO items (id, v) VALUES (17, $$it's$$)");
    const ids = [11, 12, 13, 14, 15, 16, 17];
    return [
      await rowsOf(client, 'SELECT * FROM items WHERE id IN ?', [ids]),
      await rowsOf(client, 'SELECT v FROM items WHERE id = :id LIMIT :most', { id: 11, most: 1 }),
    ];
  });
}

async function batchChecks(client: Client): Promise<void> {
  await check('runs batches of all kinds', async () => {
    const prepared = [
      { query: INSERT_ROW, params: [1, 1, 'prepared'] },
      { query: 'UPDATE rows_of SET v = ? WHERE p = ? AND c = ?', params: ['other', 1, 2] },
      { query: INSERT_ROW, params: [1, 3, types.unset] },
    ];
    await client.batch(prepared, PREPARE);
    await client.batch(["INSERT INTO rows_of (p, c, v) VALUES (2, 1, 'text')"], { prepare: false });
    const texts = [{ query: INSERT_ROW, params: [2, 2, 'values'] }];
    await client.batch(texts, { prepare: false, hints: [['int', 'int', 'text']] });
    await client.batch([{ query: INSERT_ROW, params: [2, 3, null] }], { ...PREPARE, logged: false });
    await client.batch([{ query: INSERT_ROW, params: [3, 1, 'dated'] }], { ...PREPARE, timestamp: 1_000_000 });
    await client.execute(
      "BEGIN BATCH INSERT INTO rows_of (p, c, v) VALUES (4, 1, 'text'); DELETE FROM rows_of WHERE p = 2 AND c = 3 APPLY BATCH",
    );
    const whole = `BEGIN UNLOGGED BATCH USING TIMESTAMP ? ${INSERT_ROW}; UPDATE rows_of SET v = ? WHERE p = ? AND c = ?; APPLY BATCH`;
    await client.execute(whole, [2_000_000, 5, 1, 'a', 'b', 5, 2], PREPARE);
    return [
      await rowsOf(client, 'SELECT p, c, v FROM rows_of'),
      await rowsOf(client, 'SELECT writetime(v) FROM rows_of WHERE p IN (3, 5)'),
    ];
  });

  await check('counts with counters', async () => {
    const add = 'UPDATE counts SET c = c + ? WHERE id = ?';
    for (let round = 0; round < 10; round++) await client.execute(add, [2, 1], PREPARE);
    await client.execute('UPDATE counts SET c = c - 5, d = d + 1 WHERE id = 1');
    const batch = [
      { query: add, params: [7, 2] },
      { query: 'UPDATE counts SET d = d + ? WHERE id = ?', params: [3, 2] },
    ];
    await client.batch(batch, { ...PREPARE, counter: true });
    return rowsOf(client, 'SELECT * FROM counts');
  });

  await check('runs conditional writes', async () => {
    const insert = 'INSERT INTO lwt_items (id, c, v) VALUES (?, ?, ?) IF NOT EXISTS';
    const batch = [
      { query: insert, params: [2, 1, 'batch'] },
      { query: 'INSERT INTO lwt_items (id, c, v) VALUES (?, ?, ?)', params: [2, 2, 'same partition'] },
    ];
    const seen: unknown[] = [];
    for (const run of [
      () => client.execute(insert, [1, 1, 'first'], PREPARE),
      () => client.execute(insert, [1, 1, 'second'], PREPARE),
      () => client.execute("UPDATE lwt_items SET v = 'third' WHERE id = 1 AND c = 1 IF v = 'first'"),
      () => client.execute("UPDATE lwt_items SET v = 'fourth' WHERE id = 1 AND c = 1 IF v = 'nothing'"),
      () => client.execute("UPDATE lwt_items SET s = 'static' WHERE id = 1 IF s = null"),
      () => client.execute("DELETE FROM lwt_items WHERE id = 1 AND c = 1 IF v IN ('third')"),
      () => client.batch(batch, PREPARE),
      () => client.batch(batch, PREPARE),
    ]) {
      const result = await run();
      seen.push([result.wasApplied(), columnsOf(result), textsOf(result)]);
    }
    const serial = { consistency: types.consistencies.localSerial };
    seen.push(textsOf(await client.execute('SELECT * FROM lwt_items WHERE id = 2', [], serial)));
    return seen;
  });
}

async function readChecks(client: Client): Promise<void> {
  await check('reads page by page and resumes from a saved state', async () => {
    for (let c = 0; c < 100; c++) await client.execute(INSERT_ROW, [100, c, `row ${c}`], PREPARE);
    const query = 'SELECT c FROM rows_of WHERE p = ?';
    const options = { ...PREPARE, fetchSize: 7 };
    const all: number[] = [];
    for await (const row of await client.execute(query, [100], options)) all.push(row['c']);
    same(
      all,
      Array.from({ length: 100 }, (_, index) => index),
    );
    const first = await client.execute(query, [100], options);
    const next = await client.execute(query, [100], { ...options, pageState: first.pageState });
    const elsewhere = await withClient({}, (other) =>
      other.execute(query, [100], { ...options, pageState: next.pageState }),
    );
    const streamed = await new Promise<number>((resolve, reject) => {
      const handlers = { ...options, autoPage: true };
      client.eachRow(
        query,
        [100],
        handlers,
        () => undefined,
        (error, result) => (error ? reject(error) : resolve(result!.rowLength)),
      );
    });
    return [textsOf(first), textsOf(next), textsOf(elsewhere), streamed];
  });

  await check('writes and reads JSON', async () => {
    await client.execute('INSERT INTO items JSON \'{"id": 30, "v": "json"}\'');
    await client.execute('INSERT INTO items JSON ? DEFAULT UNSET', ['{"id": 31, "w": "prepared"}'], PREPARE);
    return rowsOf(client, 'SELECT JSON * FROM items WHERE id IN (30, 31)');
  });

  await check('uses each consistency level', async () => {
    const seen: string[] = [];
    for (const [name, consistency] of Object.entries(types.consistencies) as [string, types.consistencies][]) {
      for (const query of ["INSERT INTO items (id, v) VALUES (110, 'level')", 'SELECT v FROM items WHERE id = 110']) {
        const outcome = await failureOf(() => client.execute(query, [], { consistency }));
        seen.push(`${name} ${query.slice(0, 6)} ${outcome}`);
      }
    }
    return seen;
  });
}

async function timeChecks(client: Client): Promise<void> {
  await check('keeps the timestamps of the application', async () => {
    await client.execute("INSERT INTO items (id, v) VALUES (40, 'text') USING TIMESTAMP 4000");
    await client.execute('INSERT INTO items (id, v) VALUES (?, ?) USING TIMESTAMP ?', [42, 'marker', 6000], PREPARE);
    await client.execute('INSERT INTO items (id, v) VALUES (?, ?)', [43, 'field'], { ...PREPARE, timestamp: 7000 });
    const before = Date.now() * 1000;
    await client.execute("INSERT INTO items (id, v) VALUES (44, 'generator')");
    const written = (await client.execute('SELECT writetime(v) AS w FROM items WHERE id = 44')).first()['w'];
    same(Number(written) >= before && Number(written) <= Date.now() * 1000 + 1000, true);
    return rowsOf(client, 'SELECT id, v, writetime(v) FROM items WHERE id IN (40, 42, 43)');
  });

  await check('writes without timestamps of its own', () => {
    return withClient({ policies: { timestampGeneration: null as never } }, async (other) => {
      const batch: { query: string; params: unknown[] }[] = [];
      for (let id = 50; id < 60; id++) {
        await other.execute(INSERT_ITEM, [id, 'prepared', 'w'], PREPARE);
        await other.execute(`UPDATE items SET w = 'text' WHERE id = ${id}`);
        batch.push({ query: INSERT_ITEM, params: [id + 10, 'batch', 'w'] });
      }
      await other.batch(batch, PREPARE);
      await other.execute('DELETE v FROM items WHERE id = 50');
      await other.execute('DELETE FROM items WHERE id = 51');
      return rowsOf(other, 'SELECT id, v, w FROM items WHERE id IN (50, 51, 52, 59, 60, 69)');
    });
  });

  await check('has time to live', async () => {
    await client.execute('INSERT INTO items (id, v) VALUES (?, ?) USING TTL ?', [120, 'lives', 1000], PREPARE);
    const left = (await client.execute('SELECT ttl(v) AS t FROM items WHERE id = 120')).first()['t'];
    same(left > 900 && left <= 1000, true);
    return true;
  });
}

async function extraChecks(client: Client): Promise<void> {
  await check('reads the trace of a query', async () => {
    const seen: unknown[] = [];
    for (const result of [
      await client.execute('SELECT * FROM items WHERE id = 1', [], { traceQuery: true }),
      await client.execute(INSERT_ITEM, [70, 'traced', 'w'], { ...PREPARE, traceQuery: true }),
      await client.batch([{ query: INSERT_ITEM, params: [71, 'traced', 'w'] }], { ...PREPARE, traceQuery: true }),
    ]) {
      const trace = await client.metadata.getTrace(result.info.traceId);
      same(trace.events.length > 0, true);
      seen.push([trace.requestType, trace.parameters['query'] ?? null]);
    }
    return seen;
  });

  await check('gets the warnings of the server', async () => {
    const wide = Array.from({ length: 15 }, (_, index) => ({ query: INSERT_ITEM, params: [80 + index, 'wide', 'w'] }));
    const results = [
      await client.execute('SELECT count(*) FROM items'),
      await client.execute('SELECT max(n) FROM items', [], PREPARE),
      await client.batch(wide, { ...PREPARE, logged: false }),
    ];
    return results.map((result) => (result.info.warnings ?? []).map((one) => one.slice(0, 40)));
  });

  await check('sends a custom payload', async () => {
    const customPayload = { tag: Buffer.from('value') };
    await client.execute(INSERT_ITEM, [100, 'prepared', 'w'], { ...PREPARE, customPayload });
    await client.execute("INSERT INTO items (id, v) VALUES (101, 'text')", [], { customPayload });
    await client.batch([{ query: INSERT_ITEM, params: [102, 'batch', 'w'] }], { ...PREPARE, customPayload });
    const result = await client.execute('SELECT id, v FROM items WHERE id IN (100, 101, 102)', [], { customPayload });
    return [textsOf(result), result.info.customPayload ?? null];
  });
}

/** Cassandra 5.0 alone knows vectors. */
export async function vectorChecks(client: Client): Promise<void> {
  await check('stores vectors', async () => {
    await client.execute(`CREATE TABLE ${keyspace}.vectors (id int PRIMARY KEY, v vector<float, 3>)`);
    const vector = new types.Vector([1.5, -2, 0], 'float');
    await client.execute('INSERT INTO vectors (id, v) VALUES (?, ?)', [1, vector], PREPARE);
    await client.execute('INSERT INTO vectors (id, v) VALUES (2, [1, 2, 3])');
    const { rows } = await client.execute('SELECT id, v FROM vectors');
    return rows.map((row) => [row['id'], [...row['v']]]);
  });
}
