import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout, readValues } from '#core/cql/request-layout.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { encodeRows } from '#core/cql/result-message.ts';
import { encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy, type TestProxyOptions } from '../support/in-process-proxy.ts';
import { writeOf } from '../support/messages.ts';
import { errorReply, type MockReply, type SeenRequest, voidReply } from '../support/mock-cluster.ts';
import { openGates } from '../support/open-gates.ts';

let parts: TestProxy;
let client: UpstreamConnection;

const BALLOT = 1_700_000_000_000_000n;
const INSERT = "INSERT INTO t (id, v) VALUES (1, 'x') IF NOT EXISTS";
const SELECT = 'SELECT v, writetime(v), ttl(v) FROM ks.t WHERE id = 1';
const COPY = 'INSERT INTO ks.t (id, v) VALUES (1, ?) USING TIMESTAMP ? AND TTL ?';

function rowsReply(names: readonly string[], rows: readonly (readonly (Buffer | null)[])[]): MockReply {
  const type = { kind: 'native', name: 'blob' } as const;
  const columns = names.map((name) => ({ keyspace: 'ks', table: 't', name, type }));
  return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: names.length, columns }, rows) };
}

const applied = (isApplied = true) => rowsReply(['[applied]'], [[Buffer.from([isApplied ? 1 : 0])]]);
const cell = (ttlSeconds?: number) =>
  rowsReply(
    ['v', 'w', 'ttl'],
    [[encodeText('x'), encodeBigint(BALLOT), ttlSeconds === undefined ? null : encodeInt(ttlSeconds)]],
  );

/** Nothing is given up before its time, also on a busy machine. */
async function begin(phase: string, more: object = {}, options: TestProxyOptions = {}): Promise<void> {
  parts = await startTestProxy({ initialPhase: phase, shadowTimeoutMs: 15_000, ...more }, options);
  client = await parts.connect(options.maxVersion);
  const answer = ({ text }: SeenRequest): MockReply => (text.startsWith('SELECT') ? cell() : applied());
  for (const cluster of [parts.origin, parts.target]) {
    cluster.handlers.set(Opcode.QUERY, answer).set(Opcode.BATCH, () => applied());
  }
}

const query = (text: string, parameters: object = {}): Promise<Buffer> =>
  client.request(Opcode.QUERY, 0, encodeQuery(text, parameters, client.version), 20_000);

function boundTo({ opcode, body }: SeenRequest): unknown[] {
  return readRequestLayout(opcode, body, 4).statements.flatMap((one) =>
    readValues(body, one).map(({ value }) => value),
  );
}

const isSuspect = async (): Promise<boolean> => (await parts.ledger.readTable('ks', 't'))?.state === 'suspect';

afterEach(async () => {
  vi.restoreAllMocks();
  await parts.stop();
});

test('an applied one is read back by a serial read, and the shadow gets its cells with their own write time', async () => {
  await begin('dual-async');
  await query(INSERT, { serialConsistency: Consistency.LOCAL_SERIAL, consistency: Consistency.QUORUM });
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual([COPY]));
  expect(boundTo(parts.target.seen[0]!)).toEqual([encodeText('x'), encodeBigint(BALLOT), encodeInt(0)]);
  expect(readRequestLayout(Opcode.QUERY, parts.target.seen[0]!.body, 4).consistency).toBe(Consistency.QUORUM);
  expect(parts.origin.texts(Opcode.QUERY)).toEqual([INSERT, SELECT]);
  expect(readRequestLayout(Opcode.QUERY, parts.origin.seen[1]!.body, 4).consistency).toBe(Consistency.LOCAL_SERIAL);
  await eventually(() =>
    expect(parts.proxy.status().counters).toMatchObject({ shadowSucceeded: 1, shadowInFlight: 0 }),
  );
  expect(await isSuspect()).toBe(false);
});

test('v5: what is left of its life is read and written as of one instant', async () => {
  await begin('dual-async', {}, { maxVersion: 5 });
  await query(INSERT);
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual([COPY]));
  const nowOf = ({ body }: SeenRequest) => readRequestLayout(Opcode.QUERY, body, 5).nowInSeconds;
  const [insert, select] = parts.origin.seen;
  expect(nowOf(insert!)).toBeUndefined();
  expect(nowOf(select!)).toBeTypeOf('number');
  expect(nowOf(parts.target.seen[0]!)).toBe(nowOf(select!));
});

test.each([60, undefined])(
  'v4: what was read with a TTL of %s s and is copied late is marked if it ends',
  async (ttlSeconds) => {
    await begin('dual-async');
    parts.origin.handlers.set(Opcode.QUERY, ({ text }) => (text === SELECT ? cell(ttlSeconds) : applied()));
    const now = performance.now.bind(performance);
    let aheadMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => now() + aheadMs);
    parts.target.handlers.set(Opcode.QUERY, () => {
      aheadMs = 2000;
      return voidReply;
    });
    await query(INSERT);
    await eventually(() =>
      expect(parts.proxy.status().counters).toMatchObject({ shadowSucceeded: 1, shadowInFlight: 0 }),
    );
    const codes = async () => (await parts.ledger.listSuspects()).map(({ code }) => code);
    if (ttlSeconds === undefined) expect(await codes()).toEqual([]);
    else await eventually(async () => expect(await codes()).toEqual(['late-ttl']));
  },
);

test('one that was not applied is neither read nor copied', async () => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, () => applied(false));
  await query(INSERT);
  parts.origin.handlers.set(Opcode.QUERY, () => voidReply);
  await query("INSERT INTO t (id, v) VALUES (2, 'plain')");
  await eventually(() => expect(parts.target.seen).toHaveLength(1));
  expect(parts.target.texts(Opcode.QUERY)).toEqual(["INSERT INTO t (id, v) VALUES (2, 'plain')"]);
  expect(parts.origin.texts(Opcode.QUERY)).not.toContain(SELECT);
});

test('in origin-only and target-only nothing is read back', async () => {
  await begin('origin-only');
  await query(INSERT);
  await query('SELECT * FROM t');
  expect(parts.origin.texts(Opcode.QUERY)).toEqual([INSERT, 'SELECT * FROM t']);
  expect(parts.target.seen).toEqual([]);
});

test('in dual-async the client has its answer while the read-back hangs', async () => {
  await begin('dual-async', {}, { originConfig: { requestTimeoutMs: 1000 } });
  parts.origin.handlers.set(Opcode.QUERY, ({ text }) => (text === SELECT ? undefined : applied()));
  expect(opcodeOf(await query(INSERT))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.origin.texts(Opcode.QUERY)).toContain(SELECT));
  expect(parts.target.seen).toEqual([]);
  await eventually(isSuspectNow);
});

test('a proxy that goes away has marked what it could not read back', async () => {
  await begin('dual-async', { shadowTimeoutMs: 300 });
  parts.origin.handlers.set(Opcode.QUERY, ({ text }) => (text === SELECT ? undefined : applied()));
  await query(INSERT);
  await parts.proxy.stop();
  expect(await isSuspect()).toBe(true);
});

async function isSuspectNow(): Promise<void> {
  expect(await isSuspect()).toBe(true);
}

test('in dual-sync the answer is the primary one, and waits until the shadow has the copy', async () => {
  await begin('dual-sync');
  expect(bodyOf(await query(INSERT))).toEqual(applied().body);
  expect(parts.target.texts(Opcode.QUERY)).toEqual([COPY]);
});

test('in dual-sync the answer waits no longer than a request may take', async () => {
  await begin('dual-sync', { shadowTimeoutMs: 60_000 }, { targetConfig: { requestTimeoutMs: 500 } });
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  expect(bodyOf(await query(INSERT))).toEqual(applied().body);
  expect(parts.target.texts(Opcode.QUERY)).toEqual([COPY]);
  expect(parts.proxy.status().counters['shadowInFlight']).toBe(1);
  parts.target.disconnect();
  await eventually(() => expect(parts.proxy.status().counters['shadowInFlight']).toBe(0));
});

test('in strict dual-sync a copy that fails does not turn an applied write into an error', async () => {
  await begin('dual-sync', { dualSync: 'strict' });
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  expect(opcodeOf(await query(INSERT))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
});

test('a copy that the shadow does not take is kept for replay with the same write time, and no flip passes it', async () => {
  await begin('dual-async', { shadowTimeoutMs: 300 });
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  await query(INSERT);
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
  expect(writeOf(parts.queue.messages[0]!.body)).toMatchObject({
    destination: 'target',
    kind: 'query',
    keyspace: null,
    idempotent: true,
    reason: 'Timeout',
    tables: [{ keyspace: 'ks', table: 't' }],
    statements: [{ text: COPY, values: [encodeText('x'), encodeBigint(BALLOT), encodeInt(0)].map(toBytes) }],
  });
  await eventually(isSuspectNow);
  // What the queue has taken leaves the journal a moment later.
  await eventually(() => expect(parts.proxy.status().failedWrites.journalMessages).toBe(0));
  const flip = {
    phase: 'target-primary',
    by: 'test',
    why: '',
    fence: [],
    withoutProxies: false,
    drainTimeoutMs: 20_000,
  };
  const ports = {
    ledger: parts.ledger,
    gates: openGates,
    logger: createLogger('test', 'silent'),
    now: () => new Date(),
    sleep: (ms: number) => sleep(ms),
    onWait: () => undefined,
  };
  await changePhase({ ...flip, phase: 'dual-sync', force: [] }, ports);
  const refused = changePhase({ ...flip, phase: 'target-primary', force: [] }, ports);
  await expect(refused).rejects.toThrow(
    'ks.t: a conditional write (LWT) may be missing: its copy waits to be replayed',
  );
  expect(parts.proxy.status().phase).toBe('dual-sync');
});

const toBytes = (buffer: Buffer): Uint8Array => new Uint8Array(buffer);

test('a serial read that meets the rounds of others is tried again', async () => {
  await begin('dual-async');
  let refusals = 2;
  parts.origin.handlers.set(Opcode.QUERY, ({ text }) => {
    if (text !== SELECT) return applied();
    return refusals-- > 0 ? errorReply(ErrorCode.READ_TIMEOUT) : cell();
  });
  await query(INSERT);
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual([COPY]));
});

test.each([
  ['of unknown outcome', INSERT, errorReply(ErrorCode.WRITE_TIMEOUT), cell()],
  ['whose read-back is refused', INSERT, applied(), errorReply(ErrorCode.UNAUTHORIZED)],
  ['whose rows the text does not tell', 'INSERT INTO t JSON \'{"id": 1}\' IF NOT EXISTS', applied(), cell()],
])('one %s marks its table, and nothing is made up', async (_, text, first, second) => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, (seen) => (seen.text.startsWith('SELECT') ? second : first));
  await query(text);
  await eventually(isSuspectNow);
  expect(parts.target.seen).toEqual([]);
});

test('a deletion, whose time can not be read, is copied at the time of the answer, and its table marked', async () => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, ({ text }) => (text.startsWith('SELECT') ? rowsReply(['v'], []) : applied()));
  const before = BigInt(Date.now()) * 1000n;
  await query('DELETE FROM t WHERE id = 1 IF EXISTS');
  await eventually(() =>
    expect(parts.target.texts(Opcode.QUERY)).toEqual(['DELETE FROM ks.t USING TIMESTAMP ? WHERE id = 1']),
  );
  expect((boundTo(parts.target.seen[0]!)[0] as Buffer).readBigInt64BE()).toBeGreaterThanOrEqual(before);
  await eventually(isSuspectNow);
});

test('a conditional batch is read back row by row, and copied as one', async () => {
  await begin('dual-async');
  const statements = [
    { text: "UPDATE t SET v = 'x' WHERE id = ? IF v = 'w'", values: [encodeInt(1)] },
    { text: 'INSERT INTO t (id, v) VALUES (?, ?)', values: [encodeInt(2), encodeText('x')] },
  ];
  await client.request(Opcode.BATCH, 0, encodeBatch(0, statements, {}, 4), 20_000);
  await eventually(() => expect(parts.target.seen.map(({ opcode }) => opcode)).toEqual([Opcode.BATCH]));
  const layout = readRequestLayout(Opcode.BATCH, parts.target.seen[0]!.body, 4);
  expect(layout.statements.map(({ text }) => text)).toEqual([
    'UPDATE ks.t USING TIMESTAMP ? AND TTL ? SET v = ? WHERE id = ?',
    'INSERT INTO ks.t (id, v) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?',
  ]);
  expect(parts.origin.texts(Opcode.QUERY)).toHaveLength(2);
});

test('a flood of them is bounded: what has no room marks the table, and the client waits for nothing', async () => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, ({ text }) => (text.startsWith('SELECT') ? undefined : applied()));
  for (let round = 0; round < 50; round++) {
    const replies = await Promise.all(Array.from({ length: 100 }, () => query(INSERT)));
    for (const reply of replies) expect(opcodeOf(reply)).toBe(Opcode.RESULT);
  }
  const { counters } = parts.proxy.status();
  expect(counters['shadowOverflows']).toBeGreaterThan(0);
  expect(counters['shadowInFlight']).toBeLessThanOrEqual(4096 + 64);
  await eventually(isSuspectNow);
  // Else it would wait for all of them when it stops.
  parts.origin.handlers.clear();
  parts.origin.disconnect();
});
