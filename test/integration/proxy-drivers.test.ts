import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { CreateQueueCommand, DeleteQueueCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeFailedWrite, type FailedWrite } from '#core/model/failed-write.ts';
import { venvFolder, venvPython } from '../../infra/local/paths.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const run = promisify(execFile);
const KEYSPACE = 'proxy_drivers_test';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const PORT = 19142;
const relayPlace = { host, port: 19143 };

const sqs = new SQSClient({
  region: 'us-east-1',
  endpoint: environment.awsEndpoint,
  credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
});
let queueUrl: string;
let origin: Client;
let target: Client;
let relay: TcpRelay;
let proxy: ProxyProcess;

async function cqlsh(statements: string): Promise<string> {
  const args = [host, String(PORT), '-u', username, '-p', password, '--request-timeout', '30', '-e', statements];
  const { stdout } = await run(join(venvFolder, 'bin', 'cqlsh'), args);
  return stdout;
}

/** A program for the Python driver, with a connected `session` on the keyspace. */
async function python(protocolVersion: number, program: string): Promise<string> {
  const head = [
    'from cassandra.cluster import Cluster',
    'from cassandra.auth import PlainTextAuthProvider',
    'from cassandra.query import BatchStatement, SimpleStatement',
    'import uuid',
    `cluster = Cluster(['${host}'], port=${PORT}, protocol_version=${protocolVersion},`,
    `  auth_provider=PlainTextAuthProvider('${username}', '${password}'))`,
    'session = cluster.connect()',
    `session.set_keyspace('${KEYSPACE}')`,
  ];
  const { stdout } = await run(venvPython, ['-c', [...head, program, 'cluster.shutdown()'].join('\n')]);
  return stdout;
}

async function shadowsSettled(): Promise<void> {
  while ((await proxy.counters())['shadowInFlight'] !== 0) await sleep(50);
}

async function rowsOf(client: Client, query: string): Promise<string[]> {
  const result = await client.execute(query);
  return result.rows.map((row) => JSON.stringify(row.values().map(String))).sort();
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(
      `CREATE TABLE ${KEYSPACE}.files (system_domain_id uuid, id uuid, name text, size int, status text, PRIMARY KEY (system_domain_id, id))`,
    );
  }
  const created = await sqs.send(new CreateQueueCommand({ QueueName: `proxy-test-${process.pid}` }));
  queueUrl = created.QueueUrl!;
  relay = new TcpRelay(relayPlace.host, relayPlace.port, environment.target);
  await relay.restore();
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: 18180 },
    origin: environment.origin,
    target: relayPlace,
    login: { username, password },
    proxy: { initialPhase: 'dual-async' },
    failedWrites: { queueUrl },
    env: {
      AWS_ENDPOINT_URL: environment.awsEndpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    },
  });
  await proxy.start();
});

afterAll(async () => {
  await proxy?.stop();
  await relay?.cut();
  proxy?.cleanUp();
  if (queueUrl) await sqs.send(new DeleteQueueCommand({ QueueUrl: queueUrl }));
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

test('cqlsh connects, describes, writes, reads and pages', async () => {
  const table = `${KEYSPACE}.by_cqlsh`;
  const inserts = Array.from(
    { length: 120 },
    (_, index) => `INSERT INTO ${table} (id, v) VALUES (${index}, 'v${index}');`,
  );
  await cqlsh(`CREATE TABLE ${table} (id int PRIMARY KEY, v text);`);
  await cqlsh(inserts.join(' '));
  expect(await cqlsh(`DESCRIBE TABLE ${table};`)).toContain('PRIMARY KEY');
  expect(await cqlsh(`PAGING 50; SELECT * FROM ${table};`)).toContain('(120 rows)');
  await shadowsSettled();
  const query = `SELECT id, v, writetime(v) FROM ${table}`;
  expect(await rowsOf(target, query)).toEqual(await rowsOf(origin, query));
});

test.each([3, 4, 5])('the Python driver inserts, selects, updates and batches over protocol v%i', async (version) => {
  const output = await python(
    version,
    `
tenant, file = uuid.uuid4(), uuid.uuid4()
insert = session.prepare('INSERT INTO files (system_domain_id, id, name, size, status) VALUES (?, ?, ?, ?, ?)')
session.execute(insert, (tenant, file, 'clip.mov', 42, 'NEW'))
update = session.prepare('UPDATE files SET status = ? WHERE system_domain_id = ? AND id = ?')
session.execute(update, ('READY', tenant, file))
batch = BatchStatement()
for size in range(20):
    batch.add(insert, (tenant, uuid.uuid4(), 'batch', size, 'NEW'))
session.execute(batch)
select = session.prepare('SELECT name, size, status FROM files WHERE system_domain_id = ? AND id = ?')
row = session.execute(select, (tenant, file)).one()
print(row.name, row.size, row.status)
futures = [session.execute_async(select, (tenant, file)) for _ in range(500)]
print(sum(1 for future in futures if future.result().one().size == 42))
paged = session.prepare('SELECT size FROM files WHERE system_domain_id = ?')
paged.fetch_size = 5
print(len(list(session.execute(paged, (tenant,)))))
print(session.execute(SimpleStatement('SELECT name FROM files WHERE system_domain_id = %s AND id = %s'), (tenant, file), trace=True).get_query_trace() is not None)
print(len(cluster.metadata.all_hosts()), '${KEYSPACE}' in cluster.metadata.keyspaces)
`,
  );
  expect(output.trim().split('\n')).toEqual(['clip.mov 42 READY', '500', '21', 'True', '1 True']);
  await shadowsSettled();
  const query = `SELECT id, name, size, status, writetime(name), writetime(status) FROM ${KEYSPACE}.files`;
  expect(await rowsOf(target, query)).toEqual(await rowsOf(origin, query));
});

test('a wrong password is refused by the cluster itself', async () => {
  const args = [host, String(PORT), '-u', username, '-p', 'wrong', '-e', 'SELECT key FROM system.local'];
  await expect(run(join(venvFolder, 'bin', 'cqlsh'), args)).rejects.toThrow(/incorrect|AuthenticationFailed/);
});

test('a role without the right to write changes neither cluster', async () => {
  for (const client of [origin, target]) {
    await client.execute("CREATE ROLE IF NOT EXISTS proxy_reader WITH password = 'reader' AND login = true");
    await client.execute(`GRANT SELECT ON KEYSPACE ${KEYSPACE} TO proxy_reader`);
  }
  const statement = `INSERT INTO ${KEYSPACE}.files (system_domain_id, id) VALUES (uuid(), uuid())`;
  const before = [
    await rowsOf(origin, `SELECT id FROM ${KEYSPACE}.files`),
    await rowsOf(target, `SELECT id FROM ${KEYSPACE}.files`),
  ];
  const args = [host, String(PORT), '-u', 'proxy_reader', '-p', 'reader', '-e', statement];
  await expect(run(join(venvFolder, 'bin', 'cqlsh'), args)).rejects.toThrow(/Unauthorized|permission/);
  await shadowsSettled();
  const after = [
    await rowsOf(origin, `SELECT id FROM ${KEYSPACE}.files`),
    await rowsOf(target, `SELECT id FROM ${KEYSPACE}.files`),
  ];
  expect(after).toEqual(before);
});

test('what the target misses while it is away is in the queue, each write once, with its timestamp', async () => {
  await relay.cut();
  await python(
    4,
    `
insert = session.prepare('INSERT INTO files (system_domain_id, id, name) VALUES (?, ?, ?)')
tenant = uuid.uuid4()
for index in range(40):
    session.execute(insert, (tenant, uuid.uuid4(), 'missed'))
`,
  );
  const writes: FailedWrite[] = [];
  for (let attempt = 0; attempt < 60 && writes.length < 40; attempt++) {
    const received = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: 1,
        VisibilityTimeout: 300,
      }),
    );
    for (const message of received.Messages ?? []) writes.push(decodeFailedWrite(message.Body!));
  }
  expect(writes).toHaveLength(40);
  const times = await origin.execute(
    `SELECT writetime(name) AS w FROM ${KEYSPACE}.files WHERE name = 'missed' ALLOW FILTERING`,
  );
  expect(new Set(writes.map((write) => String(write.timestampMicros)))).toEqual(
    new Set(times.rows.map((row) => String(row['w']))),
  );
  expect((await proxy.get<{ failedWrites: { journalMessages: number } }>('/status')).failedWrites.journalMessages).toBe(
    0,
  );
  await relay.restore();
});
