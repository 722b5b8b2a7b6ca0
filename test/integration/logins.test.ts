import { auth, Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const PORT = 19560;
const LEFT = 'logins_left';
const RIGHT = 'logins_right';
const PASSWORD = 'a-password-of-the-tests';

let origin: Client;
let target: Client;
let proxy: ProxyProcess;
const clients: Client[] = [];

/** Roles and permissions are believed for two seconds by Cassandra itself. */
function soon<T>(assertion: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(assertion, { timeout: 30_000, interval: 200 });
}

async function connect(user: string, keyspace?: string, secret = PASSWORD): Promise<Client> {
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port: PORT },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(user, secret),
    socketOptions: { readTimeout: 30_000 },
    queryOptions: { consistency: types.consistencies.localOne },
    ...(keyspace === undefined ? {} : { keyspace }),
  });
  clients.push(client);
  await client.connect();
  return client;
}

async function rowCount(cluster: Client, table: string): Promise<number> {
  return (await cluster.execute(`SELECT id FROM ${table}`)).rowLength;
}

async function execute(statements: readonly string[], ...clusters: Client[]): Promise<void> {
  for (const cluster of clusters) for (const statement of statements) await cluster.execute(statement);
}

const role = (name: string): string[] => [
  `DROP ROLE IF EXISTS ${name}`,
  `CREATE ROLE ${name} WITH PASSWORD = '${PASSWORD}' AND LOGIN = true`,
];
const grant = (user: string, what: string, permissions: readonly string[] = ['SELECT', 'MODIFY']): string[] =>
  permissions.map((permission) => `GRANT ${permission} ON ${what} TO ${user}`);

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const cluster of [origin, target]) {
    for (const keyspace of [LEFT, RIGHT]) {
      await recreateKeyspace(cluster, keyspace);
      await cluster.execute(`CREATE TABLE ${keyspace}.t (id int PRIMARY KEY, v text)`);
      await cluster.execute(`INSERT INTO ${keyspace}.t (id, v) VALUES (0, '${keyspace}')`);
    }
  }
  await execute([...role('logins_ann'), ...grant('logins_ann', `KEYSPACE ${LEFT}`)], origin, target);
  await execute([...role('logins_bob'), ...grant('logins_bob', `KEYSPACE ${RIGHT}`)], origin, target);
  await execute([...role('logins_both')], origin, target);
  await execute(grant('logins_both', `KEYSPACE ${LEFT}`), origin, target);
  await execute(grant('logins_both', `KEYSPACE ${RIGHT}`), origin, target);
  await execute(role('logins_reader'), origin, target);
  await execute(grant('logins_reader', `KEYSPACE ${LEFT}`, ['SELECT']), origin, target);
  await execute(grant('logins_reader', `KEYSPACE ${LEFT}`, ['MODIFY']), target);
  await execute(['DROP ROLE IF EXISTS logins_new'], target);
  await execute([...role('logins_new'), ...grant('logins_new', `KEYSPACE ${LEFT}`)], origin);
  await execute(role('logins_mapped'), origin);
  await execute(grant('logins_mapped', `KEYSPACE ${LEFT}`), origin);
  await execute(['DROP ROLE IF EXISTS logins_mapped'], target);
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: PORT + 1 },
    origin: environment.origin,
    target: environment.target,
    login: { username, password },
    proxy: { logins: { mapping: { logins_mapped: { target: { username: 'logins_ann', password: PASSWORD } } } } },
  });
  await proxy.start();
}, 120_000);

afterAll(async () => {
  await Promise.all(clients.map((client) => client.shutdown()));
  await proxy?.stop();
  proxy?.cleanUp();
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

test('two users on one proxy each do what they may, and nothing of what the other one may', async () => {
  const [ann, bob] = await Promise.all([connect('logins_ann'), connect('logins_bob')]);
  await soon(() => ann.execute(`SELECT * FROM ${LEFT}.t`));
  await soon(() => bob.execute(`SELECT * FROM ${RIGHT}.t`));
  for (let round = 0; round < 10; round++) {
    const results = await Promise.allSettled([
      ann.execute(`INSERT INTO ${LEFT}.t (id, v) VALUES (1, 'ann')`),
      bob.execute(`INSERT INTO ${RIGHT}.t (id, v) VALUES (?, ?)`, [1, 'bob'], { prepare: true }),
      ann.execute(`INSERT INTO ${RIGHT}.t (id, v) VALUES (2, 'ann')`),
      bob.execute(`INSERT INTO ${LEFT}.t (id, v) VALUES (?, ?)`, [2, 'bob'], { prepare: true }),
      ann.execute(`SELECT * FROM ${RIGHT}.t WHERE id = ?`, [1], { prepare: true }),
      bob.execute(`SELECT * FROM ${LEFT}.t WHERE id = 1`),
    ]);
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
      'rejected',
    ]);
  }
  expect(await rowCount(origin, `${LEFT}.t`)).toBe(2);
  expect(await rowCount(origin, `${RIGHT}.t`)).toBe(2);
});

test('clients of one user in two keyspaces never read those of the other', async () => {
  const [left, right] = await Promise.all([connect('logins_both', LEFT), connect('logins_both', RIGHT)]);
  await soon(() => left.execute('SELECT v FROM t WHERE id = 0'));
  const read = async (client: Client, prepare: boolean): Promise<string> =>
    (await client.execute('SELECT v FROM t WHERE id = ?', [0], { prepare, hints: ['int'] })).first().get('v') as string;
  const seen = await Promise.all(
    Array.from({ length: 400 }, (_, index) => read(index % 2 === 0 ? left : right, index % 4 < 2)),
  );
  expect(seen).toEqual(Array.from({ length: 400 }, (_, index) => (index % 2 === 0 ? LEFT : RIGHT)));
});

test('a password that was changed is refused at the next login', async () => {
  await execute([...role('logins_leaver'), ...grant('logins_leaver', `KEYSPACE ${LEFT}`)], origin);
  const older = await soon(() => connect('logins_leaver'));
  await origin.execute("ALTER ROLE logins_leaver WITH PASSWORD = 'another-one'");
  await soon(() => expect(connect('logins_leaver')).rejects.toThrow());
  // As with a cluster itself: who is in stays in.
  await older.execute(`SELECT * FROM ${LEFT}.t`);
  await connect('logins_leaver', undefined, 'another-one');
});

test('a role that was dropped while its client was connected may do nothing any more', async () => {
  await execute([...role('logins_dropped'), ...grant('logins_dropped', `KEYSPACE ${LEFT}`)], origin);
  const client = await soon(() => connect('logins_dropped'));
  await soon(() => client.execute(`SELECT * FROM ${LEFT}.t`));
  await origin.execute('DROP ROLE logins_dropped');
  await soon(() => expect(client.execute(`SELECT * FROM ${LEFT}.t`)).rejects.toThrow());
});

test('a user that the target does not know is not hurt in dual-async, and its table is suspect', async () => {
  await proxy.setPhase('dual-async');
  const client = await connect('logins_new');
  await client.execute(`INSERT INTO ${LEFT}.t (id, v) VALUES (10, 'new')`);
  const ledger = createLedger(createFileLedgerStore(`${proxy.folder}/ledger`));
  await soon(async () => expect(await ledger.listSuspects()).toMatchObject([{ keyspace: LEFT, table: 't' }]));
  expect((await target.execute(`SELECT * FROM ${LEFT}.t WHERE id = 10`)).rowLength).toBe(0);
});

test('a mapped user is another one on the target', async () => {
  const client = await connect('logins_mapped');
  await client.execute(`INSERT INTO ${LEFT}.t (id, v) VALUES (11, 'mapped')`);
  await soon(async () => expect((await target.execute(`SELECT * FROM ${LEFT}.t WHERE id = 11`)).rowLength).toBe(1));
});

test('in dual-sync what the origin refuses is not on the target, though the user may write there', async () => {
  await proxy.setPhase('dual-sync');
  const client = await connect('logins_reader');
  await soon(() => client.execute(`SELECT * FROM ${LEFT}.t`));
  for (let id = 20; id < 30; id++) {
    const write = client.execute(`INSERT INTO ${LEFT}.t (id, v) VALUES (?, 'forbidden')`, [id], { prepare: true });
    await expect(write).rejects.toThrow(/MODIFY/);
  }
  const { rows } = await target.execute(`SELECT id FROM ${LEFT}.t`);
  expect(rows.map((row) => row.get('id')).filter((id) => id >= 20)).toEqual([]);
});

test('in dual-sync a user that the target does not know is told so', async () => {
  const client = await connect('logins_new');
  await expect(client.execute(`INSERT INTO ${LEFT}.t (id, v) VALUES (30, 'new')`)).rejects.toThrow(/target.*incorrect/);
});
