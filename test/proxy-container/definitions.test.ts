import { afterEach, expect, test, vi } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode, ResultKind } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { type SchemaChange, writeSchemaChange } from '#core/cql/schema-change.ts';
import type { RunRecord } from '#core/ledger/records.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { errorReply, type MockReply } from '../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;

async function begin(more: object = {}): Promise<void> {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs: 300, ...more });
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

vi.setConfig({ testTimeout: 30_000 });
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
