import { afterEach, expect, test } from 'vitest';
import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { errorReply, voidReply } from '../support/mock-cluster.ts';

/** In dual-async the application waits for nothing that the shadow does, memory is bounded, and nothing is lost silently. */
let parts: TestProxy;
let client: UpstreamConnection;

const WRITES = 400;

/** Nothing is given up before its time where the shadow answers, also on a busy machine. */
async function begin(shadowTimeoutMs = 15_000): Promise<void> {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs });
  client = await parts.connect();
}

afterEach(() => parts.stop());

async function write(count: number, value = 'v'): Promise<void> {
  const texts = Array.from({ length: count }, (_, id) => `INSERT INTO t (id, v) VALUES (${id}, '${value}')`);
  const replies = await Promise.all(
    texts.map((text) => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 30_000)),
  );
  for (const reply of replies) expect(opcodeOf(reply)).toBe(Opcode.RESULT);
}

const counter = (name: string): number => parts.proxy.status().counters[name] ?? 0;

/** Every write has either arrived, or waits for replay with its first timestamp, or its table is marked. */
async function expectAllAccountedFor(count: number): Promise<void> {
  await eventually(() => expect(counter('shadowInFlight')).toBe(0));
  expect(counter('shadowBytes')).toBe(0);
  await eventually(() => expect(counter('shadowSucceeded') + counter('shadowFailed')).toBe(count));
  await eventually(() =>
    expect(counter('journaled') + counter('shadowUnqueueable') + counter('journalFull')).toBe(counter('shadowFailed')),
  );
  await eventually(() => expect(parts.queue.writes).toHaveLength(counter('journaled')));
  const written = new Set(parts.origin.seen.map(({ timestampMicros }) => timestampMicros));
  for (const { timestampMicros } of parts.queue.writes) expect(written.has(timestampMicros)).toBe(true);
  if (counter('shadowFailed') > counter('journaled')) {
    await eventually(async () => expect((await parts.ledger.readTable('ks', 't'))?.state).toBe('suspect'));
  }
}

test('a shadow that hangs', async () => {
  await begin(1500);
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  await write(WRITES);
  expect(counter('shadowInFlight')).toBeGreaterThan(0);
  await expectAllAccountedFor(WRITES);
  expect(counter('shadowTimeouts')).toBe(WRITES);
});

test('a shadow that refuses', async () => {
  await begin();
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  await write(WRITES);
  await expectAllAccountedFor(WRITES);
  expect(counter('journaled')).toBe(WRITES);
});

test('a shadow that is not reachable', async () => {
  await begin();
  await parts.target.close();
  await write(WRITES);
  await expectAllAccountedFor(WRITES);
  expect(counter('journaled')).toBe(WRITES);
});

test('a shadow that answers slowly, after the time-out and before', async () => {
  await begin(3000);
  let seen = 0;
  parts.target.handlers.set(Opcode.QUERY, () => (++seen % 2 === 0 ? voidReply : undefined));
  await write(WRITES);
  await expectAllAccountedFor(WRITES);
  expect(counter('shadowSucceeded')).toBe(WRITES / 2);
  // What comes back later than that changes nothing any more.
  parts.target.disconnect();
  await expectAllAccountedFor(WRITES);
});

test('a shadow that is flooded: copies are bounded by their bytes, the rest goes to the journal at once', async () => {
  await begin(60_000);
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  parts.origin.keepsRequests = false;
  parts.target.keepsRequests = false;
  // Too large for the queue, so that what fills the bound costs the disk nothing.
  for (let round = 0; round < 5; round++) {
    await write(50, 'x'.repeat(300_000));
    expect(counter('shadowBytes')).toBeLessThanOrEqual(64 * 1024 * 1024);
  }
  const large = counter('shadowOverflows');
  expect(large).toBeGreaterThan(0);
  await write(20, 'x'.repeat(200_000));
  expect(counter('shadowBytes')).toBeLessThanOrEqual(64 * 1024 * 1024);
  // Where no large one has room, one of these has at most.
  expect(counter('shadowOverflows') - large).toBeGreaterThanOrEqual(19);
  await eventually(() => expect(counter('journaled')).toBe(counter('shadowOverflows') - large));
  parts.target.disconnect();
  await eventually(() => expect(counter('shadowInFlight')).toBe(0));
  await eventually(() => expect([counter('journaled'), counter('shadowUnqueueable')]).toEqual([20, 250]));
});

test('a queue that is away as well: the journal takes what fails, and what it can not take is marked', async () => {
  await begin();
  parts.queue.isAway = true;
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  await write(WRITES);
  await eventually(() => expect(counter('journaled')).toBe(WRITES));
  expect(parts.proxy.status().failedWrites.journalMessages).toBe(WRITES);
  parts.queue.isAway = false;
  await expectAllAccountedFor(WRITES);
});

test.each([
  '',
  ';',
  'CALL InsightsRpc.reportInsight(1)',
  'EXPLAIN SELECT * FROM t',
  'BEGIN BATCH SELECT * FROM t APPLY BATCH',
  'MERGE INTO t',
])('%j, which no grammar knows, goes to the primary alone and is recorded', async (text) => {
  await begin();
  await client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 30_000);
  await write(1);
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toHaveLength(1));
  expect(parts.origin.texts(Opcode.QUERY)).toHaveLength(2);
  expect(counter('definitionsNotCopied')).toBe(1);
  await eventually(async () =>
    expect((await parts.ledger.listSuspects()).map(({ keyspace }) => keyspace)).toEqual(['ks']),
  );
});
