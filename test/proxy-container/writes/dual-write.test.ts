import { afterEach, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy, type TestProxyOptions } from '../../support/in-process-proxy.ts';
import { writeOf } from '../../support/messages.ts';
import { errorReply, voidReply } from '../../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;

const SHORT = { requestTimeoutMs: 1000 };

/** Nothing is given up before its time, also on a busy machine. */
async function begin(phase: string, more: object = {}, options: TestProxyOptions = {}): Promise<void> {
  parts = await startTestProxy({ initialPhase: phase, shadowTimeoutMs: 15_000, ...more }, options);
  client = await parts.connect();
}

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
const INSERT = "INSERT INTO t (id, v) VALUES (1, 'x')";

async function prepare(text: string): Promise<Buffer> {
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(text, 4), 20_000);
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  return result.prepared.id;
}

const execute = (id: Buffer): Promise<Buffer> =>
  client.request(Opcode.EXECUTE, 0, encodeExecute(id, { values: [Buffer.from([0, 0, 0, 1])] }, 4), 20_000);

afterEach(() => parts.stop());

test('in origin-only the target gets nothing, and the write has a timestamp', async () => {
  await begin('origin-only');
  expect(opcodeOf(await query(INSERT))).toBe(Opcode.RESULT);
  expect(parts.origin.seen[0]?.timestampMicros).toBeTypeOf('bigint');
  expect(parts.target.seen).toEqual([]);
});

test('in dual-async both get the same bytes with the same timestamp, and reads go to the origin alone', async () => {
  await begin('dual-async');
  await query(INSERT);
  await query('SELECT * FROM t');
  await eventually(() => expect(parts.target.seen).toHaveLength(1));
  expect(parts.target.seen[0]?.body).toEqual(parts.origin.seen[0]?.body);
  expect(parts.origin.texts(Opcode.QUERY)).toEqual([INSERT, 'SELECT * FROM t']);
});

test('what the primary refuses is never copied', async () => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.UNAUTHORIZED));
  const reply = await query(INSERT);
  expect(decodeError(bodyOf(reply), 4).code).toBe(ErrorCode.UNAUTHORIZED);
  parts.origin.handlers.clear();
  await query("INSERT INTO t (id, v) VALUES (2, 'y')");
  await eventually(() => expect(parts.target.seen).toHaveLength(1));
  expect(parts.target.texts(Opcode.QUERY)).toEqual(["INSERT INTO t (id, v) VALUES (2, 'y')"]);
});

test('a write of unknown outcome is copied all the same, and its table is marked', async () => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  await query(INSERT);
  await eventually(() => expect(parts.target.seen).toHaveLength(1));
  await eventually(async () => expect((await parts.ledger.readTable('ks', 't'))?.state).toBe('suspect'));
});

test.each([
  ['an unlogged batch', `BEGIN UNLOGGED BATCH ${INSERT}; INSERT INTO t (id) VALUES (2); APPLY BATCH`, true],
  ['a write of several partitions', "UPDATE t SET v = 'x' WHERE id IN (1, 2)", true],
  ['a logged batch', `BEGIN BATCH ${INSERT}; INSERT INTO t (id) VALUES (2); APPLY BATCH`, false],
  ['a write of one row', INSERT, false],
])(
  '%s for which there are too few replicas is not copied; its table is marked if a part may be there',
  async (...[, text, isPartly]) => {
    await begin('dual-async');
    parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.UNAVAILABLE));
    await query(text);
    parts.origin.handlers.clear();
    await query("INSERT INTO u (id, v) VALUES (1, 'x')");
    await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual(["INSERT INTO u (id, v) VALUES (1, 'x')"]));
    if (isPartly)
      await eventually(async () => expect((await parts.ledger.readTable('ks', 't'))?.state).toBe('suspect'));
    else expect(parts.proxy.status().failedWrites.suspectMarks).toBe(0);
  },
);

test('a copy goes to the keyspace that was in force when the write came, whatever is in force when it leaves', async () => {
  await begin('dual-async');
  parts.origin.kept = [];
  const write = query(INSERT);
  await eventually(() => expect(parts.origin.seen).toHaveLength(1));
  const answers = parts.origin.kept;
  parts.origin.kept = undefined;
  await query('USE other');
  for (const answer of answers) answer();
  await write;
  await query(INSERT);
  await eventually(() => expect(parts.target.seen.map(({ keyspace }) => keyspace)).toEqual(['ks', 'other']));
});

test('a target that hangs delays nobody; its writes end in the queue with their first timestamp', async () => {
  await begin('dual-async', { shadowTimeoutMs: 300 });
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  await query(INSERT);
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
  const write = writeOf(parts.queue.messages[0]!.body);
  expect(write.timestampMicros).toBe(parts.origin.seen[0]?.timestampMicros);
  expect(write).toMatchObject({
    keyspace: 'ks',
    destination: 'target',
    reason: 'Timeout',
    statements: [{ text: INSERT }],
  });
});

test('while the queue is away failed writes wait in the journal, and leave when it is back', async () => {
  await begin('dual-async');
  parts.queue.isAway = true;
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  await query(INSERT);
  await eventually(() => expect(parts.proxy.status().failedWrites.queueError).not.toBeNull());
  expect(parts.proxy.status().failedWrites.journalMessages).toBe(1);
  parts.queue.isAway = false;
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
  await eventually(() => expect(parts.proxy.status().failedWrites.journalMessages).toBe(0));
});

test('a counter is copied at most once: its failure marks the table and queues nothing', async () => {
  await begin('dual-async');
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  await query('BEGIN COUNTER BATCH UPDATE c SET n = n + 1 WHERE id = 1 APPLY BATCH');
  await eventually(async () => expect((await parts.ledger.readTable('ks', 'c'))?.state).toBe('suspect'));
  expect(parts.target.seen).toHaveLength(1);
  expect(parts.queue.messages).toEqual([]);
});

test('in strict dual-sync a failure of the target is the application error, and the write is queued', async () => {
  await begin('dual-sync');
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_FAILURE, 'the target says no'));
  expect(decodeError(bodyOf(await query(INSERT)), 4)).toMatchObject({ code: ErrorCode.WRITE_FAILURE });
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
});

test('in lenient dual-sync a failure of the target is queued and the application goes on', async () => {
  await begin('dual-sync', { dualSync: 'lenient' });
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  expect(opcodeOf(await query(INSERT))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
});

test('in target-primary the target answers and the origin is the shadow', async () => {
  await begin('target-primary');
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  expect(opcodeOf(await query(INSERT))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.queue.messages).toHaveLength(1));
  expect(writeOf(parts.queue.messages[0]!.body).destination).toBe('origin');
});

test('in target-only the origin may be gone', async () => {
  await begin('target-only');
  await parts.origin.close();
  expect(opcodeOf(await query(INSERT))).toBe(Opcode.RESULT);
  expect(parts.target.texts(Opcode.QUERY)).toEqual([INSERT]);
});

test('a prepared statement has the id of the proxy, and is prepared on each cluster when it is needed there', async () => {
  await begin('dual-async');
  const id = await prepare('INSERT INTO t (id) VALUES (?)');
  expect(parts.target.texts(Opcode.PREPARE)).toEqual([]);
  expect(opcodeOf(await execute(id))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.target.texts(Opcode.EXECUTE)).toEqual(['INSERT INTO t (id) VALUES (?)']));
  expect(await prepare('INSERT INTO t (id) VALUES (?)')).toEqual(id);
});

test('a node that has forgotten a statement gets it again, unseen by the client', async () => {
  await begin('dual-async');
  const id = await prepare('INSERT INTO t (id) VALUES (?)');
  await execute(id);
  parts.origin.forgetPrepared();
  expect(opcodeOf(await execute(id))).toBe(Opcode.RESULT);
  expect(parts.origin.texts(Opcode.PREPARE)).toHaveLength(2);
});

test('an id that the proxy does not know is answered with UNPREPARED', async () => {
  await begin('origin-only');
  const unknown = Buffer.alloc(16, 7);
  expect(decodeError(bodyOf(await execute(unknown)), 4)).toMatchObject({
    code: ErrorCode.UNPREPARED,
    unpreparedId: unknown,
  });
});

test('now() in a prepared statement is a hidden value, the same on both clusters', async () => {
  await begin('dual-async');
  const reply = await client.request(
    Opcode.PREPARE,
    0,
    encodePrepare('INSERT INTO t (id, at) VALUES (?, now())', 4),
    20_000,
  );
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  expect(result.prepared.markers).toHaveLength(1);
  await execute(result.prepared.id);
  await eventually(() => expect(parts.target.texts(Opcode.EXECUTE)).toHaveLength(1));
  const bodies = [parts.origin, parts.target].map(
    (one) => one.seen.find((seen) => seen.opcode === Opcode.EXECUTE)?.body,
  );
  expect(bodies[0]).toEqual(bodies[1]);
});

test.each([
  ['a user-defined function', 'INSERT INTO t (id, v) VALUES (1, my_function(2))'],
  ['a function in a prepared list', 'INSERT INTO t (id, l) VALUES (?, [now()])'],
])('what %s writes is not copied, and its table is marked', async (_, text) => {
  await begin('dual-async');
  expect(opcodeOf(text.includes('?') ? await execute(await prepare(text)) : await query(text))).toBe(Opcode.RESULT);
  await eventually(async () => expect((await parts.ledger.readTable('ks', 't'))?.state).toBe('suspect'));
  await query("INSERT INTO u (id, v) VALUES (1, 'x')");
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual(["INSERT INTO u (id, v) VALUES (1, 'x')"]));
  expect(parts.target.texts(Opcode.EXECUTE)).toEqual([]);
});

test('a write that the primary refuses marks nothing, whatever it calls', async () => {
  await begin('dual-async');
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.INVALID, 'no such table'));
  for (let index = 0; index < 10; index++) await query(`INSERT INTO nowhere.t${index} (id) VALUES (my_function(1))`);
  expect(parts.proxy.status().failedWrites.suspectMarks).toBe(0);
});

test('a cluster that does not answer in time gets the client a time-out of the right kind', async () => {
  await begin('origin-only', {}, { originConfig: SHORT, targetConfig: SHORT });
  parts.origin.handlers.set(Opcode.QUERY, () => undefined);
  const [write, read] = await Promise.all([query(INSERT), query('SELECT * FROM t')]);
  expect(decodeError(bodyOf(write), 4).code).toBe(ErrorCode.WRITE_TIMEOUT);
  expect(decodeError(bodyOf(read), 4).code).toBe(ErrorCode.READ_TIMEOUT);
});

test('a read whose connection breaks is tried again, and a write is answered', async () => {
  await begin('origin-only');
  let breaks = 1;
  parts.origin.handlers.set(Opcode.QUERY, () => {
    if (breaks-- <= 0) return voidReply;
    parts.origin.disconnect();
    return undefined;
  });
  expect(opcodeOf(await query('SELECT * FROM t'))).toBe(Opcode.RESULT);
  breaks = 1;
  expect(decodeError(bodyOf(await query(INSERT)), 4).code).toBe(ErrorCode.WRITE_TIMEOUT);
});

test.each(['in force', 'left'])(
  'prepared statements of a keyspace %s do not storm a target that is down',
  async (keyspace) => {
    await begin('dual-async');
    const id = await prepare('INSERT INTO t (id) VALUES (?)');
    if (keyspace === 'left') await query('USE other');
    await parts.target.close();
    for (let sent = 0; sent < 400; sent++) expect(opcodeOf(await execute(id))).toBe(Opcode.RESULT);
    await eventually(() => expect(parts.proxy.status().counters).toMatchObject({ shadowFailed: 400, journaled: 400 }));
    await eventually(() => expect(parts.queue.writes).toHaveLength(400));
    const reasons = parts.queue.writes.map((write) => write.reason ?? '');
    expect(reasons.filter((reason) => !/not reachable/.test(reason))).toEqual([]);
    const attempts = parts.proxy.status().counters['failedConnectionsTarget'];
    expect(attempts).toBeGreaterThan(0);
    expect(attempts).toBeLessThan(20);
  },
);

test.each([
  ['is not clear on the origin and nothing on the target', ErrorCode.UNAVAILABLE, 'target'],
  ['is not clear on either', ErrorCode.WRITE_TIMEOUT, null],
  ['is not clear on the origin, and is on the target', undefined, 'origin'],
] as const)('in dual-sync a write that %s is marked for the cluster that may lack it', async (_, ofTarget, lacking) => {
  await begin('dual-sync');
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  if (ofTarget !== undefined) parts.target.handlers.set(Opcode.QUERY, () => errorReply(ofTarget));
  await query(INSERT);
  await eventually(async () =>
    expect(await parts.ledger.listSuspects()).toMatchObject([{ table: 't', code: 'unknown-outcome', lacking }]),
  );
});
