import { afterEach, expect, test, vi } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { bodyOf, encodeFrame, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { type RequestLayout, readRequestLayout } from '#core/cql/request-layout.ts';
import { encodeExecute, encodePrepare, encodeQuery, type QueryParameters } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { encodeInt } from '#core/cql/value-codec.ts';
import { Counters } from '../../../proxy-container/src/counters/counters.ts';
import type { WriteNotes } from '../../../proxy-container/src/in-flight/write-notes.ts';
import { PhaseGate } from '../../../proxy-container/src/phase/phase-gate.ts';
import { Expiry } from '../../../proxy-container/src/requests/expiry.ts';
import { PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import { readClientRequest } from '../../../proxy-container/src/requests/read-request.ts';
import type { SchemaFacts } from '../../../proxy-container/src/schema/schema-facts.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import type { FailedWrites } from '../../../proxy-container/src/writes/failed-writes.ts';
import { ListOrder } from '../../../proxy-container/src/writes/list-order.ts';
import { ShadowWriter } from '../../../proxy-container/src/writes/shadow-writer.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { errorReply, voidReply } from '../../support/mock-cluster.ts';

/** A server counts a TTL from when it executes a request: both are told one instant, or a late copy is marked. */
const PLAIN = 'INSERT INTO ks.t (id, v) VALUES (?, ?)';
const EXPIRING = 'INSERT INTO ks.t (id, v) VALUES (?, ?) USING TTL 60';
const VALUES = [encodeInt(1), Buffer.from('x')];
/** Later than a copy may be. Milliseconds. */
const LATE_MS = 2_000;

let parts: TestProxy;
let client: UpstreamConnection;

async function begin(version: number, { defaultTtlSeconds = 0, phase = 'dual-async' } = {}): Promise<void> {
  parts = await startTestProxy(
    { initialPhase: phase, shadowTimeoutMs: 15_000 },
    {
      maxVersion: version === 5 ? 5 : 4,
      arrange: (...clusters) => {
        for (const cluster of clusters) cluster.defaultTtlSeconds = defaultTtlSeconds;
      },
    },
  );
  client = await parts.connect(version);
}

afterEach(async () => {
  vi.restoreAllMocks();
  await parts?.stop();
});

async function prepare(text: string): Promise<Buffer> {
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(text, client.version), 20_000);
  const result = decodeResult(bodyOf(reply), client.version);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  return Buffer.from(result.prepared.id);
}

/** What each cluster got of one request. */
async function send(opcode: number, body: Buffer): Promise<{ origin: RequestLayout; target: RequestLayout }> {
  for (const { seen } of [parts.origin, parts.target]) seen.length = 0;
  expect(opcodeOf(await client.request(opcode, 0, body, 20_000))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.proxy.status().counters).toMatchObject({ shadowInFlight: 0, inFlightWrites: 0 }));
  const layoutOf = (cluster: TestProxy['origin']) =>
    readRequestLayout(opcode, cluster.seen.findLast((one) => one.opcode === opcode)!.body, client.version);
  return { origin: layoutOf(parts.origin), target: layoutOf(parts.target) };
}

const execute = (id: Buffer, more: QueryParameters = {}) =>
  send(Opcode.EXECUTE, encodeExecute(id, { values: VALUES, ...more }, client.version));
const query = (text: string, more: QueryParameters = {}) => send(Opcode.QUERY, encodeQuery(text, more, client.version));

/** The instant that both were told, with everything else the same. */
function commonNow({ origin, target }: { origin: RequestLayout; target: RequestLayout }): number | undefined {
  const shape = ({ flags, timestampMicros, nowInSeconds }: RequestLayout) => ({ flags, timestampMicros, nowInSeconds });
  expect(shape(target)).toEqual(shape(origin));
  expect(origin.timestampMicros).toBeDefined();
  return origin.nowInSeconds;
}

/** What is not known of a table yet counts as a TTL. */
const eventuallyWithoutNow = (write: () => ReturnType<typeof send>) =>
  eventually(async () => expect(commonNow(await write())).toBeUndefined());

test('v5: what may expire counts from one instant on both clusters, the time of now; nothing else carries one', async () => {
  await begin(5);
  const [plain, expiring] = [await prepare(PLAIN), await prepare(EXPIRING)];
  // First each is an unusual one.
  for (let round = 0; round < 3; round++) {
    expect(Math.abs(commonNow(await execute(expiring))! - Date.now() / 1000)).toBeLessThan(60);
  }
  await eventuallyWithoutNow(() => execute(plain));
  for (let round = 0; round < 3; round++) expect(commonNow(await execute(plain))).toBeUndefined();
  expect(commonNow(await query("INSERT INTO ks.t (id, v) VALUES (1, 'x') USING TTL 5"))).toBeDefined();
  await eventuallyWithoutNow(() => query("INSERT INTO ks.t (id, v) VALUES (1, 'x')"));
  expect(commonNow(await query('DELETE FROM ks.t WHERE id = 1'))).toBeUndefined();
  const batch = (...statements: Parameters<typeof encodeBatch>[1]) =>
    send(Opcode.BATCH, encodeBatch(BatchKind.LOGGED, statements, {}, 5));
  expect(commonNow(await batch({ id: plain, values: VALUES }, { id: expiring, values: VALUES }))).toBeDefined();
  expect(commonNow(await batch({ id: plain, values: VALUES }, { text: PLAIN, values: VALUES }))).toBeUndefined();
});

test('v5: the instant and the write time of the application are kept, each by itself', async () => {
  await begin(5);
  const expiring = await prepare(EXPIRING);
  await execute(expiring);
  const own = await execute(expiring, { nowInSeconds: 77 });
  expect(commonNow(own)).toBe(77);
  expect(commonNow(await query(EXPIRING, { values: VALUES, nowInSeconds: 78, timestampMicros: 9n }))).toBe(78);
  const timed = await execute(expiring, { timestampMicros: 1234n });
  expect(timed.origin.timestampMicros).toBe(1234n);
  expect(Math.abs(commonNow(timed)! - Date.now() / 1000)).toBeLessThan(60);
  const batch = encodeBatch(BatchKind.UNLOGGED, [{ id: expiring, values: VALUES }], { nowInSeconds: 79 }, 5);
  expect(commonNow(await send(Opcode.BATCH, batch))).toBe(79);
  const inKeyspace = await query(EXPIRING, { values: VALUES, keyspace: 'ks' });
  expect(commonNow(inKeyspace)).toBeDefined();
  expect(inKeyspace.target.keyspace).toBe('ks');
});

test.each(['dual-async', 'dual-sync'])(
  'v5, %s: a default TTL of the table is a TTL, unless the text says none',
  async (phase) => {
    await begin(5, { defaultTtlSeconds: 60, phase });
    const [plain, none] = [await prepare(PLAIN), await prepare(`${PLAIN} USING TTL 0`)];
    for (let round = 0; round < 3; round++) {
      expect(commonNow(await execute(plain))).toBeDefined();
      expect(commonNow(await execute(none))).toBeUndefined();
    }
  },
);

test.each([3, 4])('v%i: nothing is added that the version does not have', async (version) => {
  await begin(version);
  const expiring = await prepare(EXPIRING);
  for (let round = 0; round < 3; round++) expect(commonNow(await execute(expiring))).toBeUndefined();
  expect(commonNow(await query(EXPIRING, { values: VALUES }))).toBeUndefined();
});

/** A cluster answers the next ones as if it had taken so long. */
function beLate(cluster = parts.target): void {
  const now = performance.now.bind(performance);
  let aheadMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now() + aheadMs);
  const answer = () => {
    aheadMs += LATE_MS;
    return voidReply;
  };
  for (const opcode of [Opcode.EXECUTE, Opcode.QUERY]) cluster.handlers.set(opcode, answer);
}

const codes = async () => (await parts.ledger.listSuspects()).map(({ code, table }) => `${table} ${code}`);

test.each([
  ['dual-async', EXPIRING, 'prepared'],
  ['dual-async', EXPIRING, 'as text'],
  ['dual-sync', EXPIRING, 'prepared'],
  ['dual-async', PLAIN, 'prepared into a table with a default TTL'],
])('v4, %s: %s, %s: the token of a copy that comes late is marked', async (phase, text, form) => {
  await begin(4, { phase, defaultTtlSeconds: form.endsWith('default TTL') ? 60 : 0 });
  const id = await prepare(text);
  await execute(id);
  expect(await codes()).toEqual([]);
  beLate();
  if (form === 'as text') await query(text, { values: VALUES });
  else await execute(id);
  await eventually(async () => expect(await codes()).toEqual(['t late-ttl']));
  // The mock names the markers of what is prepared otherwise than the table its key.
  if (form === 'as text') expect((await parts.ledger.listSuspects())[0]?.tokens).toHaveLength(1);
});

test.each([
  [4, PLAIN],
  [5, EXPIRING],
])('v%i: %s: a late copy is no matter', async (version, text) => {
  await begin(version);
  const id = await prepare(text);
  await execute(id);
  beLate();
  for (let round = 0; round < 3; round++) await execute(id);
  expect(await codes()).toEqual([]);
});

test('v4: a copy that nobody has answered is queued, and marked as it may still arrive', async () => {
  await begin(4);
  const id = await prepare(EXPIRING);
  await execute(id);
  parts.target.handlers.set(Opcode.EXECUTE, () => {
    parts.target.disconnect();
    return undefined;
  });
  await execute(id);
  await eventually(async () => expect(await codes()).toEqual(['t late-ttl']));
  await eventually(() => expect(parts.queue.writes).toHaveLength(1));
});

test.each([
  ['prepared', true],
  ['prepared', false],
  ['as text', true],
])(
  'v4, %s: a copy that was refused is marked, as its replay would end early, if the primary took long: %s',
  async (form, isLate) => {
    await begin(4);
    const id = await prepare(EXPIRING);
    await execute(id);
    if (isLate) beLate(parts.origin);
    for (const opcode of [Opcode.EXECUTE, Opcode.QUERY])
      parts.target.handlers.set(opcode, () => errorReply(ErrorCode.OVERLOADED));
    if (form === 'as text') await query(EXPIRING, { values: VALUES });
    else await execute(id);
    await eventually(() => expect(parts.queue.writes).toHaveLength(1));
    if (isLate) await eventually(async () => expect(await codes()).toEqual(['t late-ttl']));
    else expect(await codes()).toEqual([]);
  },
);

test.each([
  ['which has a TTL', EXPIRING, undefined],
  ['of a table that is asked for first and has a default TTL', PLAIN, 60],
  ['of a table that is asked for first and has none', PLAIN, 0],
])('the mark is made before the log of writes under way forgets the write, %s', async (_, text, defaultTtlSeconds) => {
  const order: string[] = [];
  const shadows = new ShadowWriter({
    notes: { done: () => order.push('done') } as Partial<WriteNotes> as WriteNotes,
    timeoutMs: 1000,
    gate: new PhaseGate('dual-async', 1),
    failedWrites: { mark: (_, { code }) => order.push(code) } as Partial<FailedWrites> as FailedWrites,
    lists: new ListOrder(),
    facts: {} as SchemaFacts,
    counters: new Counters(),
    logger: createLogger('test', 'silent'),
  });
  const facts = (defaultTtlSeconds === undefined ? undefined : { defaultTtlSeconds }) as ReturnType<
    SchemaFacts['known']
  >;
  const context = {
    prepared: new PreparedStatements(),
    timestamps: new TimestampGenerator(),
    expiry: new Expiry({ known: () => undefined, of: async () => facts, generation: 0 }),
    targetConsistency: new Map(),
  };
  const header = { version: 4, isResponse: false, flags: 0, streamId: 1, opcode: Opcode.QUERY };
  const read = readClientRequest(encodeFrame(header, encodeQuery(text, { values: VALUES }, 4)), 4, 'ks', context);
  if (read.kind !== 'request') throw new Error(read.kind);
  read.request.noteSent();
  shadows.succeed(read.request, 'target');
  expect(order).toEqual(['done']);
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + LATE_MS);
  shadows.succeed(read.request, 'target');
  const expected = defaultTtlSeconds === 0 ? ['done', 'done'] : ['done', 'late-ttl', 'done'];
  await new Promise(setImmediate);
  expect(order).toEqual(expected);
});

test('after a schema change a statement that was without a TTL is looked at again', () => {
  let [generation, defaultTtlSeconds] = [0, 0];
  const schema = {
    known: () => ({ defaultTtlSeconds }) as ReturnType<SchemaFacts['known']>,
    of: async () => undefined,
    get generation() {
      return generation;
    },
  };
  const expiry = new Expiry(schema);
  const entry = new PreparedStatements().entryOf(PLAIN, 'ks');
  expect(expiry.ofEntry(entry, undefined)).toBe(false);
  defaultTtlSeconds = 60;
  expect(expiry.ofEntry(entry, undefined)).toBe(false);
  generation++;
  expect(expiry.ofEntry(entry, undefined)).toBe(true);
});

test('what was guessed while a table was not known is no reason for a mark once it is', async () => {
  let facts: { defaultTtlSeconds: number } | undefined = { defaultTtlSeconds: 0 };
  let isKnown = false;
  const expiry = new Expiry({
    known: () => (isKnown ? facts : undefined) as ReturnType<SchemaFacts['known']>,
    of: async () => facts as ReturnType<SchemaFacts['known']>,
    generation: 0,
  });
  const entry = new PreparedStatements().entryOf(PLAIN, 'ks');
  const statements = [{ statement: entry.statement, entry }];
  expect([expiry.ofAny(statements, 'ks'), expiry.ofAnyNow(statements, 'ks')]).toEqual([true, undefined]);
  expect(await expiry.ofAnyOnceKnown(statements, 'ks')).toBe(false);
  isKnown = true;
  // The guess is kept for a second.
  expect([expiry.ofAny(statements, 'ks'), expiry.ofAnyNow(statements, 'ks')]).toEqual([true, false]);
  facts = { defaultTtlSeconds: 60 };
  expect([expiry.ofAnyNow(statements, 'ks'), await expiry.ofAnyOnceKnown(statements, 'ks')]).toEqual([true, true]);
  facts = undefined;
  expect([expiry.ofAnyNow(statements, 'ks'), await expiry.ofAnyOnceKnown(statements, 'ks')]).toEqual([undefined, true]);
});
