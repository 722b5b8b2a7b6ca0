import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { plainAuthenticator } from '#adapters/cql/authenticator.ts';
import { type Connection, type ConnectionOptions, openConnection } from '#adapters/cql/connection.ts';
import { encodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import {
  decodeAuthToken,
  decodePlainToken,
  encodeAuthenticate,
  encodeAuthToken,
} from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeVoid } from '#core/cql/result-message.ts';
import {
  AuthenticationFailedError,
  ClusterUnreachableError,
  ProtocolError,
  RequestTimeoutError,
} from '#core/errors.ts';
import { type StubHandler, type StubNode, startStubNode } from '../../support/stub-node.ts';

const nodes: StubNode[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  for (const connection of connections.splice(0)) connection.close();
  await Promise.all(nodes.splice(0).map((node) => node.close()));
});

async function open(handler: StubHandler, changes: Partial<ConnectionOptions> = {}): Promise<[Connection, StubNode]> {
  const node = await startStubNode(handler);
  nodes.push(node);
  const connection = await openConnection({
    node: { cluster: 'origin', host: '127.0.0.1', port: node.port },
    connectTimeoutMs: 5000,
    requestTimeoutMs: 5000,
    protocolVersion: 5,
    minProtocolVersion: 3,
    ...changes,
  });
  connections.push(connection);
  return [connection, node];
}

const echo: StubHandler = ({ opcode, body }) =>
  opcode === Opcode.QUERY ? { opcode: Opcode.RESULT, body: Buffer.from(body) } : undefined;

test('goes down to the version that the server speaks', async () => {
  const [connection, node] = await open(echo);
  expect(connection.protocolVersion).toBe(4);
  expect(node.startups).toEqual([5, 4]);
});

test('hands each reply to the one who asked, undecoded', async () => {
  const [connection] = await open(echo);
  const bodies = Array.from({ length: 300 }, (_, index) => Buffer.from(`request ${index}`));
  const frames = await Promise.all(bodies.map((body) => connection.request(Opcode.QUERY, body)));
  expect(frames.map((frame) => bodyOf(frame).toString())).toEqual(bodies.map(String));
  expect(connection.inFlight).toBe(0);
});

test('sends a body in parts as one', async () => {
  const [connection] = await open(echo);
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  connection.send(Opcode.QUERY, 0, [Buffer.from('in '), Buffer.from('two')], (_, frame) => resolve(frame!));
  expect(bodyOf(await promise).toString()).toBe('in two');
});

test('refuses more requests in flight than it may have, and takes new ones when a reply frees a place', async () => {
  const held: (() => void)[] = [];
  const [connection] = await open(
    ({ opcode, socket }) => {
      if (opcode === Opcode.QUERY) {
        const streamId = held.length;
        const header = { version: 4, isResponse: true, flags: 0, streamId, opcode: Opcode.RESULT };
        held.push(() => socket.write(encodeFrame(header, encodeVoid())));
      }
      return undefined;
    },
    { maxInFlight: 2 },
  );
  const replies: number[] = [];
  const send = (): boolean =>
    connection.send(Opcode.QUERY, 0, Buffer.from('q'), (_, frame) => void (frame && replies.push(streamIdOf(frame))));
  expect([send(), send(), send()]).toEqual([true, true, false]);
  await expect.poll(() => held.length).toBe(2);
  held[1]!();
  await expect.poll(() => replies).toEqual([1]);
  expect(send()).toBe(true);
});

test('a request without an answer ends in RequestTimeoutError, and its late reply goes to nobody else', async () => {
  let answerLate: (() => void) | undefined;
  const [connection] = await open(({ opcode, body, socket }) => {
    if (opcode !== Opcode.QUERY) return undefined;
    if (body.toString() !== 'slow') return { opcode: Opcode.RESULT, body: Buffer.from(body) };
    const header = { version: 4, isResponse: true, flags: 0, streamId: 0, opcode: Opcode.RESULT };
    answerLate = () => socket.write(encodeFrame(header, Buffer.from('late')));
    return undefined;
  });
  await expect(connection.request(Opcode.QUERY, Buffer.from('slow'), 30)).rejects.toThrow(RequestTimeoutError);
  const before = await connection.request(Opcode.QUERY, Buffer.from('next'));
  expect(streamIdOf(before)).not.toBe(0);
  answerLate!();
  const after = await connection.request(Opcode.QUERY, Buffer.from('after'));
  expect(bodyOf(after).toString()).toBe('after');
});

test('when the server goes, every request in flight fails once and the owner is told once', async () => {
  const closings: Error[] = [];
  const [connection, node] = await open(() => undefined, { onClose: (error) => void closings.push(error) });
  const requests = [1, 2, 3].map(() => connection.request(Opcode.QUERY, Buffer.from('q')).catch((error) => error));
  await expect.poll(() => node.sockets.size).toBe(1);
  for (const socket of node.sockets) socket.destroy();
  const errors = await Promise.all(requests);
  expect(errors.every((error) => error instanceof ClusterUnreachableError)).toBe(true);
  expect([closings.length, connection.isOpen, connection.inFlight]).toEqual([1, false, 0]);
  expect(connection.send(Opcode.QUERY, 0, Buffer.from('q'), () => undefined)).toBe(false);
});

test('frames that nobody asked for go to onEvent', async () => {
  const events: Buffer[] = [];
  const [connection] = await open(
    ({ opcode, socket }) => {
      if (opcode !== Opcode.REGISTER) return undefined;
      const header = { version: 4, isResponse: true, flags: 0, streamId: -1, opcode: Opcode.EVENT };
      socket.write(encodeFrame(header, Buffer.from('event')));
      return { opcode: Opcode.READY, body: Buffer.alloc(0) };
    },
    { onEvent: (frame) => void events.push(frame) },
  );
  await connection.register(['SCHEMA_CHANGE']);
  expect(events.map((frame) => [opcodeOf(frame), bodyOf(frame).toString()])).toEqual([[Opcode.EVENT, 'event']]);
});

describe('the SASL exchange', () => {
  const askFor = (accept: (token: Buffer) => boolean): StubHandler => {
    return ({ opcode, body }) => {
      if (opcode === Opcode.STARTUP)
        return { opcode: Opcode.AUTHENTICATE, body: encodeAuthenticate('PasswordAuthenticator') };
      if (opcode !== Opcode.AUTH_RESPONSE) return undefined;
      if (accept(decodeAuthToken(body)!))
        return { opcode: Opcode.AUTH_SUCCESS, body: encodeAuthToken(Buffer.from('bye')) };
      const error = { code: ErrorCode.AUTH_ERROR, message: 'Provided username and/or password are incorrect' };
      return { opcode: Opcode.ERROR, body: encodeError(error, 4) };
    };
  };
  const isRight = (token: Buffer): boolean => decodePlainToken(token)?.password === 'right';

  test('sends PLAIN credentials and keeps the last token', async () => {
    const [connection] = await open(askFor(isRight), { authenticator: plainAuthenticator('me', 'right') });
    expect(connection.authSuccessToken?.toString()).toBe('bye');
  });

  test('ends in AuthenticationFailedError, without the password, when they are refused', async () => {
    const opening = open(askFor(isRight), { authenticator: plainAuthenticator('me', 'secret-one') });
    const error = await opening.catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(AuthenticationFailedError);
    expect(JSON.stringify([error, (error as Error).message])).not.toContain('secret-one');
  });

  test('says what to configure when there are none', async () => {
    await expect(open(askFor(isRight))).rejects.toThrow(/set origin.auth/);
  });
});

test('something that is no CQL server is told apart', async () => {
  const opening = open(
    ({ socket }) => {
      socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
      return undefined;
    },
    { protocolVersion: 4 },
  );
  await expect(opening).rejects.toThrow(ProtocolError);
});

test('a server that accepts and says nothing is given up after the connect time-out', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const opening = openConnection({
    node: { cluster: 'origin', host: '127.0.0.1', port },
    connectTimeoutMs: 50,
    requestTimeoutMs: 5000,
    protocolVersion: 4,
    minProtocolVersion: 4,
  });
  await expect(opening).rejects.toThrow(/no answer; is a firewall in between/);
  server.close();
});
