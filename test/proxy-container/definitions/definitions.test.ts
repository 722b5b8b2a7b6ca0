import { afterEach, expect, test } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { encodeRegister } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode, ResultKind } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { decodeEvent, encodeSchemaChangeEvent, type SchemaChange, writeSchemaChange } from '#core/cql/schema-change.ts';
import { takeDefinitionLock } from '#core/ledger/definition-lock.ts';
import type { RunRecord } from '#core/ledger/records.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { errorReply, type MockReply } from '../../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;

async function begin(more: object = {}): Promise<void> {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs: 15_000, ...more });
  client = await parts.connect();
}

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
const changed = (change: SchemaChange): MockReply => {
  const writer = new BodyWriter().int(ResultKind.SCHEMA_CHANGE);
  writeSchemaChange(writer, change);
  return { opcode: Opcode.RESULT, body: writer.toBuffer() };
};
const TYPE = { change: 'CREATED', target: 'TYPE', keyspace: 'other', name: 'address' } as const;
const CREATE_TYPE = 'CREATE TYPE other.address (street text)';
const suspects = async () => (await parts.ledger.listSuspects()).map(({ keyspace, table }) => `${keyspace}.${table}`);

async function load(state: RunRecord['state'], tables: string[] = ['t']): Promise<void> {
  const startedAt = new Date().toISOString();
  const run = { version: 1, runId: 'load-1', kind: 'load', keyspace: 'ks', tables, startedAt, endedAt: null } as const;
  await parts.ledger.startRun({ ...run, state, rangeCount: 1, totalBytes: 0, input: {} });
}

afterEach(() => parts.stop());

test.each([
  [CREATE_TYPE, TYPE],
  ['CREATE KEYSPACE other WITH replication = {}', { change: 'CREATED', target: 'KEYSPACE', keyspace: 'other' }],
] as const)(
  '%s that the target refuses for good is the error of the client, and marks its keyspace',
  async (text, change) => {
    await begin();
    parts.origin.handlers.set(Opcode.QUERY, () => changed(change));
    parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.INVALID));
    const reply = decodeError(bodyOf(await query(text)), 4);
    expect(reply.code).toBe(ErrorCode.INVALID);
    expect(reply.message).toContain('not on the target');
    await eventually(async () => expect(await suspects()).toEqual(['other.*']));
    expect(await parts.ledger.listTables()).toEqual([]);
    expect(parts.proxy.status().counters['definitionsNotCopied']).toBe(1);
  },
);

test('a target that is only away is no error of the client; the keyspace is marked and the change counted', async () => {
  await begin();
  parts.origin.handlers.set(Opcode.QUERY, () => changed(TYPE));
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  expect(opcodeOf(await query(CREATE_TYPE))).toBe(Opcode.RESULT);
  await eventually(async () => expect(await suspects()).toEqual(['other.*']));
  const metrics = await (await fetch(`${parts.adminUrl}/metrics`)).text();
  expect(metrics).toContain('ringshift_definitions_not_copied_total 1');
});

test('what goes to the primary alone by proxy.ddl marks the keyspace too', async () => {
  await begin({ ddl: 'primary' });
  parts.origin.handlers.set(Opcode.QUERY, () => changed(TYPE));
  expect(opcodeOf(await query(CREATE_TYPE))).toBe(Opcode.RESULT);
  await eventually(async () => expect(await suspects()).toEqual(['other.*']));
  expect(parts.target.seen).toEqual([]);
});

test('what both take marks a table when it changed, and nothing when it was there already', async () => {
  await begin();
  await query('CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)');
  parts.origin.handlers.set(Opcode.QUERY, () => changed({ ...TYPE, change: 'UPDATED', target: 'TABLE' }));
  await query('ALTER TABLE u ADD w int');
  await eventually(async () => expect(await suspects()).toEqual(['ks.u']));
});

test('a reply that is no result is answered all the same', async () => {
  await begin();
  parts.origin.handlers.set(Opcode.QUERY, () => ({ opcode: Opcode.RESULT, body: Buffer.from([0, 0, 0, 5, 0, 9]) }));
  expect(decodeError(bodyOf(await query(CREATE_TYPE)), 4).code).toBe(ErrorCode.SERVER_ERROR);
});

test('while a load runs its tables keep their definition, also when one of them is suspect', async () => {
  await begin();
  await load('running');
  await parts.ledger.setTable('ks', 't', 'suspect', { now: new Date(), by: 'unit', reason: 'a lost write' });
  for (const text of ['ALTER TABLE t ADD w int', 'DROP KEYSPACE ks', 'CREATE INDEX ON ks.t (v)', 'TRUNCATE ks.t']) {
    const reply = decodeError(bodyOf(await query(text)), 4);
    expect(reply).toMatchObject({ code: ErrorCode.INVALID, message: expect.stringContaining('load-1') });
  }
  expect(parts.origin.seen).toEqual([]);
  expect(opcodeOf(await query('CREATE TABLE ks.another (id int PRIMARY KEY)'))).toBe(Opcode.RESULT);
});

test('a table that a failed load left in the state loading may be changed', async () => {
  await begin();
  await load('failed');
  await parts.ledger.setTable('ks', 't', 'loading', { now: new Date(), by: 'unit' });
  expect(opcodeOf(await query('ALTER TABLE t ADD w int'))).toBe(Opcode.RESULT);
});

const OTHER_VERSION = '00000000-0000-0000-0000-000000000002';
const SAME_VERSION = '00000000-0000-0000-0000-000000000001';
const ORIGIN_KEYSPACE = `CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}`;

test('definitions of two clients reach both clusters in one order', async () => {
  await begin();
  const second = await parts.connect();
  const texts = Array.from({ length: 8 }, (_, index) => `CREATE TABLE ks.t${index} (id int PRIMARY KEY)`);
  await Promise.all(
    texts.map((text, index) =>
      (index % 2 === 0 ? client : second).request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000),
    ),
  );
  expect(parts.origin.texts(Opcode.QUERY)).toHaveLength(8);
  expect(parts.target.texts(Opcode.QUERY)).toEqual(parts.origin.texts(Opcode.QUERY));
});

test('another proxy that changes the schema is waited for, and no definition begins before it has ended', async () => {
  await begin();
  const ports = { clock: { nowMillis: Date.now }, sleep: async () => undefined };
  const lock = await takeDefinitionLock(parts.ledger.store, 'another', 1000, ports);
  let isAnswered = false;
  const answer = query('CREATE TABLE ks.t (id int PRIMARY KEY)').then(() => {
    isAnswered = true;
  });
  expect(opcodeOf(await query('SELECT v FROM ks.t'))).toBe(Opcode.RESULT);
  expect(isAnswered).toBe(false);
  expect(parts.target.seen).toEqual([]);
  await lock.release();
  await answer;
  expect(parts.target.seen).toHaveLength(1);
  await eventually(async () => expect(await parts.ledger.store.get('definitions.json')).toBeUndefined());
});

test('a keyspace gets the replication that the configuration has for the target', async () => {
  const targetReplication = `{'class': 'NetworkTopologyStrategy', 'aws': 3}`;
  parts = await startTestProxy(
    { initialPhase: 'dual-async', targetReplication },
    {
      arrange: (_, target) => {
        target.shown.data_center = 'aws';
      },
    },
  );
  client = await parts.connect();
  expect(opcodeOf(await query(ORIGIN_KEYSPACE))).toBe(Opcode.RESULT);
  expect(parts.origin.texts(Opcode.QUERY)).toEqual([ORIGIN_KEYSPACE]);
  expect(parts.target.texts(Opcode.QUERY)).toEqual([
    `CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'aws': 3}`,
  ]);
});

test('a data centre that one cluster does not have is told before anything is changed', async () => {
  await begin();
  const reply = decodeError(bodyOf(await query(ORIGIN_KEYSPACE.replace('dc1', 'elsewhere'))), 4);
  expect(reply.code).toBe(ErrorCode.INVALID);
  expect(reply.message).toMatch(/origin has no data centre elsewhere \(it has dc1\)/);
  expect([...parts.origin.seen, ...parts.target.seen]).toEqual([]);
});

test('the answer waits for all nodes of the shadow too', async () => {
  await begin();
  parts.target.peerSchemaVersion = OTHER_VERSION;
  let isAnswered = false;
  const answer = query('CREATE TABLE ks.t (id int PRIMARY KEY)').then(() => {
    isAnswered = true;
  });
  await eventually(() => expect(parts.target.seen).toHaveLength(1));
  // A request that comes later is answered earlier.
  expect(opcodeOf(await query('SELECT v FROM ks.t'))).toBe(Opcode.RESULT);
  expect(isAnswered).toBe(false);
  parts.target.peerSchemaVersion = SAME_VERSION;
  await answer;
});

test('clients hear of a change of the primary once, when both clusters agree, and of one of the shadow never', async () => {
  await begin();
  const heard: SchemaChange[] = [];
  client.onEvent = (frame) => {
    const event = decodeEvent(bodyOf(frame));
    if (event.type === 'SCHEMA_CHANGE') heard.push(event.change);
  };
  await client.request(Opcode.REGISTER, 0, encodeRegister(['SCHEMA_CHANGE', 'STATUS_CHANGE']), 20_000);
  parts.target.peerSchemaVersion = OTHER_VERSION;
  const table: SchemaChange = { change: 'CREATED', target: 'TABLE', keyspace: 'ks', name: 't' };
  const other: SchemaChange = { ...table, name: 'only on the target' };
  parts.target.event(encodeSchemaChangeEvent(other, 4));
  parts.origin.event(encodeSchemaChangeEvent(table, 4));
  parts.origin.event(encodeSchemaChangeEvent(table, 4));
  const versions = async () => {
    const reply = await query('SELECT schema_version FROM system.local');
    return decodeResult(bodyOf(reply), 4);
  };
  expect(await versions()).toMatchObject({ kind: 'rows' });
  expect(heard).toEqual([]);
  parts.target.peerSchemaVersion = SAME_VERSION;
  await eventually(() => expect(heard).toHaveLength(1));
  expect(opcodeOf(await query('SELECT v FROM ks.t'))).toBe(Opcode.RESULT);
  expect(heard).toEqual([table]);
});

test('what was missed while the primary was away is told as a change of every keyspace', async () => {
  await begin();
  const heard: SchemaChange[] = [];
  client.onEvent = (frame) => {
    const event = decodeEvent(bodyOf(frame));
    if (event.type === 'SCHEMA_CHANGE') heard.push(event.change);
  };
  await client.request(Opcode.REGISTER, 0, encodeRegister(['SCHEMA_CHANGE']), 20_000);
  parts.origin.keyspaces = ['system_auth', 'ks'];
  parts.origin.schemaVersion = OTHER_VERSION;
  parts.origin.disconnect();
  await eventually(() => expect(heard).toEqual([{ change: 'UPDATED', target: 'KEYSPACE', keyspace: 'ks' }]));
});

test('a text that no grammar knows goes to the primary alone, and marks each table that it may have written', async () => {
  await begin();
  const text =
    'BEGIN TRANSACTION UPDATE other.accounts SET v -= 1 WHERE id = 1; DELETE FROM t WHERE id = 2; COMMIT TRANSACTION';
  expect(opcodeOf(await query(text))).toBe(Opcode.RESULT);
  await eventually(async () => expect((await suspects()).sort()).toEqual(['ks.t', 'other.accounts']));
  expect(parts.target.seen).toEqual([]);
});
