import { afterAll, beforeAll, expect, test } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeBatchTail, encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
let client: UpstreamConnection;
let select: Buffer;
let insert: Buffer;
const replies = new Map<string, Promise<Buffer>>();

/** Takes requests and never answers them. */
function hang(isHanging: boolean): void {
  for (const cluster of [parts.origin, parts.target]) {
    for (const opcode of [Opcode.QUERY, Opcode.PREPARE, Opcode.EXECUTE, Opcode.BATCH]) {
      if (isHanging) cluster.handlers.set(opcode, () => undefined);
      else cluster.handlers.delete(opcode);
    }
  }
}

beforeAll(async () => {
  const short = { requestTimeoutMs: 2000 };
  parts = await startTestProxy({}, { originConfig: short, targetConfig: short });
  client = await parts.connect();
  const prepare = async (text: string): Promise<Buffer> => {
    const result = decodeResult(bodyOf(await client.request(Opcode.PREPARE, 0, encodePrepare(text, 4), 20_000)), 4);
    if (result.kind !== 'prepared') throw new Error(`it was answered with ${result.kind}`);
    return Buffer.from(result.prepared.id);
  };
  select = await prepare('SELECT * FROM ks.t');
  insert = await prepare("INSERT INTO ks.t (id, v) VALUES (1, 'v')");
  hang(true);
  // All at once, so that the tests wait once.
  for (const [name, opcode, body] of requests) {
    const reply = client.request(opcode, 0, body(), 20_000);
    reply.catch(() => undefined);
    replies.set(name, reply);
  }
});

afterAll(() => parts.stop());

const query = (text: string) => encodeQuery(text, {}, 4);
const batch = () =>
  Buffer.concat([
    new BodyWriter().byte(1).short(1).byte(1).shortBytes(insert).short(0).toBuffer(),
    encodeBatchTail({}, 4),
  ]);

const requests: [name: string, opcode: number, body: () => Buffer, code: number][] = [
  ['a read as text', Opcode.QUERY, () => query('SELECT * FROM ks.t'), ErrorCode.READ_TIMEOUT],
  ['a read that was prepared', Opcode.EXECUTE, () => encodeExecute(select, {}, 4), ErrorCode.READ_TIMEOUT],
  ['a write as text', Opcode.QUERY, () => query('DELETE FROM ks.t WHERE id = 1'), ErrorCode.WRITE_TIMEOUT],
  ['a write that was prepared', Opcode.EXECUTE, () => encodeExecute(insert, {}, 4), ErrorCode.WRITE_TIMEOUT],
  ['a batch', Opcode.BATCH, batch, ErrorCode.WRITE_TIMEOUT],
  [
    'a conditional write',
    Opcode.QUERY,
    () => query('DELETE FROM ks.t WHERE id = 1 IF EXISTS'),
    ErrorCode.WRITE_TIMEOUT,
  ],
  ['PREPARE', Opcode.PREPARE, () => encodePrepare('SELECT v FROM ks.t', 4), ErrorCode.SERVER_ERROR],
];

test.each(requests)(
  '%s on a cluster that hangs is answered once, with a time-out',
  async (name, _opcode, _body, code) => {
    const reply = await replies.get(name)!;
    expect(opcodeOf(reply)).toBe(Opcode.ERROR);
    expect(decodeError(bodyOf(reply), 4).code).toBe(code);
  },
);

test.each([
  ['OPTIONS', Opcode.OPTIONS, Buffer.alloc(0), Opcode.SUPPORTED],
  ['REGISTER', Opcode.REGISTER, new BodyWriter().stringList(['SCHEMA_CHANGE']).toBuffer(), Opcode.READY],
] as const)('%s needs no cluster', async (_, opcode, body, answer) => {
  expect(opcodeOf(await client.request(opcode, 0, body, 20_000))).toBe(answer);
});

test('the connection serves on when the cluster answers again', async () => {
  hang(false);
  const reply = await client.request(Opcode.EXECUTE, 0, encodeExecute(select, {}, 4), 20_000);
  expect(opcodeOf(reply)).toBe(Opcode.RESULT);
});
