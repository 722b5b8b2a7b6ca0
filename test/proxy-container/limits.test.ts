import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, opcodeOf, streamIdOf, versionOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
beforeAll(async () => {
  parts = await startTestProxy({ maxClients: 2 });
});
afterAll(() => parts.stop());

/** What a client hears that sends one frame, byte by byte or at once. */
async function hear(version: number, opcode: number, streamId: number, piece = 100): Promise<Buffer> {
  const socket = connectTcp(parts.port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  const frame = encodeFrame({ version, isResponse: false, flags: 0, streamId, opcode }, Buffer.alloc(20));
  for (let at = 0; at < frame.length; at += piece) {
    socket.write(frame.subarray(at, at + piece));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  return Buffer.concat(chunks);
}

test.each([
  [3, Opcode.OPTIONS, 0, 100],
  [4, Opcode.STARTUP, 7, 1],
  [5, Opcode.OPTIONS, 300, 4],
  [66, Opcode.OPTIONS, 1, 100],
])(
  'a client too many that begins in v%i is told OVERLOADED in its own words',
  async (version, opcode, streamId, piece) => {
    const first = await parts.connect();
    const second = await parts.connect();
    await eventually(() => expect(parts.proxy.status().clients).toBe(2));
    const reply = await hear(version, opcode, streamId, piece);
    expect(opcodeOf(reply)).toBe(Opcode.ERROR);
    expect(streamIdOf(reply)).toBe(streamId);
    expect(versionOf(reply)).toBe(Math.min(version, 5));
    expect(decodeError(bodyOf(reply), versionOf(reply))).toMatchObject({
      code: ErrorCode.OVERLOADED,
      message: expect.stringContaining('proxy.maxClients'),
    });
    first.close();
    second.close();
    await eventually(() => expect(parts.proxy.status().clients).toBe(0));
    const third = await parts.connect();
    third.close();
    await eventually(() => expect(parts.proxy.status().clients).toBe(0));
  },
);

test('whoever is told to stop is not ready at once, answers what is under way, and tells new requests to go elsewhere', async () => {
  const draining = await startTestProxy();
  try {
    const client = await draining.connect();
    draining.origin.kept = [];
    const query = (text: string) =>
      client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000).then(
        (frame) => (opcodeOf(frame) === Opcode.ERROR ? decodeError(bodyOf(frame), 4) : 'answered'),
        (error: unknown) => error,
      );
    const hanging = query('SELECT a FROM ks.t');
    await eventually(() => expect(draining.origin.seen).toHaveLength(1));
    const stopped = draining.proxy.stop();
    const health = await fetch(`${draining.adminUrl}/health/ready`);
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({
      Status: 'DOWN',
      reasons: expect.arrayContaining(['the proxy is shutting down']),
    });
    expect((await fetch(`${draining.adminUrl}/health/live`)).status).toBe(200);
    expect(await query('SELECT a FROM ks.t')).toMatchObject({
      code: ErrorCode.OVERLOADED,
      message: 'Shutting down, please retry on next host.',
    });
    const answers = draining.origin.kept;
    draining.origin.kept = undefined;
    for (const answer of answers) answer();
    expect(await hanging).toBe('answered');
    await stopped;
  } finally {
    await draining.stop();
  }
});
