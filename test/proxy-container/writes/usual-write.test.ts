import { afterEach, expect, test, vi } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { writeOf } from '../../support/messages.ts';
import { errorReply, type MockCluster, type SeenRequest, voidReply } from '../../support/mock-cluster.ts';

const INSERT = 'INSERT INTO ks.t (id, v) VALUES (?, ?)';
const VALUES = [Buffer.from([0, 0, 0, 1]), Buffer.from('x')];

let parts: TestProxy;
let client: UpstreamConnection;
let id: Buffer;

interface Times {
  readonly shadowTimeoutMs?: number;
  /** Of the origin. */
  readonly requestTimeoutMs?: number;
}

/** Both clusters know the statement afterwards, so that what follows is the usual write. */
async function begin(version = 4, phase = 'dual-async', times: Times = {}): Promise<void> {
  // Nothing is given up before its time, also on a busy machine.
  const { shadowTimeoutMs = 15_000, requestTimeoutMs = 15_000 } = times;
  parts = await startTestProxy(
    { initialPhase: phase, shadowTimeoutMs },
    { maxVersion: version === 5 ? 5 : 4, originConfig: { requestTimeoutMs } },
  );
  client = await parts.connect(version);
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(INSERT, version), 20_000);
  const result = decodeResult(bodyOf(reply), version);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  id = result.prepared.id;
  await execute();
  if (phase === 'dual-async') await eventually(() => expect(writesOf(parts.target)).toHaveLength(1));
}

const execute = (timestampMicros?: bigint): Promise<Buffer> => {
  const options = { values: VALUES, ...(timestampMicros === undefined ? {} : { timestampMicros }) };
  return client.request(Opcode.EXECUTE, 0, encodeExecute(id, options, client.version), 20_000);
};

const writesOf = (cluster: MockCluster): SeenRequest[] =>
  cluster.seen.filter(({ text }) => text === INSERT).filter(({ opcode }) => opcode === Opcode.EXECUTE);
const counters = (): Record<string, unknown> => parts.proxy.status().counters as Record<string, unknown>;

/** Nothing is counted as under way any more, so a change of phase would not wait. */
const settled = (): Promise<void> =>
  eventually(() => expect(counters()).toMatchObject({ inFlightWrites: 0, shadowInFlight: 0, shadowBytes: 0 }));

afterEach(() => parts.stop());

test.each([4, 5])(
  'v%i: both clusters get the values with one timestamp, each under its own id of the statement',
  async (version) => {
    await begin(version);
    for (let round = 0; round < 20; round++) expect(opcodeOf(await execute())).toBe(Opcode.RESULT);
    await eventually(() => expect(writesOf(parts.target)).toHaveLength(21));
    const [origin, target] = [writesOf(parts.origin), writesOf(parts.target)];
    expect(target.map(({ timestampMicros }) => timestampMicros)).toEqual(
      origin.map(({ timestampMicros }) => timestampMicros),
    );
    expect(new Set(origin.map(({ timestampMicros }) => timestampMicros)).size).toBe(21);
    expect(target.at(-1)?.body).toEqual(origin.at(-1)?.body);
    await settled();
  },
);

test('the timestamp of the application is kept', async () => {
  await begin();
  await execute(1_234_567n);
  await eventually(() => expect(writesOf(parts.target)).toHaveLength(2));
  for (const cluster of [parts.origin, parts.target]) expect(writesOf(cluster)[1]?.timestampMicros).toBe(1_234_567n);
});

test('in origin-only the target gets nothing', async () => {
  await begin(4, 'origin-only');
  await execute();
  expect(writesOf(parts.origin)[1]?.timestampMicros).toBeTypeOf('bigint');
  expect(writesOf(parts.target)).toEqual([]);
  await settled();
});

test('what the primary refuses is told and not copied', async () => {
  await begin();
  parts.origin.handlers.set(Opcode.EXECUTE, () => errorReply(ErrorCode.UNAUTHORIZED));
  expect(decodeError(bodyOf(await execute()), 4).code).toBe(ErrorCode.UNAUTHORIZED);
  parts.origin.handlers.clear();
  await execute();
  await eventually(() => expect(writesOf(parts.target)).toHaveLength(2));
  await settled();
});

test('a write of unknown outcome is copied with its timestamp, and its table is marked', async () => {
  await begin(4, 'dual-async', { requestTimeoutMs: 1000 });
  parts.origin.handlers.set(Opcode.EXECUTE, () => undefined);
  const reply = await execute();
  expect(decodeError(bodyOf(reply), 4).code).toBe(ErrorCode.WRITE_TIMEOUT);
  await eventually(() => expect(writesOf(parts.target)).toHaveLength(2));
  expect(writesOf(parts.target)[1]?.timestampMicros).toBe(writesOf(parts.origin)[1]?.timestampMicros);
  expect(counters()).toMatchObject({ failedWritesOrigin: 1 });
  await settled();
});

test('a copy that the shadow refuses or does not answer is queued with its timestamp; the application never waits', async () => {
  await begin(4, 'dual-async', { shadowTimeoutMs: 2000 });
  const answers = [errorReply(ErrorCode.OVERLOADED), undefined, voidReply];
  parts.target.handlers.set(Opcode.EXECUTE, () => answers.shift());
  for (let round = 0; round < 3; round++) expect(opcodeOf(await execute())).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.queue.writes).toHaveLength(2));
  const queued = parts.queue.writes.map(({ timestampMicros }) => timestampMicros);
  const sent = writesOf(parts.origin)
    .slice(1, 3)
    .map(({ timestampMicros }) => timestampMicros);
  expect(new Set(queued)).toEqual(new Set(sent));
  await settled();
});

test('what is queued says when it was written by the clocks of the clusters, though that of this machine was set', async () => {
  await begin();
  parts.target.handlers.set(Opcode.EXECUTE, () => errorReply(ErrorCode.OVERLOADED));
  const now = Date.now;
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_600_000);
  try {
    const before = Math.floor(now() / 1000);
    await execute();
    await eventually(() => expect(parts.queue.messages).toHaveLength(1));
    const { writtenAtSeconds } = writeOf(parts.queue.messages[0]!.body);
    expect(writtenAtSeconds).toBeGreaterThanOrEqual(before - 1);
    expect(writtenAtSeconds).toBeLessThanOrEqual(Math.floor(now() / 1000));
  } finally {
    clock.mockRestore();
  }
});

test('a node that has forgotten the statement gets it again, unseen by the client', async () => {
  await begin();
  parts.origin.forgetPrepared();
  parts.target.forgetPrepared();
  expect(opcodeOf(await execute())).toBe(Opcode.RESULT);
  await eventually(() => expect(writesOf(parts.target)).toHaveLength(2));
  await settled();
});

test('what is under way when a node goes is told or queued, and counted as over', async () => {
  await begin();
  parts.target.handlers.set(Opcode.EXECUTE, () => undefined);
  await execute();
  await eventually(() => expect(writesOf(parts.target)).toHaveLength(2));
  parts.target.disconnect();
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
  await settled();
});
