import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { encodeStartup } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
let bystander: UpstreamConnection;

beforeAll(async () => {
  parts = await startTestProxy();
  bystander = await parts.connect();
});

afterAll(() => parts.stop());

/** Sends bytes; resolves to all that came back until the proxy closed the connection. */
function exchange(...chunks: Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const received: Buffer[] = [];
    const socket: Socket = connect({ host: '127.0.0.1', port: parts.port });
    socket.setTimeout(5000, () => reject(new Error('the proxy did not close the connection')));
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      socket.destroy();
      resolve(Buffer.concat(received));
    });
    socket.on('connect', () => {
      for (const chunk of chunks) socket.write(chunk);
    });
  });
}

async function expectBystanderServed(): Promise<void> {
  const reply = await bystander.request(Opcode.QUERY, 0, encodeQuery('SELECT * FROM t', {}, 4), 5000);
  expect(opcodeOf(reply)).toBe(Opcode.RESULT);
}

const request = (opcode: number, body: Buffer, streamId = 1) =>
  encodeFrame({ version: 4, isResponse: false, flags: 0, streamId, opcode }, body);
const startup = request(Opcode.STARTUP, encodeStartup(new Map([['CQL_VERSION', '3.0.0']])));

test('an unknown version is refused with the stream id of the request and the versions that are spoken', async () => {
  const frame = Buffer.from([0x42, 0, 0x12, 0x34, Opcode.OPTIONS, 0, 0, 0, 0]);
  const reply = await exchange(frame);
  expect([opcodeOf(reply), streamIdOf(reply)]).toEqual([Opcode.ERROR, 0x1234]);
  const error = decodeError(bodyOf(reply), 4);
  expect(error.code).toBe(ErrorCode.PROTOCOL_ERROR);
  expect(error.message).toMatch(/unsupported protocol version \(66\).*3\/v3, 4\/v4/);
});

test.each([
  ['a body that announces 2 GiB', Buffer.from([4, 0, 0, 1, Opcode.QUERY, 0x7f, 0xff, 0xff, 0xff])],
  ['a negative length', Buffer.from([4, 0, 0, 1, Opcode.QUERY, 0xff, 0xff, 0xff, 0xff])],
  ['a response', Buffer.from([0x84, 0, 0, 1, Opcode.READY, 0, 0, 0, 0])],
  ['a request before STARTUP', request(Opcode.QUERY, encodeQuery('SELECT * FROM t', {}, 4))],
  ['a negative stream id', request(Opcode.OPTIONS, Buffer.alloc(0), -5)],
])('%s closes that connection with ERROR PROTOCOL, and no other', async (_, frame) => {
  const reply = await exchange(frame);
  expect(opcodeOf(reply)).toBe(Opcode.ERROR);
  expect(decodeError(bodyOf(reply), 4).code).toBe(ErrorCode.PROTOCOL_ERROR);
  await expectBystanderServed();
});

test('broken bodies of every request harm nobody else', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(
        Opcode.QUERY,
        Opcode.PREPARE,
        Opcode.EXECUTE,
        Opcode.BATCH,
        Opcode.REGISTER,
        Opcode.AUTH_RESPONSE,
      ),
      fc.uint8Array({ maxLength: 40 }),
      async (opcode, body) => {
        const socket = connect({ host: '127.0.0.1', port: parts.port });
        socket.on('error', () => undefined);
        const first = new Promise((resolve) => socket.once('data', resolve));
        socket.write(startup);
        await first;
        const second = new Promise((resolve) => socket.once('data', resolve).once('close', resolve));
        socket.write(request(opcode, Buffer.from(body)));
        await second;
        socket.destroy();
      },
    ),
    { numRuns: 60 },
  );
  await expectBystanderServed();
}, 60_000);
