import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressBody } from '#core/cql/compression.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, FrameSplitter, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { encodeStartup } from '#core/cql/handshake-messages.ts';
import { ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { encodeSegments } from '#core/cql/segment.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
let bystander: UpstreamConnection;

beforeAll(async () => {
  parts = await startTestProxy({}, { maxVersion: 5 });
  bystander = await parts.connect();
});

afterAll(() => parts.stop());

/** Sends bytes; resolves to all that came back until the proxy closed the connection. */
function exchange(...chunks: Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const received: Buffer[] = [];
    const socket: Socket = connect({ host: '127.0.0.1', port: parts.port });
    socket.setTimeout(20_000, () => reject(new Error('the proxy did not close the connection')));
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
  const reply = await bystander.request(Opcode.QUERY, 0, encodeQuery('SELECT * FROM t', {}, 4), 20_000);
  expect(opcodeOf(reply)).toBe(Opcode.RESULT);
}

const request = (opcode: number, body: Buffer, streamId = 1, version = 4, flags = 0) =>
  encodeFrame({ version, isResponse: false, flags, streamId, opcode }, body);
const startupOf = (version: number, more: [string, string][] = []) =>
  request(Opcode.STARTUP, encodeStartup(new Map([['CQL_VERSION', '3.0.0'], ...more])), 1, version);

/** Logs in, then sends; resolves when something came back or the connection was closed. */
async function afterLogin(version: number, bytes: Buffer, more: [string, string][] = []): Promise<Buffer> {
  const socket = connect({ host: '127.0.0.1', port: parts.port });
  socket.on('error', () => undefined);
  const next = (): Promise<Buffer> =>
    new Promise((resolve) => {
      socket.once('data', resolve).once('close', () => resolve(Buffer.alloc(0)));
    });
  const ready = next();
  socket.write(startupOf(version, more));
  expect(opcodeOf(await ready)).toBe(Opcode.READY);
  const reply = next();
  socket.write(bytes);
  const received = await reply;
  socket.destroy();
  return received;
}

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

test.each([3, 4, 5])(
  'v%i: broken bodies of every request harm nobody else',
  async (version) => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(
          Opcode.QUERY,
          Opcode.PREPARE,
          Opcode.EXECUTE,
          Opcode.BATCH,
          Opcode.REGISTER,
          Opcode.AUTH_RESPONSE,
          Opcode.STARTUP,
        ),
        fc.constantFrom(0, FrameFlag.CUSTOM_PAYLOAD, FrameFlag.TRACING, FrameFlag.COMPRESSION),
        fc.uint8Array({ maxLength: 40 }),
        async (opcode, flags, body) => {
          const frame = request(opcode, Buffer.from(body), 1, version, flags);
          await afterLogin(version, version >= 5 ? Buffer.concat(encodeSegments([frame], 'none')) : frame);
        },
      ),
      { numRuns: 40 },
    );
    await expectBystanderServed();
  },
  60_000,
);

const [segment] = encodeSegments([request(Opcode.QUERY, encodeQuery('SELECT * FROM t', {}, 5), 1, 5)], 'none');
const broken = (at: number): Buffer => {
  const copy = Buffer.from(segment!);
  copy[at] = copy[at]! ^ 0xff;
  return copy;
};

test.each([
  ['a header whose CRC24 is wrong', broken(3)],
  ['a header with another length', broken(0)],
  ['a payload whose CRC32 is wrong', broken(segment!.length - 1)],
  ['a payload with another byte', broken(12)],
  ['a frame that is not in a segment', request(Opcode.QUERY, encodeQuery('SELECT * FROM t', {}, 5), 1, 5)],
])('v5: %s closes that connection with ERROR PROTOCOL, and no other', async (_, bytes) => {
  const reply = await afterLogin(5, bytes);
  // In a segment, behind its header of six bytes.
  expect(decodeError(reply.subarray(6 + 9, -4), 5).code).toBe(ErrorCode.PROTOCOL_ERROR);
  await expectBystanderServed();
});

test('v5: a client that stops at any byte of a segment and goes away harms nobody', async () => {
  for (let end = 1; end < segment!.length; end++) {
    const socket = connect({ host: '127.0.0.1', port: parts.port });
    socket.on('error', () => undefined);
    const ready = new Promise((resolve) => socket.once('data', resolve));
    socket.write(startupOf(5));
    await ready;
    await new Promise((resolve) => socket.write(segment!.subarray(0, end), resolve));
    socket.destroy();
  }
  await expectBystanderServed();
});

test('an answer to a login step that was never asked for closes that connection', async () => {
  const token = request(Opcode.AUTH_RESPONSE, Buffer.from([0, 0, 0, 0]), 2);
  const reply = await exchange(startupOf(4), token, token, token);
  expect(reply.length).toBeGreaterThan(0);
  await expectBystanderServed();
});

test.each([
  [3, 'lz4'],
  [3, 'snappy'],
  [4, 'lz4'],
  [4, 'snappy'],
] as const)('a v%i client that compresses with %s is served', async (version, compression) => {
  const texts = ['SELECT * FROM t', `SELECT * FROM t WHERE v = '${'long '.repeat(2000)}'`];
  for (const text of texts) {
    const body = compressBody(encodePrepare(text, version), compression);
    const frame = request(Opcode.PREPARE, body, 7, version, FrameFlag.COMPRESSION);
    const reply = await afterLogin(version, frame, [['COMPRESSION', compression]]);
    let prepared: Buffer | undefined;
    new FrameSplitter().push(reply, (one) => {
      prepared = one;
    });
    expect([opcodeOf(prepared!), streamIdOf(prepared!)]).toEqual([Opcode.RESULT, 7]);
    expect(parts.origin.texts(Opcode.PREPARE)).toContain(text);
  }
});

test('a compressed body that is none closes that connection alone', async () => {
  for (const compression of ['lz4', 'snappy'] as const) {
    const frame = request(Opcode.QUERY, Buffer.from([0x7f, 0xff, 0xff, 0xff, 1, 2, 3]), 7, 4, FrameFlag.COMPRESSION);
    const reply = await afterLogin(4, frame, [['COMPRESSION', compression]]);
    expect(decodeError(bodyOf(reply), 4).code).toBe(ErrorCode.PROTOCOL_ERROR);
  }
  await expectBystanderServed();
});
