import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { encodeFrame, FrameSplitter, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { Flusher } from '../../proxy-container/src/transport/frame-writer.ts';
import { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';

const server = createServer();
const sockets: Socket[] = [];
let answers: (opcode: number) => boolean = () => true;
const seen: number[] = [];

beforeEach(async () => {
  seen.length = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.removeAllListeners('connection').on('connection', (socket: Socket) => {
    sockets.push(socket);
    const splitter = new FrameSplitter();
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) =>
      splitter.push(chunk, (frame) => {
        seen.push(opcodeOf(frame));
        if (!answers(opcodeOf(frame))) return;
        const header = { version: 4, isResponse: true, flags: 0, streamId: streamIdOf(frame), opcode: Opcode.RESULT };
        socket.write(encodeFrame(header, Buffer.alloc(4)));
      }),
    );
  });
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

const open = (heartbeatMs: number): Promise<UpstreamConnection> => {
  const { port } = server.address() as AddressInfo;
  const address = { host: '127.0.0.1', port, connectTimeoutMs: 20_000, heartbeatMs };
  return UpstreamConnection.open(address, 4, new Flusher());
};

test('a silent node is asked whether it is there, again and again', async () => {
  answers = () => true;
  // Long enough for an answer that a busy machine holds up.
  const connection = await open(1500);
  await eventually(() => expect(seen.filter((opcode) => opcode === Opcode.OPTIONS).length).toBeGreaterThan(1));
  expect(connection.isClosed).toBe(false);
  connection.close();
});

test('a node that does not answer that is given up, and requests under way are told', async () => {
  answers = () => false;
  const connection = await open(200);
  const request = connection.request(Opcode.QUERY, 0, Buffer.alloc(4), 60_000);
  await expect(request).rejects.toThrow(/connection was lost/);
  expect(connection.isClosed).toBe(true);
});

test('a handler that fails neither closes the connection nor keeps the reply behind it from its own', async () => {
  answers = () => true;
  const faults: unknown[] = [];
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => faults.push(error));
  try {
    const connection = await open(60_000);
    const frame = encodeFrame(
      { version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.QUERY },
      Buffer.alloc(4),
    );
    const onReply = () => {
      throw new Error('a fault of one handler');
    };
    connection.send(frame, { onReply, onLost: onReply }, 20_000);
    const second = await connection.request(Opcode.QUERY, 0, Buffer.alloc(4), 20_000);
    expect(opcodeOf(second)).toBe(Opcode.RESULT);
    expect(connection.isClosed).toBe(false);
    await eventually(() => expect(faults).toHaveLength(1));
    connection.close();
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const listener of others) process.on('uncaughtException', listener);
  }
});
