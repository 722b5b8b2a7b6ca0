/** Every request gets one answer, of the kind that drivers' retry policies can tell what to do by. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { decodeError, type ErrorMessage } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { type MockReply, voidReply } from '../support/mock-cluster.ts';

const OPCODES = [Opcode.QUERY, Opcode.EXECUTE, Opcode.BATCH, Opcode.PREPARE];
let parts: TestProxy;
let client: UpstreamConnection;

beforeAll(async () => {
  parts = await startTestProxy(
    {},
    { originConfig: { requestTimeoutMs: 2000 }, targetConfig: { requestTimeoutMs: 2000 } },
  );
});

afterAll(() => parts?.stop());

beforeEach(async () => {
  parts.origin.handlers.clear();
  client = await parts.connect();
});

function origin(answer: () => MockReply | undefined): void {
  for (const opcode of OPCODES) parts.origin.handlers.set(opcode, answer);
}

const send = (opcode: number, body: Buffer): Promise<Buffer> => client.request(opcode, 0, body, 30_000);
const query = (text: string): Promise<Buffer> => send(Opcode.QUERY, encodeQuery(text, {}, 4));

async function errorOf(pending: Promise<Buffer>): Promise<ErrorMessage> {
  const reply = await pending;
  expect(opcodeOf(reply)).toBe(Opcode.ERROR);
  return decodeError(bodyOf(reply), 4);
}

const INSERT = "INSERT INTO t (id, v) VALUES (1, 'x')";

/** Requests that no cluster answers, sent together so that the tests wait once. */
const SILENT: readonly (readonly [name: string, opcode: number, body: Buffer, error: object])[] = [
  ...(
    [
      [INSERT, 'SIMPLE'],
      [`${INSERT} IF NOT EXISTS`, 'CAS'],
      [`BEGIN BATCH ${INSERT} APPLY BATCH`, 'BATCH'],
      [`BEGIN UNLOGGED BATCH ${INSERT} APPLY BATCH`, 'UNLOGGED_BATCH'],
      ['BEGIN COUNTER BATCH UPDATE c SET n = n + 1 WHERE id = 1 APPLY BATCH', 'COUNTER'],
    ] as const
  ).map(([text, writeType]) => {
    const error = { code: ErrorCode.WRITE_TIMEOUT, writeType };
    return [`${text}: a write time-out of its type`, Opcode.QUERY, encodeQuery(text, {}, 4), error] as const;
  }),
  ...(
    [
      [BatchKind.LOGGED, 'BATCH'],
      [BatchKind.UNLOGGED, 'UNLOGGED_BATCH'],
      [BatchKind.COUNTER, 'COUNTER'],
    ] as const
  ).map(([kind, writeType]) => {
    const body = encodeBatch(kind, [{ text: INSERT, values: [] }], {}, 4);
    const error = { code: ErrorCode.WRITE_TIMEOUT, writeType };
    return [`BATCH of kind ${kind}: a write time-out of its type`, Opcode.BATCH, body, error] as const;
  }),
  [
    'a read: a read time-out',
    Opcode.QUERY,
    encodeQuery('SELECT v FROM t', {}, 4),
    { code: ErrorCode.READ_TIMEOUT, received: 0, required: 1 },
  ],
  [
    'PREPARE: an error of the server, after which drivers try the next one',
    Opcode.PREPARE,
    encodePrepare('SELECT v FROM t', 4),
    { code: ErrorCode.SERVER_ERROR },
  ],
];

describe('what a cluster does not answer in time ends as an error', () => {
  let errors: PromiseSettledResult<ErrorMessage>[];

  beforeAll(async () => {
    origin(() => undefined);
    client = await parts.connect();
    errors = await Promise.allSettled(SILENT.map(([, opcode, body]) => errorOf(send(opcode, body))));
  });

  test.each(SILENT.map(([name, , , error], at) => [name, error, at] as const))('%s', (_, error, at) => {
    expect(errors[at]).toMatchObject({ status: 'fulfilled', value: error });
  });
});

test('a read whose every connection breaks is told as OVERLOADED, a write as a write time-out', async () => {
  origin(() => {
    parts.origin.disconnect();
    return undefined;
  });
  expect((await errorOf(query('SELECT v FROM t'))).code).toBe(ErrorCode.OVERLOADED);
  expect((await errorOf(query(INSERT))).code).toBe(ErrorCode.WRITE_TIMEOUT);
});

test('an answer that comes too late is dropped, and its stream id is free again', async () => {
  origin(() => voidReply);
  const late: (() => void)[] = [];
  parts.origin.kept = late;
  const pending = Array.from({ length: 40 }, () => errorOf(query('SELECT v FROM t')));
  for (const error of await Promise.all(pending)) expect(error.code).toBe(ErrorCode.READ_TIMEOUT);
  parts.origin.kept = undefined;
  // Their stream ids are not used for anything else until the node has answered.
  expect(parts.proxy.status().clusters[0]?.inFlight).toBeGreaterThanOrEqual(40);
  for (const release of late) release();
  await eventually(() => expect(parts.proxy.status().clusters[0]).toMatchObject({ name: 'origin', inFlight: 0 }));
  await eventually(async () => {
    const answered = await Promise.all(Array.from({ length: 40 }, () => query('SELECT v FROM t')));
    for (const reply of answered) expect(opcodeOf(reply)).toBe(Opcode.RESULT);
  });
  expect(parts.proxy.status().inFlight).toBe(0);
});
