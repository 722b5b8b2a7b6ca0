import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateQueueCommand, DeleteQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProxyStatus } from '../../proxy-container/src/admin/status.ts';
import { eventually } from '../support/eventually.ts';
import { SmallDisk } from '../support/faults/small-disk.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { takeQueuedTimes } from './support/queued-times.ts';
import { readTestEnvironment } from './support/test-environment.ts';

/** A disk that fills up while the target and the queue are away, and is still full when the queue is back. */
const KEYSPACE = 'disk_full_test';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const PORT = 19615;
const aws = new URL(environment.awsEndpoint);
const WRITES = 200;

const folder = mkdtempSync(join(tmpdir(), 'ringshift-disk-'));
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const sqs = new SQSClient({ region: 'us-east-1', endpoint: environment.awsEndpoint, credentials });
const disk = await SmallDisk.open(join(folder, 'disk'), 40);
const awsRelay = new TcpRelay(host, 19617, { host: aws.hostname, port: Number(aws.port) });
const targetRelay = new TcpRelay(host, 19618, environment.target);
let queueUrl: string;
let origin: Client;
let client: Client;
let proxy: ProxyProcess;

beforeAll(async () => {
  if (disk === undefined) return;
  origin = await connectToTestCluster('origin');
  const target = await connectToTestCluster('target');
  for (const one of [origin, target]) {
    await recreateKeyspace(one, KEYSPACE);
    await one.execute(`CREATE TABLE ${KEYSPACE}.t (round int, id int, v text, PRIMARY KEY (round, id))`);
  }
  await target.shutdown();
  queueUrl = (await sqs.send(new CreateQueueCommand({ QueueName: `disk-full-${process.pid}` }))).QueueUrl!;
  await Promise.all([awsRelay.restore(), targetRelay.restore()]);
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: 19616 },
    origin: environment.origin,
    target: { host, port: 19618 },
    login: { username, password },
    launcher: disk.launcher,
    // Only what the relay cuts fails, also on a busy machine.
    proxy: { initialPhase: 'dual-async', shadowTimeoutMs: 30_000 },
    failedWrites: { queueUrl, journalDir: join(folder, 'disk', 'journal') },
    env: {
      AWS_ENDPOINT_URL: `http://${host}:19617`,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  });
  await proxy.start();
  client = await connectToProxy({ host, port: PORT }, KEYSPACE, {
    queryOptions: { consistency: types.consistencies.localOne, prepare: true },
  });
}, 240_000);

afterAll(async () => {
  await client?.shutdown();
  disk?.empty();
  await proxy?.stop();
  await Promise.all([awsRelay.cut(), targetRelay.cut()]);
  proxy?.cleanUp();
  if (queueUrl) await sqs.send(new DeleteQueueCommand({ QueueUrl: queueUrl }));
  await origin?.shutdown();
  disk?.close();
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

const status = () => proxy.get<ProxyStatus>('/status');

async function write(round: number): Promise<void> {
  for (let id = 0; id < WRITES; id++) {
    const insert = () => client.execute('INSERT INTO t (round, id, v) VALUES (?, ?, ?)', [round, id, `value ${id}`]);
    // The cluster itself may be late on a busy machine.
    await eventually(insert);
  }
}

test.skipIf(disk === undefined)(
  'a full disk: what fails is in memory or in the room kept for it, nothing is lost, and the journal drains',
  async () => {
    await write(0);
    await Promise.all([awsRelay.cut(), targetRelay.cut()]);
    await write(1);
    await eventually(async () => expect((await status()).counters['journaled']).toBeGreaterThanOrEqual(WRITES));
    disk!.fill();
    // The journal uses the room that it has kept for that, and then somebody takes what is left of it.
    await write(2);
    await eventually(async () => expect((await status()).counters['journaled']).toBeGreaterThanOrEqual(2 * WRITES));
    expect((await status()).failedWrites.journalError).toBe(null);
    disk!.fill();
    let error: string | null = null;
    // The journal's thread may come to it late on a busy machine, and what it holds in memory is bounded.
    for (let round = 3; error === null && round < 200; round++) {
      await write(round);
      error = (await status()).failedWrites.journalError;
    }
    expect(error).toMatch(/full/);
    await awsRelay.restore();
    const expected = await writeTimes();
    const received = new Set(await takeQueuedTimes(sqs, queueUrl, expected));
    expect([...expected].filter((time) => !received.has(time))).toEqual([]);
    disk!.empty();
    await eventually(async () =>
      expect((await status()).failedWrites).toMatchObject({ journalMessages: 0, journalError: null }),
    );
    const { counters } = await status();
    expect([counters['journalFull'], counters['journaled']]).toEqual([0, counters['shadowFailed']]);
  },
  240_000,
);

/** Of everything that the target was not there for. */
async function writeTimes(): Promise<Set<string>> {
  const query = `SELECT round, writetime(v) AS w FROM ${KEYSPACE}.t`;
  const { rows } = await origin.execute(query, [], { fetchSize: 20_000 });
  return new Set(rows.filter((row) => row['round'] > 0).map((row) => String(row['w'])));
}
