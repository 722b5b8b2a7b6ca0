import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { encodeStartup } from '#core/cql/handshake-messages.ts';
import { ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import { Login } from '../../../proxy-container/src/session/login.ts';
import { NO_LOGINS } from '../../../proxy-container/src/session/login-policy.ts';
import { type Clusters, SessionUpstreams } from '../../../proxy-container/src/session/session-upstreams.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';

let world: TestProxy;

beforeAll(async () => {
  world = await startTestProxy({}, { maxVersion: 5 });
});

afterAll(() => world.stop());

const STARTUP = new Map([['CQL_VERSION', '3.0.0']]);
const request = (version: number, opcode: number, body: Buffer, flags = 0): Buffer =>
  encodeFrame({ version, isResponse: false, flags, streamId: 1, opcode }, body);

/** A client that sends pieces, each once the one before has arrived, and gets one answer for all of them. */
async function ask(socket: ReturnType<typeof connect>, pieces: readonly Buffer[]): Promise<Buffer> {
  const answer = new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve).once('close', () => reject(new Error('closed without an answer')));
  });
  answer.catch(() => undefined);
  for (const piece of pieces) {
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
    // The proxy reads in this process: by then it has seen the piece.
    for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return answer;
}

async function open(): Promise<ReturnType<typeof connect>> {
  const socket = connect({ host: '127.0.0.1', port: world.port, noDelay: true });
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
  return socket;
}

test.each([3, 4, 5])('v%i: the first frame may come in pieces', async (version) => {
  const socket = await open();
  const frame = request(version, Opcode.STARTUP, encodeStartup(STARTUP));
  const pieces = [
    frame.subarray(0, 1),
    frame.subarray(1, 6),
    frame.subarray(6, 9),
    frame.subarray(9, 12),
    frame.subarray(12),
  ];
  const reply = await ask(socket, pieces);
  expect([opcodeOf(reply), streamIdOf(reply)]).toEqual([Opcode.READY, 1]);
  socket.destroy();
});

test('before the login nobody can make the proxy hold a large body', async () => {
  const socket = await open();
  const header = request(4, Opcode.STARTUP, Buffer.alloc(0));
  header.writeInt32BE(1024 * 1024, 5);
  const reply = await ask(socket, [header]);
  expect(opcodeOf(reply)).toBe(Opcode.ERROR);
  expect(decodeError(bodyOf(reply), 4)).toMatchObject({ code: ErrorCode.PROTOCOL_ERROR });
  socket.destroy();
});

test.each([4, 5])('v%i: after the login bodies may be large', async (version) => {
  const client = await world.connect(version);
  const text = `INSERT INTO ks.t (id, v) VALUES (1, '${'x'.repeat(1024 * 1024)}')`;
  const reply = await client.request(Opcode.QUERY, 0, encodeQuery(text, {}, version), 20_000);
  expect(opcodeOf(reply)).toBe(Opcode.RESULT);
});

test('v3 has no custom payloads: such a request is refused here, as a node would close the shared connection', async () => {
  const socket = await open();
  await ask(socket, [request(3, Opcode.STARTUP, encodeStartup(STARTUP))]);
  const before = world.origin.seen.length;
  const body = Buffer.concat([Buffer.from([0, 0]), encodeQuery('SELECT * FROM ks.t', {}, 3)]);
  const reply = await ask(socket, [request(3, Opcode.QUERY, body, FrameFlag.CUSTOM_PAYLOAD)]);
  expect(opcodeOf(reply)).toBe(Opcode.ERROR);
  expect(decodeError(bodyOf(reply), 3)).toMatchObject({ code: ErrorCode.PROTOCOL_ERROR });
  expect(world.origin.seen.length).toBe(before);
  // The frame was whole, so the connection goes on.
  expect(opcodeOf(await ask(socket, [request(3, Opcode.QUERY, encodeQuery('SELECT * FROM ks.t', {}, 3))]))).toBe(
    Opcode.RESULT,
  );
  socket.destroy();
});

test('a client that leaves while its node is being connected leaves no connection behind', async () => {
  const close = vi.fn();
  const startup = vi.fn(() => new Promise<Buffer>(() => undefined));
  const connected = Promise.withResolvers<unknown>();
  const cluster = { config: { connectTimeoutMs: 1000 }, connect: () => connected.promise };
  const login = new Login({
    clusters: { origin: cluster, target: cluster } as unknown as Clusters,
    logins: NO_LOGINS,
    phase: () => 'origin-only',
    logger: createLogger('test', 'silent'),
    version: 4,
    startup: STARTUP,
  });
  const started = login.start();
  login.abandon();
  connected.resolve({ close, startup });
  await expect(started).rejects.toThrow(/client/);
  expect(close).toHaveBeenCalledOnce();
  expect(startup).not.toHaveBeenCalled();
});

test('a node that takes a connection and no login, while a statement is prepared there again, keeps none', async () => {
  const close = vi.fn();
  const connection = { close, startup: () => Promise.reject(new Error('no login')) };
  const pool = { identity: { startup: STARTUP }, connections: [], addUser: () => undefined };
  const config = { requestTimeoutMs: 1000, connectTimeoutMs: 1000 };
  const cluster = { config, pool: () => pool, connectTo: async () => connection };
  const upstreams = new SessionUpstreams({ origin: cluster, target: cluster } as unknown as Clusters, {
    version: 4,
    startup: STARTUP,
    credentials: { origin: undefined, target: undefined },
    primary: () => 'origin',
  });
  const entry = new PreparedStatements().entryOf('SELECT * FROM ks.t', undefined);
  const near = { host: '127.0.0.2' } as UpstreamConnection;
  await expect(upstreams.prepare('origin', entry, false, near)).rejects.toThrow('no login');
  expect(close).toHaveBeenCalledOnce();
});
