/** Errors come as the driver's own, with the server's code and words. */
import { auth, type Client, errors, policies, types } from 'cassandra-driver';
import {
  ask,
  causeOf,
  check,
  checkProxy,
  eventually,
  failureOf,
  keyspace,
  rowsOf,
  same,
  withClient,
} from './checks.ts';

const PREPARE = { prepare: true } as const;
const { readTimeout, writeTimeout } = types.responseErrorCodes;

const FAULTY = [
  'SELEC',
  'SELECT nothing FROM items',
  'SELECT * FROM no_such_table',
  "SELECT * FROM items WHERE v = 'x'",
  "INSERT INTO items (id, v) VALUES ('text', 'x')",
  'INSERT INTO no_such_table (id) VALUES (1)',
  'UPDATE counts SET c = 1 WHERE id = 1',
  'CREATE TABLE items (id int PRIMARY KEY)',
  "CREATE KEYSPACE bad_one WITH replication = {'class': 'NoSuchStrategy'}",
  'CREATE TABLE bad_one (id int)',
  'DROP TABLE no_such_table',
  'INSERT INTO items (id, v) VALUES (1, no_such_function())',
];

export async function errorChecks(client: Client): Promise<void> {
  await check("gets the server's errors as its own", async () => {
    const seen: string[] = [];
    for (const query of FAULTY) seen.push(`${query} -> ${await failureOf(() => client.execute(query))}`);
    for (const query of ['SELEC', 'SELECT nothing FROM items', 'INSERT INTO no_such_table (id) VALUES (?)']) {
      seen.push(`prepare ${query} -> ${await failureOf(() => client.execute(query, [1], PREPARE))}`);
    }
    const large = [{ query: 'INSERT INTO items (id, v) VALUES (?, ?)', params: [1, 'x'.repeat(100_000)] }];
    seen.push(`large batch -> ${await failureOf(() => client.batch(large, PREPARE))}`);
    seen.push(`USE -> ${await failureOf(() => client.execute('USE no_such_keyspace'))}`);
    await client.execute('CREATE TABLE items (id int PRIMARY KEY)').catch((error: errors.ResponseError) => {
      const details = error as errors.ResponseError & { keyspace?: string; table?: string };
      seen.push(`${error instanceof errors.ResponseError} ${details.keyspace} ${details.table}`);
    });
    return seen;
  });

  await check('is refused a function whose type does not fit', async () => {
    const query = 'INSERT INTO items (id, v) VALUES (1, now())';
    const outcomes = [failureOf(() => client.execute(query)), failureOf(() => client.execute(query, [], PREPARE))];
    // The words may differ, since the server sees a value.
    return (await Promise.all(outcomes)).map((one) => one.split(':')[0]);
  });

  await check('is told when too few replicas are alive', async () => {
    const seen: unknown[] = [];
    for (const query of ['SELECT * FROM items WHERE id = 1', "INSERT INTO items (id, v) VALUES (1, 'x')"]) {
      await client.execute(query, [], { consistency: types.consistencies.three }).catch((error) => {
        // The driver tries each node in turn.
        const { code, consistencies, required, alive } = causeOf(error) as unknown as Record<string, number>;
        seen.push([code, consistencies, required, alive]);
      });
    }
    return seen;
  });

  await check('is refused what its role may not do', async () => {
    const seen: string[] = [];
    const authProvider = new auth.PlainTextAuthProvider('driver_reader', 'reader');
    await withClient({ authProvider }, async (reader) => {
      for (const query of [
        'SELECT * FROM items WHERE id = 1',
        "INSERT INTO items (id, v) VALUES (1000, 'forbidden')",
        'TRUNCATE items',
        'CREATE TABLE forbidden (id int PRIMARY KEY)',
        'SELECT * FROM system_auth.roles',
        'CREATE ROLE intruder',
      ]) {
        seen.push(`${query} -> ${await failureOf(() => reader.execute(query))}`);
      }
      const insert = 'INSERT INTO items (id, v) VALUES (?, ?)';
      seen.push(`prepared -> ${await failureOf(() => reader.execute(insert, [1000, 'forbidden'], PREPARE))}`);
      const batch = [{ query: insert, params: [1000, 'forbidden'] }];
      seen.push(`batch -> ${await failureOf(() => reader.batch(batch, PREPARE))}`);
    });
    return [...seen, await rowsOf(client, 'SELECT * FROM items WHERE id = 1000')];
  });

  await check('is refused with a wrong password', async () => {
    const authProvider = new auth.PlainTextAuthProvider('cassandra', 'wrong');
    const failure = await withClient({ authProvider }, async () => undefined).catch((error: unknown) => error);
    const cause = causeOf(failure);
    return [cause.name, cause.message.includes('incorrect')];
  });

  await checkProxy('gets time-outs as its own errors when a cluster falls silent', async () => {
    const retry = new policies.retry.FallthroughRetryPolicy();
    const select = 'SELECT * FROM items WHERE id = ?';
    const insert = 'INSERT INTO items (id, v) VALUES (?, ?)';
    await client.execute(select, [1], PREPARE);
    await client.execute(insert, [1999, 'x'], PREPARE);
    await ask('mute origin');
    const outcomes = await Promise.allSettled([
      client.execute(select, [1], { ...PREPARE, retry }),
      client.execute('SELECT * FROM items WHERE id = 1', [], { retry }),
      client.execute(insert, [2000, 'x'], { ...PREPARE, retry }),
      client.batch([{ query: insert, params: [2001, 'x'] }], { ...PREPARE, retry }),
    ]);
    await ask('unmute origin');
    const codes = outcomes.map((one) => (one.status === 'rejected' ? (one.reason.code ?? String(one.reason)) : 'done'));
    same(codes, [readTimeout, readTimeout, writeTimeout, writeTimeout]);
    const works = () => client.execute(select, [1], PREPARE).then(Boolean, () => false);
    await eventually('reads work again', works);
    return keyspace.length > 0;
  });
}
