import { afterEach, expect, test, vi } from 'vitest';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { activateProposal, proposePhase } from '#core/ledger/phase-change.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { errorReply, type MockCluster, type MockReply } from '../../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;

/** Differences are looked at again after twice the time of a shadow. */
async function begin(phase: string, reads: object, { shadowTimeoutMs = 100 } = {}): Promise<void> {
  const patient = { targetConfig: { requestTimeoutMs: 30_000 } };
  parts = await startTestProxy({ initialPhase: phase, shadowTimeoutMs, reads }, patient);
  client = await parts.connect();
}

afterEach(async () => {
  vi.restoreAllMocks();
  await parts?.stop();
});

/** Timers of exactly that length wait until they are asked to end. */
function catchTimers(lengthMs: number): (() => void)[] {
  const caught: (() => void)[] = [];
  const { setTimeout: real } = globalThis;
  const replaced = (run: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => {
    if (ms !== lengthMs) return real(run, ms, ...args);
    caught.push(() => run(...args));
    return real(() => undefined, 0);
  };
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(replaced as typeof setTimeout);
  return caught;
}

function rows(...values: string[]): MockReply {
  const column = { keyspace: 'ks', table: 't', name: 'v', type: { kind: 'native', name: 'text' } as const };
  const cells = values.map((value) => [Buffer.from(value)]);
  return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: 1, columns: [column] }, cells) };
}

function answer(cluster: MockCluster, ...values: string[]): void {
  for (const opcode of [Opcode.QUERY, Opcode.EXECUTE]) cluster.handlers.set(opcode, () => rows(...values));
}

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
const READ = "SELECT v FROM t WHERE id = 'a secret'";
const EACH = { mode: 'dualAsync' };
const shown = () => parts.proxy.status().reads;

test('by default a read goes to the primary alone', async () => {
  await begin('dual-async', {});
  answer(parts.origin, 'x');
  await query(READ);
  expect(shown().copies).toBe(0);
  expect(parts.target.seen).toEqual([]);
});

test('a dual read is answered by the primary, copied, and found equal', async () => {
  await begin('dual-async', EACH);
  answer(parts.origin, 'x', 'y');
  answer(parts.target, 'y', 'x');
  const reply = decodeResult(bodyOf(await query(READ)), 4);
  expect(reply.kind === 'rows' && String(reply.rows[0]?.[0])).toBe('x');
  await eventually(() => expect(shown()).toMatchObject({ copies: 1, equal: 1, copiesInFlight: 0, copyBytes: 0 }));
  expect(parts.target.texts(Opcode.QUERY)).toEqual([READ]);
});

test('a prepared read is prepared on the other cluster and compared too', async () => {
  await begin('dual-sync', EACH);
  answer(parts.origin, 'x');
  answer(parts.target, 'x');
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare('SELECT v FROM t WHERE id = ?', 4), 20_000);
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  const body = encodeExecute(result.prepared.id, { values: [Buffer.from([0, 0, 0, 1])] }, 4);
  expect(opcodeOf(await client.request(Opcode.EXECUTE, 0, body, 20_000))).toBe(Opcode.RESULT);
  await eventually(() => expect(shown().equal).toBe(1));
});

test('a difference that stays is counted, shown without data, and marks its table', async () => {
  await begin('dual-sync', EACH);
  answer(parts.origin, 'x');
  answer(parts.target, 'z');
  await query(READ);
  await eventually(() => expect(shown().different).toBe(1));
  expect(shown().differences).toMatchObject([
    { keyspace: 'ks', table: 't', primaryRows: 1, shadowRows: 1, columns: ['v'] },
  ]);
  expect(JSON.stringify(shown())).not.toMatch(/secret|"x"|"z"/);
  await eventually(async () => expect((await parts.ledger.readTable('ks', 't'))?.state).toBe('suspect'));
});

test('in dual-async a difference is counted and no finding: the target is still being loaded', async () => {
  await begin('dual-async', EACH);
  answer(parts.origin, 'x');
  answer(parts.target);
  await query(READ);
  await eventually(() => expect(shown().different).toBe(1));
  expect(parts.proxy.status().failedWrites.suspectMarks).toBe(0);
});

test('a difference that is gone when both are asked again was a late copy', async () => {
  await begin('dual-sync', EACH);
  answer(parts.origin, 'x');
  parts.target.handlers.set(Opcode.QUERY, () => {
    answer(parts.target, 'x');
    return rows();
  });
  await query(READ);
  await eventually(() => expect(shown()).toMatchObject({ settled: 1, different: 0 }));
});

test('rows that change all the time are not judged', async () => {
  await begin('dual-sync', EACH);
  let count = 0;
  parts.origin.handlers.set(Opcode.QUERY, () => rows(`${count++}`));
  answer(parts.target, 'x');
  await query(READ);
  await eventually(() => expect(shown()).toMatchObject({ unsettled: 1, different: 0, settled: 0 }));
});

test('a difference that was seen in an earlier epoch is not judged: the shadow may have had no part since', async () => {
  const shadowTimeoutMs = 123_456;
  await begin('dual-sync', EACH, { shadowTimeoutMs });
  const secondLooks = catchTimers(2 * shadowTimeoutMs);
  answer(parts.origin, 'x');
  answer(parts.target, 'z');
  await query(READ);
  await eventually(() => expect(shown()).toMatchObject({ copies: 1, copiesInFlight: 0 }));
  for (const phase of ['origin-only', 'dual-sync'] as const) {
    const proposed = { by: 'test', why: 'test', now: new Date() };
    const { proposal } = await parts.ledger.changePhase((record) => proposePhase(record, phase, proposed));
    await eventually(async () => expect((await parts.ledger.listProxies())[0]?.drainedForEpoch).toBe(proposal?.epoch));
    await parts.ledger.changePhase((record) => activateProposal(record, new Date()));
    await eventually(() => expect(parts.proxy.status().epoch).toBe(proposal?.epoch));
  }
  expect(secondLooks).toHaveLength(1);
  secondLooks[0]!();
  await eventually(() => expect(shown()).toMatchObject({ unsettled: 1, different: 0 }));
  expect(parts.proxy.status().failedWrites.suspectMarks).toBe(0);
});

test.each([
  ['SELECT now() FROM t', 'statement'],
  ['SELECT writetime(v) FROM t', 'statement'],
] as const)('%s is not compared', async (text, reason) => {
  await begin('dual-sync', EACH);
  await query(text);
  expect(shown().notCompared[reason]).toBe(1);
  expect(parts.target.seen).toEqual([]);
});

test.each(['SELECT * FROM system.local', 'LIST ROLES'])('%s is not copied', async (text) => {
  await begin('dual-sync', EACH);
  await query(text);
  expect(shown().copies).toBe(0);
  expect(parts.target.seen).toEqual([]);
});

test('where the client may not read on the other cluster nothing is compared', async () => {
  await begin('dual-sync', EACH);
  answer(parts.origin, 'x');
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.UNAUTHORIZED));
  await query(READ);
  await eventually(() => expect(shown().notCompared.unauthorized).toBe(1));
  expect(shown().different).toBe(0);
});

test('what the primary refuses is not copied', async () => {
  await begin('dual-sync', EACH);
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.UNAUTHORIZED));
  await query(READ);
  await query(READ);
  expect(parts.target.seen).toEqual([]);
});

test('a cluster that hangs holds no more copies than there may be, and delays nobody', async () => {
  await begin('dual-sync', EACH);
  answer(parts.origin, 'x');
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  for (let round = 0; round < 11; round++) await Promise.all(Array.from({ length: 100 }, () => query(READ)));
  expect(shown().copiesInFlight).toBe(1024);
  expect(shown().notCompared.dropped).toBe(1100 - 1024);
});

test('of the reads in dual-sync a sample is compared', async () => {
  await begin('dual-sync', { samplePercent: 10 });
  answer(parts.origin, 'x');
  answer(parts.target, 'x');
  for (let index = 0; index < 50; index++) await query(READ);
  await eventually(() => expect(shown()).toMatchObject({ copies: 5, equal: 5 }));
});

test('in target-primary the origin is compared with', async () => {
  await begin('target-primary', { samplePercent: 100 });
  answer(parts.origin, 'x');
  answer(parts.target, 'x');
  await query(READ);
  await eventually(() => expect(shown().equal).toBe(1));
  expect(parts.target.texts(Opcode.QUERY)).toEqual([READ]);
});

test.each(['origin-only', 'target-only'])('in %s nothing is copied', async (phase) => {
  await begin(phase, { ...EACH, samplePercent: 100 });
  answer(parts.origin, 'x');
  answer(parts.target, 'x');
  await query(READ);
  expect(parts.origin.seen.length + parts.target.seen.length).toBe(1);
});
