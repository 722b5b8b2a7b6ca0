import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateQueueCommand, DeleteQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProxyStatus } from '../../proxy-container/src/admin/status.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { takeQueuedTimes } from './support/queued-times.ts';
import { readTestEnvironment } from './support/test-environment.ts';

/** The target and the queue are away together: what fails meanwhile is on the disk, encrypted, and in the queue afterwards. */
const KEYSPACE = 'journal_outage_test';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const PORT = 19610;
const aws = new URL(environment.awsEndpoint);
const awsPlace = { host, port: 19612 };
const targetPlace = { host, port: 19613 };
const WRITES = 3000;
const CLIENTS = 4;
const AT_ONCE = 16;
const MIB = 1024 * 1024;

const folder = mkdtempSync(join(tmpdir(), 'ringshift-outage-'));
const keyFile = join(folder, 'key');
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const sqs = new SQSClient({ region: 'us-east-1', endpoint: environment.awsEndpoint, credentials });
let queueUrl: string;
let origin: Client;
let target: Client;
let awsRelay: TcpRelay;
let targetRelay: TcpRelay;
let proxy: ProxyProcess;

beforeAll(async () => {
  writeFileSync(keyFile, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.t (round int, id int, v text, PRIMARY KEY (round, id))`);
  }
  queueUrl = (await sqs.send(new CreateQueueCommand({ QueueName: `journal-outage-${process.pid}` }))).QueueUrl!;
  awsRelay = new TcpRelay(awsPlace.host, awsPlace.port, { host: aws.hostname, port: Number(aws.port) });
  targetRelay = new TcpRelay(targetPlace.host, targetPlace.port, environment.target);
  await Promise.all([awsRelay.restore(), targetRelay.restore()]);
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: 19611 },
    origin: environment.origin,
    target: targetPlace,
    login: { username, password },
    // Only what the relay cuts fails, also on a busy machine.
    proxy: { initialPhase: 'dual-async', shadowTimeoutMs: 30_000 },
    failedWrites: { queueUrl, journalKey: `file:${keyFile}` },
    env: {
      AWS_ENDPOINT_URL: `http://${awsPlace.host}:${awsPlace.port}`,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  });
  await proxy.start();
}, 240_000);

afterAll(async () => {
  await proxy?.stop();
  await Promise.all([awsRelay?.cut(), targetRelay?.cut()]);
  proxy?.cleanUp();
  rmSync(folder, { recursive: true, force: true });
  if (queueUrl) await sqs.send(new DeleteQueueCommand({ QueueUrl: queueUrl }));
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
}, 120_000);

const status = () => proxy.get<ProxyStatus>('/status');

/** Resolves to how many copies have failed since the start, as soon as the journal has all of them, and at least so many. */
async function allKept(least: number): Promise<number> {
  let failed = 0;
  await eventually(async () => {
    const { counters, failedWrites } = await status();
    failed = counters['shadowFailed']!;
    expect(failed).toBeGreaterThanOrEqual(least);
    expect([counters['journaled'], failedWrites.journalMessages + failedWrites.queued]).toEqual([failed, failed]);
  });
  return failed;
}

async function write(round: number, count: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, connect));
  let next = 0;
  const lane = async (client: Client): Promise<void> => {
    for (let id = next++; id < count; id = next++) {
      await client.execute('INSERT INTO t (round, id, v) VALUES (?, ?, ?)', [round, id, `value ${id}`], {
        prepare: true,
      });
    }
  };
  await Promise.all(clients.flatMap((client) => Array.from({ length: AT_ONCE / CLIENTS }, () => lane(client))));
  await Promise.all(clients.map((client) => client.shutdown()));
}

const connect = (): Promise<Client> => connectToProxy({ host, port: PORT }, KEYSPACE);

/** On the origin. */
async function writeTimes(round: number): Promise<Set<string>> {
  const query = `SELECT writetime(v) AS w FROM ${KEYSPACE}.t WHERE round = ?`;
  const { rows } = await origin.execute(query, [round], { prepare: true, fetchSize: 2 * WRITES });
  return new Set(rows.map((row) => String(row['w'])));
}

function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(line) * 1024;
}

test('the application sees nothing of it, and each write is in the queue once, with its time, when that is back', async () => {
  await write(0, 200);
  await eventually(async () =>
    expect((await status()).counters).toMatchObject({ shadowSucceeded: 200, shadowFailed: 0 }),
  );
  const before = residentBytes((await status()).pid);
  await Promise.all([awsRelay.cut(), targetRelay.cut()]);
  await write(1, WRITES);
  const failed = await allKept(WRITES);
  await eventually(async () =>
    expect((await status()).failedWrites).toMatchObject({
      queued: 0,
      journalError: null,
      queueError: expect.any(String),
    }),
  );
  const during = await status();
  expect(during.counters['journalFull']).toBe(0);
  // Compressed and encrypted, a write takes a fraction of what it takes in its message.
  expect(during.failedWrites.journalBytes).toBeLessThan(failed * 300);
  expect(residentBytes(during.pid) - before).toBeLessThan(150 * MIB);
  // The queue is no reason to take clients from the proxy.
  expect((await fetch(`http://${host}:19611/health/ready`)).status).toBe(200);
  await awsRelay.restore();
  const expected = await writeTimes(1);
  const times = await takeQueuedTimes(sqs, queueUrl, expected, failed);
  expect(times).toHaveLength(failed);
  const received = new Set(times);
  expect([...expected].filter((time) => !received.has(time))).toEqual([]);
  await eventually(async () =>
    expect((await status()).failedWrites).toMatchObject({ journalMessages: 0, queued: failed, queueError: null }),
  );
}, 180_000);

test('what the journal has taken outlives kill -9', async () => {
  await awsRelay.cut();
  const earlier = (await status()).counters['journaled']!;
  await write(2, 500);
  const failed = (await allKept(earlier + 500)) - earlier;
  await proxy.kill();
  await targetRelay.restore();
  await proxy.start();
  // With places to look at that were under way, as far as the log of them knows.
  expect((await status()).failedWrites.journalMessages).toBeGreaterThanOrEqual(failed);
  await awsRelay.restore();
  const expected = await writeTimes(2);
  const times = new Set(await takeQueuedTimes(sqs, queueUrl, expected));
  expect([...expected].filter((time) => !times.has(time))).toEqual([]);
}, 180_000);
