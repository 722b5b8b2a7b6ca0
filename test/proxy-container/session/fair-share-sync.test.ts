import { afterEach, expect, test } from 'vitest';
import { encodeFrame, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { errorCodeIn } from '../../../proxy-container/src/writes/outcome.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';

let parts: TestProxy;
afterEach(() => parts.stop());

test('in dual-sync a client that floods a slow target leaves room there for the writes of others', async () => {
  const cluster = { requestTimeoutMs: 100_000, connectionsPerHost: 1 };
  parts = await startTestProxy({ initialPhase: 'dual-sync' }, { originConfig: cluster, targetConfig: cluster });
  for (const one of [parts.origin, parts.target]) one.keepsRequests = false;
  const [flooding, neighbour] = [await parts.connect(), await parts.connect()];
  const write = encodeFrame(
    { version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.QUERY },
    encodeQuery('INSERT INTO ks.t (id, v) VALUES (1, 2)', { consistency: 1, values: [] }, 4),
  );
  const first = await flooding.request(
    Opcode.QUERY,
    0,
    encodeQuery('INSERT INTO ks.t (id, v) VALUES (1, 2)', {}, 4),
    20_000,
  );
  expect(opcodeOf(first)).toBe(Opcode.RESULT);
  parts.target.kept = [];
  const codes: number[] = [];
  const others: number[] = [];
  const into = (list: number[]) => ({
    onReply: (frame: Buffer) => void list.push(opcodeOf(frame) === Opcode.RESULT ? 0 : errorCodeIn(frame)),
    onLost: () => void list.push(-1),
  });
  const inFlight = (): number => parts.proxy.status().counters['inFlightWrites'] ?? 0;
  // The origin has answered each wave before the next one comes.
  const atOrigin = (): number => parts.proxy.status().clusters.find(({ name }) => name === 'origin')!.inFlight;
  for (let sent = 500; sent <= 4000; sent += 500) {
    for (let count = 0; count < 500; count++) flooding.send(write, into(codes), 100_000);
    await eventually(() => expect(inFlight() + codes.length).toBe(sent));
    await eventually(() => expect(atOrigin()).toBe(0));
  }
  for (let count = 0; count < 500; count++) neighbour.send(write, into(others), 100_000);
  await eventually(() => expect(inFlight() + codes.length + others.length).toBe(4500));
  const { kept } = parts.target;
  parts.target.kept = undefined;
  for (const answer of kept) answer();
  await eventually(() => expect(others.length + codes.length).toBe(4500));
  expect(new Set(others)).toEqual(new Set([0]));
  expect(new Set(codes)).toEqual(new Set([0, ErrorCode.OVERLOADED]));
});
