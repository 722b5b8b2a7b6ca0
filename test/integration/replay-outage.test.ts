/**
 * The replay as it is deployed, in the local AWS: while the target is away the function is switched off and nothing is
 * counted, a probe finds the target back.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  GetEventSourceMappingCommand,
  InvokeCommand,
  LambdaClient,
  ListEventSourceMappingsCommand,
} from '@aws-sdk/client-lambda';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { PurgeQueueCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { createS3Client, createSqsClient } from '#adapters/aws-clients.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { deployStacks, outputNamed } from '../../infra/local/cdk.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { migrationYaml, putSecrets } from '../../infra/local/local-migration.ts';
import { jsonOf, runRingshift } from '../cli/run-ringshift.ts';
import { eventually } from '../support/eventually.ts';
import { messageOf } from '../support/messages.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const NAME = 'replay-outage';
const KS = 'replay_outage';
const environment = readTestEnvironment();
const relayPlace = { host: environment.proxyAddress, port: 19641 };
const DAY_SECONDS = 86_400;
/** A day ago: what waits has been waiting for so long. */
const WRITTEN_AT = Math.floor(Date.now() / 1000) - DAY_SECONDS;

interface Status {
  readonly waiting: number;
  readonly inFlight: number;
  readonly deadLetters: number;
  readonly open: readonly string[];
  readonly paused: { readonly why: string } | null;
  readonly breaker: { readonly target: { readonly failures: number; readonly lastError: string } | null };
  readonly lag: { readonly seconds: number } | null;
  readonly deadTables: readonly { readonly table: string; readonly letters: number; readonly reasons: object }[];
}

const folder = join(testEnvironment.folder, NAME);
const configFile = join(folder, 'migration.yaml');
const s3 = createS3Client();
const sqs = createSqsClient();
const lambda = new LambdaClient({});
let target: Client;
let origin: Client;
let relay: TcpRelay;
let queueUrl: string;
let mappingId: string;

async function printed<T>(code: number, ...args: string[]): Promise<T> {
  const result = await runRingshift([...args, '--config', configFile, '--json']);
  expect(result, `ringshift ${args.join(' ')}\n${result.stderr}${result.stdout}`).toMatchObject({ code });
  return jsonOf<T>(result);
}

const status = (code: number) => printed<Status>(code, 'replay', 'status');

/** What its schedule does every minute, now. */
async function tend(): Promise<{ open: string[]; paused: boolean }> {
  const { Payload, FunctionError } = await lambda.send(new InvokeCommand({ FunctionName: `${NAME}-replay-breaker` }));
  const text = new TextDecoder().decode(Payload);
  expect(FunctionError, text).toBeUndefined();
  return JSON.parse(text) as { open: string[]; paused: boolean };
}

async function mappingState(): Promise<string | undefined> {
  return (await lambda.send(new GetEventSourceMappingCommand({ UUID: mappingId }))).State;
}

function writeOf(id: number, set = `title = 'replayed ${id}'`): FailedWrite {
  return {
    id: `outage-${id}`,
    keyspace: KS,
    tables: [{ keyspace: KS, table: 'assets' }],
    consistency: Consistency.LOCAL_QUORUM,
    timestampMicros: BigInt(WRITTEN_AT) * 1_000_000n + BigInt(id),
    writtenAtSeconds: WRITTEN_AT,
    expiresAtSeconds: null,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: `UPDATE assets SET ${set} WHERE id = ${id}`, values: [] }],
    idempotent: true,
    attempts: 1,
  };
}

/** Bundles of five, numbered from `first`. */
function bundles(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, at) =>
    messageOf(...Array.from({ length: 5 }, (_, index) => writeOf(first + 5 * at + index))),
  );
}

async function enqueue(bodies: readonly string[]): Promise<void> {
  for (const body of bodies) await sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: body }));
}

/** Ids that the target has, each with the time that its write had. */
async function replayedIds(): Promise<number[]> {
  const { rows } = await target.execute(`SELECT id, writetime(title) AS at FROM ${KS}.assets`);
  const own = rows.filter((row) => row['at'] !== null);
  for (const row of own) expect(String(row['at'])).toBe(String(BigInt(WRITTEN_AT) * 1_000_000n + BigInt(row['id'])));
  return own.map((row) => row['id'] as number).sort((a, b) => a - b);
}

const upTo = (count: number) => Array.from({ length: count }, (_, at) => at);

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KS);
    await client.execute(`CREATE TABLE ${KS}.assets (id int PRIMARY KEY, title text)`);
  }
  relay = new TcpRelay(relayPlace.host, relayPlace.port, environment.target);
  await relay.restore();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const write = (deployed: { bucket: string; queueUrl: string }) => {
    const config = parse(migrationYaml(testEnvironment, deployed)) as Record<string, Record<string, unknown>>;
    const text = stringify({
      ...config,
      target: {
        ...config['target'],
        contactPoints: [relayPlace.host],
        port: relayPlace.port,
        addressMap: { [environment.target.host]: relayPlace.host },
        connectTimeoutMs: 2000,
        requestTimeoutMs: 5000,
      },
      proxy: {},
      failedWrites: { ...config['failedWrites'], retryIntervalSecs: 1, probeSecs: 1, batchWindowSecs: 0 },
    });
    writeFileSync(configFile, text);
  };
  write({ bucket: 'known-after-deploy', queueUrl: 'https://known.after.deploy' });
  await putSecrets(testEnvironment.aws);
  const outputs = await deployStacks(
    { ...testEnvironment.aws, folder },
    {
      stacks: [`${NAME}-storage`, `${NAME}-replay`],
      context: { config: configFile, name: NAME, bucketName: `${NAME}-bucket` },
    },
  );
  queueUrl = outputNamed(outputs, 'FailedWritesQueueUrl')!;
  const bucket = outputNamed(outputs, 'BucketName')!;
  write({ bucket, queueUrl });
  // Where the local AWS was left running, the stacks are there already, with what an earlier run put into them.
  await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'ledger/replay.json' }));
  for (const url of [queueUrl, outputNamed(outputs, 'DeadLetterQueueUrl')!]) {
    await sqs.send(new PurgeQueueCommand({ QueueUrl: url }));
  }
  const { EventSourceMappings } = await lambda.send(
    new ListEventSourceMappingsCommand({ FunctionName: `${NAME}-replay-failed-writes` }),
  );
  mappingId = EventSourceMappings![0]!.UUID!;
}, 600_000);

afterAll(async () => {
  await relay?.cut();
  for (const client of [origin, target]) await client?.shutdown();
  for (const client of [s3, sqs, lambda]) client.destroy();
});

test('while the target is away the function is switched off, nothing is dead, and what comes meanwhile waits', async () => {
  await tend();
  expect(await mappingState()).toBe('Enabled');
  await relay.cut();
  await enqueue(bundles(0, 30));
  await eventually(async () => {
    expect(await status(1)).toMatchObject({ open: ['target'], deadLetters: 0 });
  });
  expect(await tend()).toMatchObject({ open: ['target'] });
  expect(await mappingState()).toBe('Disabled');
  await enqueue(bundles(150, 10));
  expect(await tend()).toMatchObject({ open: ['target'] });
  expect(await mappingState()).toBe('Disabled');
  const held = await status(1);
  expect(held.waiting + held.inFlight).toBe(40);
  expect(held.waiting).toBeGreaterThanOrEqual(10);
  expect(held.deadLetters).toBe(0);
  expect(held.breaker.target!.failures).toBeGreaterThanOrEqual(1);
  expect(held.breaker.target!.lastError).toContain(String(relayPlace.port));
  expect(await replayedIds()).toEqual([]);
});

test('a probe finds the target back, and the backlog of a day is applied with the times that it had', async () => {
  await relay.restore();
  await eventually(async () => {
    expect(await tend()).toMatchObject({ open: [] });
  });
  expect(await mappingState()).toBe('Enabled');
  await eventually(async () => {
    expect(await replayedIds()).toEqual(upTo(200));
  });
  await eventually(async () => {
    expect(await status(0)).toMatchObject({ waiting: 0, inFlight: 0, deadLetters: 0, open: [] });
  });
});

test('an invocation takes a hundred messages of twenty writes, and says of each what becomes of it', async () => {
  const bodies = upTo(100).map((at) => messageOf(...upTo(20).map((index) => writeOf(1000 + 20 * at + index))));
  const Records = [...bodies, '{"version":1}'].map((body, at) => ({
    messageId: `direct-${at}`,
    receiptHandle: `direct-${at}`,
    body,
    attributes: { ApproximateReceiveCount: '1', SentTimestamp: String(Date.now()) },
  }));
  const { Payload } = await lambda.send(
    new InvokeCommand({ FunctionName: `${NAME}-replay-failed-writes`, Payload: JSON.stringify({ Records }) }),
  );
  expect(JSON.parse(new TextDecoder().decode(Payload))).toEqual({ batchItemFailures: [] });
  expect(await replayedIds()).toEqual([...upTo(200), ...upTo(2000).map((at) => at + 1000)]);
  // The one that nobody can read.
  const { deadTables, lag } = await status(1);
  expect(deadTables).toEqual([
    { table: '(unknown)', letters: 1, reasons: { [Object.keys(deadTables[0]!.reasons)[0]!]: 1 } },
  ]);
  expect(Object.keys(deadTables[0]!.reasons)[0]).toContain('not of version 1');
  expect(lag).not.toBeNull();
});

test('a write that the target refuses three times is dead with the reason; mended, it is redriven as if it were new', async () => {
  await enqueue([messageOf(writeOf(300), writeOf(301, "subtitle = 'x'"))]);
  await eventually(async () => {
    const { deadTables } = await status(1);
    const ours = deadTables.find(({ table }) => table === `${KS}.assets`);
    expect(ours?.letters).toBe(1);
    expect(Object.keys(ours!.reasons)[0]).toMatch(/subtitle.*\(attempt 3\)/);
  });
  // Its neighbour in the bundle was not held back.
  expect(await replayedIds()).toContain(300);
  await target.execute(`ALTER TABLE ${KS}.assets ADD subtitle text`);
  expect(await printed(0, 'replay', 'redrive', '--reset-attempts')).toEqual({ moved: 2, left: 0 });
  await eventually(async () => {
    const { rows } = await target.execute(`SELECT subtitle FROM ${KS}.assets WHERE id = 301`);
    expect(rows[0]?.['subtitle']).toBe('x');
  });
});

test('a person pauses the replay, and resumes it', async () => {
  await printed(0, 'replay', 'pause', '--why', 'the target is being scaled');
  await enqueue(bundles(500, 1));
  expect(await tend()).toMatchObject({ paused: true });
  expect(await mappingState()).toBe('Disabled');
  expect(await tend()).toMatchObject({ paused: true });
  expect(await status(1)).toMatchObject({ paused: { why: 'the target is being scaled' } });
  expect(await replayedIds()).not.toContain(500);
  await printed(0, 'replay', 'resume', '--why', 'done');
  await tend();
  expect(await mappingState()).toBe('Enabled');
  await eventually(async () => {
    expect(await replayedIds()).toContain(504);
  });
});
