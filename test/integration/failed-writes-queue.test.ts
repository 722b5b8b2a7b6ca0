import { CreateQueueCommand, DeleteQueueCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { auth, Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { eventually } from '../support/eventually.ts';
import { writesOf } from '../support/messages.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'proxy_queue_test';
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

test('what the target misses while it is away is in the queue, each write once, with its timestamp', async () => {
  await relay.cut();
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port: PORT },
    localDataCenter: 'dc1',
    socketOptions: { readTimeout: 60_000 },
    authProvider: new auth.PlainTextAuthProvider(username, password),
    keyspace: KEYSPACE,
  });
  const insert = 'INSERT INTO files (system_domain_id, id, name) VALUES (?, ?, ?)';
  const tenant = types.Uuid.random();
  for (let index = 0; index < 40; index++) {
    await client.execute(insert, [tenant, types.Uuid.random(), 'missed'], { prepare: true });
  }
  await client.shutdown();
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
    for (const message of received.Messages ?? []) writes.push(...writesOf(message.Body!));
  }
  expect(writes).toHaveLength(40);
  const times = await origin.execute(
    `SELECT writetime(name) AS w FROM ${KEYSPACE}.files WHERE name = 'missed' ALLOW FILTERING`,
  );
  expect(new Set(writes.map((write) => String(write.timestampMicros)))).toEqual(
    new Set(times.rows.map((row) => String(row['w']))),
  );
  // The queue has a message before the proxy hears so.
  await eventually(async () => {
    const { failedWrites } = await proxy.get<{ failedWrites: { journalMessages: number } }>('/status');
    expect(failedWrites.journalMessages).toBe(0);
  });
  await relay.restore();
});
