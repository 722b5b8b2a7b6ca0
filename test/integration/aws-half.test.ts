/**
 * The half of a migration that runs in AWS, deployed by `cdk deploy` and driven by the `ringshift` command alone:
 * bulk load, validation and reconciling as executions, failed writes through the queue.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { DescribeExecutionCommand, ListExecutionsCommand, StartExecutionCommand } from '@aws-sdk/client-sfn';
import { ReceiveMessageCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createS3Client, createSfnClient, createSqsClient } from '#adapters/aws-clients.ts';
import type { SavedIndexes } from '#core/ledger/saved-indexes.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { outputNamed } from '../../infra/local/cdk.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import type { CommandResult } from '../../infra/local/processes.ts';
import { jsonOf, runRingshift } from '../cli/run-ringshift.ts';
import { messageOf } from '../support/messages.ts';
import { type DeployedHalf, deployAwsHalf, NAME } from './aws-half-deployment.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { nodetool, takeSnapshot } from './support/shared-tools.ts';

const KS = 'aws_half';
const BROKEN_KS = 'aws_half_broken';
const TAG = 'aws-half';
const ROWS = 1200;

/** Long ago, so that nothing else can be newer or older by chance. Microseconds. */
const BASE_MICROS = 1_700_000_000_000_000;

interface Summary {
  readonly runId: string;
  readonly status: string;
  readonly totals: Readonly<Record<string, number>>;
  readonly failed: readonly { readonly table: string; readonly error: { name: string; message: string } }[];
}

let origin: Client;
let target: Client;
let half: DeployedHalf;
let runOfDamage: string;
let runOfFlippedByte: string;
const s3 = createS3Client();
const sqs = createSqsClient();
const sfn = createSfnClient();

const ringshift = (...args: string[]): Promise<CommandResult> =>
  runRingshift([...args, '--config', half.configFile, '--json'], { RINGSHIFT_NAME: NAME });

/** What it printed, after an exit code that must be this one. */
async function printed<T>(code: number, ...args: string[]): Promise<T> {
  const result = await ringshift(...args);
  expect(result, `ringshift ${args.join(' ')}\n${result.stderr}${result.stdout}`).toMatchObject({ code });
  return jsonOf<T>(result);
}

const place = (): string => `s3://${half.bucket}/snapshots/${TAG}`;

async function seed(): Promise<void> {
  for (const keyspace of [KS, BROKEN_KS]) {
    await recreateKeyspace(origin, keyspace);
    await target.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`);
  }
  await origin.execute(
    `CREATE TABLE ${KS}.assets (id int PRIMARY KEY, title text, status text, tags set<text>) WITH gc_grace_seconds = 864000`,
  );
  await origin.execute(`CREATE INDEX assets_status ON ${KS}.assets (status)`);
  await origin.execute(`CREATE INDEX assets_tags ON ${KS}.assets (tags)`);
  await origin.execute(`CREATE TABLE ${BROKEN_KS}.files (id int PRIMARY KEY, body text)`);
  await origin.execute(`CREATE INDEX files_body ON ${BROKEN_KS}.files (body)`);
  const insert = (from: number, to: number, base: number, status: string) =>
    inParallel(from, to, (id) =>
      origin.execute(
        `INSERT INTO ${KS}.assets (id, title, status, tags) VALUES (?, ?, ?, ?) USING TIMESTAMP ${base + id}${id % 10 === 0 ? ' AND TTL 864000' : ''}`,
        [id, `title ${id}`, status, [`tag ${id % 3}`, 'all']],
        { prepare: true },
      ),
    );
  await insert(0, ROWS, BASE_MICROS, 'first');
  await nodetool(testEnvironment.origin, 'flush', KS);
  // A second SSTable over the first one: newer values, deletions, and a write that is older than what it meets.
  await insert(0, 200, BASE_MICROS + 1_000_000, 'second');
  await inParallel(200, 250, (id) =>
    origin.execute(`DELETE FROM ${KS}.assets USING TIMESTAMP ${BASE_MICROS + 2_000_000} WHERE id = ${id}`),
  );
  await origin.execute(`UPDATE ${KS}.assets USING TIMESTAMP ${BASE_MICROS - 5} SET status = 'late' WHERE id = 300`);
  await inParallel(0, 400, (id) =>
    origin.execute(`INSERT INTO ${BROKEN_KS}.files (id, body) VALUES (?, ?)`, [id, `body of ${id} `.repeat(20)], {
      prepare: true,
    }),
  );
}

async function inParallel(from: number, to: number, work: (id: number) => Promise<unknown>): Promise<void> {
  const lanes = Array.from({ length: 16 }, async (_, lane) => {
    for (let id = from + lane; id < to; id += 16) await work(id);
  });
  await Promise.all(lanes);
}

/** Every row with its write times and remaining life, as the driver gives them. */
async function rowsOf(client: Client): Promise<Map<number, unknown>> {
  const { rows } = await client.execute(
    `SELECT id, title, status, tags, writetime(title), writetime(status), ttl(title) AS life FROM ${KS}.assets`,
    [],
    { prepare: true, fetchSize: 10_000 },
  );
  return new Map(
    rows.map((row) => {
      const { life, ...rest } = Object.fromEntries(row.keys().map((key) => [key, row.get(key) as unknown]));
      return [row['id'] as number, JSON.stringify({ ...rest, expires: life !== null })];
    }),
  );
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  const deploying = deployAwsHalf(KS);
  [half] = await Promise.all([deploying, seed()]);
});

afterAll(async () => {
  for (const client of [origin, target]) await client?.shutdown();
  for (const client of [s3, sqs, sfn]) client.destroy();
});

test('every stack is deployed under its own name, and the command finds the state machines by it', () => {
  expect(Object.keys(half.outputs).sort()).toEqual(
    ['bulk-load', 'planning', 'replay', 'storage', 'validation'].map((stack) => `${NAME}-${stack}`),
  );
  expect(outputNamed(half.outputs, 'ValidationStateMachineArn')).toMatch(/:aws-half-validation$/);
  expect(half.queueUrl).toMatch(/\/aws-half-failed-writes$/);
});

test('schema copy creates the keyspaces on the target', async () => {
  const copied = await printed<{ applied: boolean; elements: { name: string }[] }>(0, 'schema', 'copy', KS, BROKEN_KS);
  expect(copied.applied).toBe(true);
  expect(copied.elements.map(({ name }) => name)).toEqual(expect.arrayContaining(['assets', 'files']));
});

test('a load whose dual writes never began is refused, and nothing is written', async () => {
  await takeSnapshot(testEnvironment.origin, TAG, KS, BROKEN_KS);
  const data = join(testEnvironment.origin.folder, 'data');
  const keyspaces = ['--keyspace', KS, '--keyspace', BROKEN_KS];
  const uploaded = await printed<{ files: number; takenAt: string | null }>(
    0,
    ...['snapshot', 'upload', data, '--tag', TAG, '--to', place(), ...keyspaces],
  );
  expect(uploaded.files).toBeGreaterThan(16);
  expect(uploaded.takenAt).not.toBeNull();
  const refused = await printed<{ error: { message: string } }>(
    1,
    ...['load', 'start', '--keyspace', KS, '--snapshot', place(), '--wait'],
  );
  expect(refused.error.message).toContain('dual');
  expect((await rowsOf(target)).size).toBe(0);
});

test('an execution of the bulk load brings every row with its write times', async () => {
  await settleDualWrites();
  const summary = await printed<Summary>(0, ...['load', 'start', '--keyspace', KS, '--snapshot', place(), '--wait']);
  expect(summary).toMatchObject({ status: 'done', failed: [] });
  const { status } = await sfn.send(
    new DescribeExecutionCommand({ executionArn: executionArn('bulk-load', summary.runId) }),
  );
  expect(status).toBe('SUCCEEDED');
  const [mine, theirs] = await Promise.all([rowsOf(origin), rowsOf(target)]);
  expect(mine.size).toBe(ROWS - 50);
  expect(theirs).toEqual(mine);
  expect(await tableState(KS, 'assets')).toBe('loaded');
});

test('the execution has dropped the indexes of its tables and built them again', async () => {
  const { tables } = await printed<{ tables: SavedIndexes[] }>(0, 'indexes', 'status');
  const saved = tables.find(({ table }) => table === 'assets');
  expect(saved).toMatchObject({ keyspace: KS, state: 'restored' });
  expect(saved?.indexes.map(({ name, state, createdAt }) => [name, state, createdAt !== null]).sort()).toEqual([
    ['assets_status', 'built', true],
    ['assets_tags', 'built', true],
  ]);
  const { rowLength } = await target.execute(`SELECT id FROM ${KS}.assets WHERE status = 'late'`);
  expect(rowLength).toBe(0);
  expect((await target.execute(`SELECT id FROM ${KS}.assets WHERE status = 'second'`)).rowLength).toBe(200);
});

test('one flipped byte in a Data.db fails the execution; file and offset are named, the table is not loaded', async () => {
  const { key, offset } = await flipByte();
  const result = await ringshift('load', 'start', '--keyspace', BROKEN_KS, '--snapshot', place(), '--wait');
  expect(result.code).toBe(1);
  const summary = jsonOf<Summary>(result);
  expect(summary.status).toBe('failed');
  runOfFlippedByte = summary.runId;
  const corrupt = summary.failed.filter(({ error }) => error.name === 'SSTableCorruptError');
  expect(corrupt.length).toBeGreaterThan(0);
  for (const { table, error } of corrupt) {
    expect(table).toContain('files');
    expect(error.message).toContain(key.replace(/^.*\//, ''));
    const [, at] = /offset (\d+)/.exec(error.message) ?? [];
    expect(Number(at)).toBeLessThanOrEqual(offset);
  }
  const { status, cause } = await sfn.send(
    new DescribeExecutionCommand({ executionArn: executionArn('bulk-load', summary.runId) }),
  );
  expect(status).toBe('FAILED');
  expect(cause).toContain('SSTableCorruptError');
  expect(await tableState(BROKEN_KS, 'files')).not.toBe('loaded');
  const { tables } = await printed<{ tables: SavedIndexes[] }>(0, 'indexes', 'status');
  expect(tables.find(({ table }) => table === 'files')).toMatchObject({ runId: summary.runId, state: 'restored' });
  // People see the same without --json.
  const shown = await runRingshift(['load', 'status', summary.runId, '--config', half.configFile]);
  expect(shown.stdout).toContain('SSTableCorruptError');
  expect(shown.stdout).not.toContain('files: loaded');
});

test('once the byte is mended the load is resumed, and --wait follows it to its end', async () => {
  await flipByte();
  const resumed = await printed<Summary>(0, 'load', 'resume', runOfFlippedByte, '--wait');
  expect(resumed).toMatchObject({ status: 'done', failed: [] });
  expect(resumed.runId).not.toBe(runOfFlippedByte);
  expect(await tableState(BROKEN_KS, 'files')).toBe('loaded');
  expect((await target.execute(`SELECT id FROM ${BROKEN_KS}.files`)).rowLength).toBe(400);
});

test('an SSTable of an unknown version, or without one of its components, fails the execution by its name', async () => {
  await renameBrokenFiles('nb', 'zz');
  expect(await failBrokenLoad()).toMatch(/SSTableUnsupportedError.*zz-1-big.* is of version zz-big/);
  await renameBrokenFiles('zz', 'nb');
  const removed = (await brokenFiles()).find((key) => key.endsWith('-Statistics.db')) ?? '';
  await s3.send(new DeleteObjectCommand({ Bucket: half.bucket, Key: removed }));
  expect(await failBrokenLoad()).toContain(`${removed} is missing`);
  expect(await tableState(BROKEN_KS, 'files')).not.toBe('loaded');
});

test('a validation by execution finds the clusters equal', async () => {
  const summary = await printed<Summary>(0, 'validate', 'start', '--keyspace', KS, '--wait');
  expect(summary).toMatchObject({ status: 'done', totals: { partitions: ROWS - 50 } });
  expect(summary.totals['differing'] ?? 0).toBe(0);
});

test('rows that were damaged on the target are found, each by its key', async () => {
  await target.execute(`UPDATE ${KS}.assets SET status = 'damaged' WHERE id = 700`);
  await target.execute(`DELETE FROM ${KS}.assets WHERE id = 701`);
  await target.execute(`INSERT INTO ${KS}.assets (id, title) VALUES (5000, 'not of the origin')`);
  await sleep(1500);
  const summary = await printed<Summary>(1, 'validate', 'start', '--keyspace', KS, '--wait');
  expect(summary).toMatchObject({ status: 'differences', totals: { differing: 3 } });
  runOfDamage = summary.runId;
  const report = await printed<{ differences: { table: string; key: { id: string }; kind: string }[] }>(
    1,
    ...['validate', 'report', summary.runId],
  );
  expect(report.differences.map(({ key, kind }) => `${key.id} ${kind}`).sort()).toEqual([
    '5000 onlyInTarget',
    '700 differs',
    '701 onlyInOrigin',
  ]);
});

test('reconciling by execution makes them equal again', async () => {
  await printed<Summary>(0, 'reconcile', runOfDamage, '--wait');
  const summary = await printed<Summary>(0, 'validate', 'start', '--keyspace', KS, '--wait');
  expect(summary.status).toBe('done');
  const [mine, theirs] = await Promise.all([rowsOf(origin), rowsOf(target)]);
  expect([...theirs.keys()].sort()).toEqual([...mine.keys()].sort());
});

test('failed writes in the queue are applied by the function with the timestamps that they had', async () => {
  const timestampMicros = BigInt(BASE_MICROS) + 7_000_000n;
  const write = failedWrite(timestampMicros, [
    { text: 'UPDATE assets SET title = ? WHERE id = ?', values: [utf8('replayed'), int(800)] },
  ]);
  await sqs.send(new SendMessageCommand({ QueueUrl: half.queueUrl, MessageBody: messageOf(write) }));
  // Older than what the target has: it must lose there as it did on the origin.
  const older = failedWrite(BigInt(BASE_MICROS) - 1n, [
    { text: 'UPDATE assets SET title = ? WHERE id = ?', values: [utf8('too old'), int(801)] },
  ]);
  await sqs.send(new SendMessageCommand({ QueueUrl: half.queueUrl, MessageBody: messageOf(older) }));
  const row = await until(async () => {
    const found = await target.execute(`SELECT title, writetime(title) AS at FROM ${KS}.assets WHERE id = 800`);
    return found.first()['title'] === 'replayed' ? found.first() : undefined;
  });
  expect(String(row['at'])).toBe(String(timestampMicros));
  await until(async () => {
    const { waiting, inFlight } = await printed<{ waiting: number; inFlight: number }>(0, 'replay', 'status');
    return waiting + inFlight === 0 ? true : undefined;
  });
  expect((await target.execute(`SELECT title FROM ${KS}.assets WHERE id = 801`)).first()['title']).toBe('title 801');
});

test('a message that no one can read lands in the dead letters, and replay status says so by its exit code', async () => {
  await sqs.send(new SendMessageCommand({ QueueUrl: half.queueUrl, MessageBody: '{"version":1}' }));
  const message = await until(async () => {
    const { Messages } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl: half.deadLetterQueueUrl, WaitTimeSeconds: 1, VisibilityTimeout: 0 }),
    );
    return Messages?.[0];
  });
  expect(message.Body).toBe('{"version":1}');
  expect(await printed(1, 'replay', 'status')).toMatchObject({ deadLetters: 1 });
});

test('the schedule starts the same state machine with the keyspace as its input', async () => {
  const schedule = await describeSchedule(`${NAME}-validate-${KS}`);
  const stateMachineArn = outputNamed(half.outputs, 'ValidationStateMachineArn');
  expect(schedule.State).toBe('DISABLED');
  expect(schedule.ScheduleExpression).toBe('rate(1 day)');
  expect(schedule.Target.Arn).toBe(stateMachineArn);
  // What the schedule would send, sent by us: the machine takes it.
  const { executionArn: started } = await sfn.send(
    new StartExecutionCommand({ stateMachineArn, name: 'as-scheduled', input: schedule.Target.Input }),
  );
  const ended = await until(async () => {
    const execution = await sfn.send(new DescribeExecutionCommand({ executionArn: started }));
    return execution.status === 'RUNNING' ? undefined : execution;
  });
  expect(ended.status).toBe('SUCCEEDED');
  expect(JSON.parse(ended.output ?? '')).toMatchObject({ keyspace: KS, kind: 'validation' });
});

/** Puts a ledger record as a proxy and `phase set` would leave it, through the command. */
async function settleDualWrites(): Promise<void> {
  const since = '2020-01-01T00:00:00.000Z';
  const active = { epoch: 2, phase: 'dual-async', since, by: 'test', why: 'test' };
  const record = {
    version: 1,
    active,
    proposal: null,
    dualWritesSince: since,
    dualWritesSettledAt: since,
    history: [{ ...active, epoch: 1, phase: 'origin-only' }],
  };
  const file = join(dirname(half.configFile), 'phase.jsonl');
  const lines = [
    { ringshift: 'ledger', version: 1 },
    { key: 'phase.json', value: record },
  ];
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  try {
    expect(await printed(0, 'state', 'import', file)).toMatchObject({ written: 1 });
  } finally {
    rmSync(file);
  }
}

function executionArn(machine: string, runId: string): string {
  const arn = outputNamed(half.outputs, 'ValidationStateMachineArn') ?? '';
  return `${arn.replace(':stateMachine:', ':execution:').replace(/:[^:]*$/, `:${NAME}-${machine}`)}:${runId}`;
}

async function tableState(keyspace: string, table: string): Promise<string | undefined> {
  const file = join(dirname(half.configFile), 'state.jsonl');
  await printed(0, 'state', 'export', file);
  const key = `tables/${keyspace}.${table}.json`;
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const records = lines.map((line) => JSON.parse(line) as { key?: string; value?: { state?: string } });
  return records.find((record) => record.key === key)?.value?.state;
}

/** The uploaded files of the keyspace that is to be broken. */
async function brokenFiles(): Promise<string[]> {
  const prefix = `snapshots/${TAG}/`;
  const listed = await s3.send(new ListObjectsV2Command({ Bucket: half.bucket, Prefix: prefix }));
  return (listed.Contents ?? []).map((object) => object.Key ?? '').filter((key) => key.includes(`/${BROKEN_KS}/`));
}

/** Starts a load that must fail, in the plan or in a range. Resolves to what the command printed. */
async function failBrokenLoad(): Promise<string> {
  const loading = ['load', 'start', '--keyspace', BROKEN_KS, '--snapshot', place(), '--wait'];
  const result = JSON.stringify(await printed<object>(1, ...loading));
  const stateMachineArn = outputNamed(half.outputs, 'BulkLoadStateMachineArn');
  const { executions } = await sfn.send(new ListExecutionsCommand({ stateMachineArn }));
  const latest = executions?.toSorted((a, b) => Number(b.startDate) - Number(a.startDate))[0];
  expect(latest?.status).toBe('FAILED');
  expect(result).toContain(latest?.name);
  return result;
}

/** Gives every file another version; the manifest says the same, as a node of that version would have written it. */
async function renameBrokenFiles(from: string, to: string): Promise<void> {
  const rename = (text: string) => text.replaceAll(`${from}-1-big-`, `${to}-1-big-`);
  const copy = async (source: string, edit: (bytes: string) => string) => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: half.bucket, Key: source }));
    // Latin-1 keeps every byte as it is.
    const text = edit(Buffer.from(await Body!.transformToByteArray()).toString('latin1'));
    const Key = rename(source);
    await s3.send(new PutObjectCommand({ Bucket: half.bucket, Key, Body: Buffer.from(text, 'latin1') }));
  };
  for (const key of await brokenFiles()) {
    if (rename(key) === key) continue;
    await copy(key, (bytes) => bytes);
    await s3.send(new DeleteObjectCommand({ Bucket: half.bucket, Key: key }));
  }
  await copy(`snapshots/${TAG}/${testEnvironment.origin.address}/ringshift-manifest.json`, rename);
}

/** Changes one byte in the middle of an uploaded Data.db; its length stays. */
async function flipByte(): Promise<{ key: string; offset: number }> {
  const key = (await brokenFiles()).find((name) => name.endsWith('-Data.db')) ?? '';
  const object = await s3.send(new GetObjectCommand({ Bucket: half.bucket, Key: key }));
  const bytes = await object.Body!.transformToByteArray();
  const offset = bytes.length >> 1;
  bytes[offset]! ^= 0x01;
  await s3.send(new PutObjectCommand({ Bucket: half.bucket, Key: key, Body: bytes }));
  return { key, offset };
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function int(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value);
  return bytes;
}

function failedWrite(timestampMicros: bigint, statements: FailedWrite['statements']): FailedWrite {
  return {
    id: `aws-half-${timestampMicros}`,
    keyspace: KS,
    tables: [{ keyspace: KS, table: 'assets' }],
    consistency: Consistency.LOCAL_QUORUM,
    timestampMicros,
    writtenAtSeconds: Math.floor(Date.now() / 1000),
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements,
    idempotent: true,
    expiresAtSeconds: null,
    attempts: 1,
  };
}

/** Asks until there is an answer; the test's own time-out ends it. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await sleep(250);
  }
}

interface DescribedSchedule {
  readonly State: string;
  readonly ScheduleExpression: string;
  readonly Target: { readonly Arn: string; readonly Input: string };
}

/** GetSchedule by hand: the product itself has no use for a client of the scheduler. */
async function describeSchedule(name: string): Promise<DescribedSchedule> {
  const answer = await fetch(`${process.env['AWS_ENDPOINT_URL']}/schedules/${name}`, {
    headers: { Authorization: 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/scheduler/aws4_request' },
  });
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as DescribedSchedule;
}
