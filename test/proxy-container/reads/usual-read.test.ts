import { afterEach, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare } from '#core/cql/request-messages.ts';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { encodeText } from '#core/cql/value-codec.ts';
import { readPagingMark } from '../../../proxy-container/src/requests/paging.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { errorReply, type MockReply, type SeenRequest } from '../../support/mock-cluster.ts';

const SELECT = 'SELECT v FROM ks.t WHERE id = ?';
const VALUES = [Buffer.from([0, 0, 0, 1])];
const MORE = Buffer.from('where the next page begins');

let parts: TestProxy;
let client: UpstreamConnection;
let id: Buffer;

const rowsOf = (pagingState?: Buffer): MockReply => ({
  opcode: Opcode.RESULT,
  body: encodeRows({ columnCount: 1, ...(pagingState ? { pagingState } : {}) }, [[encodeText('row')]]),
});

/** The primary knows the statement afterwards, so that what follows is the usual read. */
async function begin(version = 4, proxy: object = {}, requestTimeoutMs = 15_000): Promise<void> {
  parts = await startTestProxy(
    { initialPhase: 'dual-async', ...proxy },
    { maxVersion: version === 5 ? 5 : 4, originConfig: { requestTimeoutMs }, targetConfig: { requestTimeoutMs } },
  );
  for (const cluster of [parts.origin, parts.target]) cluster.handlers.set(Opcode.EXECUTE, () => rowsOf());
  client = await parts.connect(version);
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(SELECT, version), 20_000);
  const result = decodeResult(bodyOf(reply), version);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  id = result.prepared.id;
  expect(opcodeOf(await execute())).toBe(Opcode.RESULT);
}

const execute = (pagingState?: Buffer): Promise<Buffer> => {
  const options = { values: VALUES, ...(pagingState ? { pagingState } : {}) };
  return client.request(Opcode.EXECUTE, 0, encodeExecute(id, options, client.version), 20_000);
};
const readsOf = (cluster: { seen: readonly SeenRequest[] }): SeenRequest[] =>
  cluster.seen.filter(({ text, opcode }) => text === SELECT && opcode === Opcode.EXECUTE);
const counters = (): Record<string, unknown> => parts.proxy.status().counters as Record<string, unknown>;

afterEach(() => parts.stop());

test.each([4, 5])('v%i: reads at once are answered as the primary answers, and counted', async (version) => {
  await begin(version);
  const before = counters()['reads'] as number;
  const replies = await Promise.all(Array.from({ length: 50 }, () => execute()));
  for (const reply of replies) expect(bodyOf(reply)).toEqual(rowsOf().body);
  expect(readsOf(parts.origin)).toHaveLength(51);
  expect(readsOf(parts.target)).toEqual([]);
  expect(counters()).toMatchObject({ reads: before + 50, inFlightReads: 0 });
});

test.each([4, 5])(
  'v%i: the state of a page is marked with its cluster, which gets its own one back',
  async (version) => {
    await begin(version);
    parts.origin.handlers.set(Opcode.EXECUTE, () => rowsOf(MORE));
    const page = decodeResult(bodyOf(await execute()), version);
    if (page.kind !== 'rows') throw new Error('no rows');
    const state = page.metadata.pagingState!;
    expect(readPagingMark(state)).toEqual({ cluster: 'origin', stateBytes: MORE.length });
    await execute(state);
    const sent = readsOf(parts.origin).at(-1)!.body;
    expect(sent.includes(MORE)).toBe(true);
    expect(sent.includes(state)).toBe(false);
  },
);

test('a node that has forgotten the statement gets it again, unseen by the client', async () => {
  await begin();
  parts.origin.forgetPrepared();
  expect(bodyOf(await execute())).toEqual(rowsOf().body);
  expect(counters()).toMatchObject({ reprepared: 1, inFlightReads: 0 });
});

test('a read whose connection is lost is tried again', async () => {
  await begin();
  parts.origin.handlers.set(Opcode.EXECUTE, () => {
    parts.origin.handlers.set(Opcode.EXECUTE, () => rowsOf());
    parts.origin.disconnect();
    return undefined;
  });
  expect(bodyOf(await execute())).toEqual(rowsOf().body);
  await eventually(() => expect(counters()).toMatchObject({ inFlightReads: 0 }));
});

test('an error of the primary is told, and a silent one is a time-out that is counted', async () => {
  await begin(4, {}, 1000);
  parts.origin.handlers.set(Opcode.EXECUTE, () => errorReply(ErrorCode.UNAUTHORIZED));
  expect(decodeError(bodyOf(await execute()), 4).code).toBe(ErrorCode.UNAUTHORIZED);
  parts.origin.handlers.set(Opcode.EXECUTE, () => undefined);
  expect(decodeError(bodyOf(await execute()), 4).code).toBe(ErrorCode.READ_TIMEOUT);
  expect(counters()).toMatchObject({ failedReadsOrigin: 1, requestTimeouts: 1, inFlightReads: 0 });
});

test('where reads are compared, each one is', async () => {
  await begin(4, { reads: { mode: 'dualAsync' } });
  for (let round = 0; round < 3; round++) await execute();
  await eventually(() => expect(readsOf(parts.target)).toHaveLength(4));
});

test('in target-primary the target answers', async () => {
  await begin(4, { initialPhase: 'target-primary', reads: { samplePercent: 0 } });
  await execute();
  expect(readsOf(parts.target)).toHaveLength(2);
  expect(readsOf(parts.origin)).toEqual([]);
});
