import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { encodeFrame, FrameSplitter, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { encodeStartup } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { encodeRows } from '#core/cql/result-message.ts';
import { errorCodeIn } from '../../proxy-container/src/writes/outcome.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
const MIB = 1024 * 1024;

beforeEach(async () => {
  vi.setConfig({ testTimeout: 120_000 });
  const slowly = { requestTimeoutMs: 100_000 };
  parts = await startTestProxy({}, { originConfig: { ...slowly, connectionsPerHost: 1 }, targetConfig: slowly });
  parts.origin.keepsRequests = false;
});
afterEach(() => parts.stop());

const counter = (name: string): number => parts.proxy.status().counters[name] ?? 0;
const query = (streamId: number, text = 'SELECT v FROM ks.t'): Buffer =>
  encodeFrame(
    { version: 4, isResponse: false, flags: 0, streamId, opcode: Opcode.QUERY },
    encodeQuery(text, { consistency: 1, values: [] }, 4),
  );

test('a client that floods leaves room for others: nobody else is refused', async () => {
  const [flooding, neighbour] = [await parts.connect(), await parts.connect()];
  parts.origin.kept = [];
  const codes: number[] = [];
  const others: number[] = [];
  const into = (list: number[]) => ({
    onReply: (frame: Buffer) => void list.push(opcodeOf(frame) === Opcode.RESULT ? 0 : errorCodeIn(frame)!),
    onLost: () => void list.push(-1),
  });
  const floodCount = 4000;
  for (let count = 0; count < floodCount; count++) flooding.send(query(0), into(codes), 100_000);
  await eventually(() => expect(counter('inFlightReads') + codes.length).toBe(floodCount));
  expect(codes.length).toBeGreaterThan(1000);
  for (let count = 0; count < 500; count++) neighbour.send(query(0), into(others), 100_000);
  await eventually(() => expect(counter('inFlightReads') + codes.length).toBe(floodCount + 500));
  expect(others).toEqual([]);
  const { kept } = parts.origin;
  parts.origin.kept = undefined;
  for (const answer of kept) answer();
  await eventually(() => expect(others.length + codes.length).toBe(floodCount + 500));
  expect(new Set(others)).toEqual(new Set([0]));
  expect(new Set(codes)).toEqual(new Set([0, ErrorCode.OVERLOADED]));
});

test('a client that does not read is told OVERLOADED in place of what has no room, and has one answer to each request', async () => {
  const row = [[Buffer.alloc(MIB, 'x')]];
  const columns = [{ keyspace: 'ks', table: 't', name: 'v', type: { kind: 'native', name: 'blob' } as const }];
  const body = encodeRows({ columnCount: 1, columns }, row);
  parts.origin.handlers.set(Opcode.QUERY, () => ({ opcode: Opcode.RESULT, body }));
  const socket = connectTcp(parts.port, '127.0.0.1');
  const seen = new Map<number, number>();
  const splitter = new FrameSplitter();
  socket.on('data', (chunk) =>
    splitter.push(chunk, (frame) => {
      const code = opcodeOf(frame) === Opcode.ERROR ? errorCodeIn(frame)! : 0;
      expect(seen.has(streamIdOf(frame))).toBe(false);
      seen.set(streamIdOf(frame), code);
    }),
  );
  await once(socket, 'connect');
  const startup = encodeStartup(new Map([['CQL_VERSION', '3.0.0']]));
  socket.write(encodeFrame({ version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.STARTUP }, startup));
  await eventually(() => expect(seen.size).toBe(1));
  socket.pause();
  const count = 120;
  // At once: a client that falls behind is not read any more.
  socket.write(Buffer.concat(Array.from({ length: count }, (_, index) => query(index + 1))));
  await eventually(() => expect(counter('answersWithheld')).toBeGreaterThan(10));
  await eventually(() => expect(counter('inFlightReads')).toBe(0));
  const metrics = await (await fetch(`${parts.adminUrl}/metrics`)).text();
  const waiting = Number(/^ringshift_client_backlog_bytes (\d+)/m.exec(metrics)?.[1]);
  expect(waiting).toBeGreaterThan(20 * MIB);
  // 32 MiB, and what one turn of the event loop brings, of 120.
  expect(waiting).toBeLessThan(48 * MIB);
  socket.resume();
  await eventually(() => expect(seen.size).toBe(count + 1));
  const withheld = [...seen.values()].filter((code) => code === ErrorCode.OVERLOADED).length;
  expect(withheld).toBe(counter('answersWithheld'));
  expect([...seen.values()].filter((code) => code === 0)).toHaveLength(count + 1 - withheld);
  await eventually(() => expect(parts.proxy.status().counters['slowClientsClosed']).toBe(0));
  socket.destroy();
});
