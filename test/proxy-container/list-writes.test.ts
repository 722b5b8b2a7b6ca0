import { afterEach, expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { bodyOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { encodeInt, encodeList } from '#core/cql/value-codec.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { tokenOf } from '#core/token/token.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { errorReply } from '../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;

/** Where the shadow answers nothing is given up, also on a busy machine. */
async function begin(shadowTimeoutMs = 15_000): Promise<void> {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs });
  for (const cluster of [parts.origin, parts.target]) {
    cluster.columns = [
      { name: 'id', type: 'int', kind: 'partition_key', position: 0 },
      { name: 'v', type: 'text', kind: 'regular', position: -1 },
      { name: 'l', type: 'list<int>', kind: 'regular', position: -1 },
      { name: 's', type: 'set<int>', kind: 'regular', position: -1 },
    ];
  }
  client = await parts.connect();
}

afterEach(() => parts.stop());

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
const append = (id: number, element: number): string => `UPDATE t SET l = l + [${element}] WHERE id = ${id}`;
const queued = (): FailedWrite[] => [...parts.queue.writes];
const isSuspect = async (): Promise<boolean> => (await parts.ledger.readTable('ks', 't'))?.state === 'suspect';

/** The proxy then knows the types of the table. */
async function learnTypes(shadowTimeoutMs?: number): Promise<void> {
  await begin(shadowTimeoutMs);
  await query(append(0, 0));
  await eventually(() => expect(parts.target.seen).toHaveLength(1));
  await eventually(() => expect(parts.proxy.status().counters['shadowInFlight']).toBe(0));
  parts.target.seen.length = 0;
}

test('appends to one list reach the shadow in their order, one at a time; other writes wait for nothing', async () => {
  await learnTypes(2000);
  // The first one never gets an answer.
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  const later = [append(1, 2), append(1, 3)];
  await query(append(1, 1));
  for (const text of later) await query(text);
  const others = [append(2, 1), 'UPDATE t SET s = s + {1} WHERE id = 1', "UPDATE t SET v = 'x' WHERE id = 1"];
  for (const text of others) await query(text);
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual([append(1, 1), ...others]));
  // Behind one that failed the others would stand in the wrong place: all are read back.
  await eventually(() => expect(queued().filter(({ readBack }) => readBack)).toHaveLength(4));
  expect(parts.target.texts(Opcode.QUERY)).not.toContain(later[0]);
  await query(append(1, 4));
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toContain(append(1, 4)));
  expect(await isSuspect()).toBe(false);
});

test('their order holds while the shadow answers', async () => {
  await learnTypes();
  const texts = Array.from({ length: 30 }, (_, element) => append(1, element));
  for (const text of texts) await query(text);
  await eventually(() => expect(parts.target.texts(Opcode.QUERY)).toEqual(texts));
});

test('the order of prepared appends holds as well', async () => {
  await learnTypes(2000);
  const reply = await client.request(
    Opcode.PREPARE,
    0,
    encodePrepare('UPDATE t SET l = l + ? WHERE id = ?', 4),
    20_000,
  );
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  const execute = (element: number, id: number): Promise<Buffer> => {
    const values = [encodeList([encodeInt(element)]), encodeInt(id)];
    return client.request(Opcode.EXECUTE, 0, encodeExecute(result.prepared.id, { values }, 4), 20_000);
  };
  parts.target.handlers.set(Opcode.EXECUTE, () => undefined);
  for (const [element, id] of [
    [1, 1],
    [2, 1],
    [1, 2],
  ] as const) {
    await execute(element, id);
  }
  await eventually(() => expect(parts.target.texts(Opcode.EXECUTE)).toHaveLength(2));
  await eventually(() => expect(queued()).toHaveLength(3));
  expect(parts.target.texts(Opcode.EXECUTE)).toHaveLength(2);
});

test('a write of a list that fails is queued to be read back, with its values and its write time', async () => {
  await begin();
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  await query("INSERT INTO t (id, v, l) VALUES (1, 'x', [1, 2])");
  await eventually(() => expect(queued()).toHaveLength(1));
  expect(queued()[0]).toMatchObject({ readBack: true, idempotent: false, keyspace: 'ks', destination: 'target' });
  expect(queued()[0]?.timestampMicros).toBe(parts.origin.seen[0]?.timestampMicros);
});

test.each([
  'INSERT INTO t (id, l) VALUES (1, [1]) USING TTL 50',
  'INSERT INTO t JSON \'{"id": 1, "l": [1]}\'',
  'UPDATE t SET l = l + [1] WHERE id IN (1, 2)',
])('%s, which can not be read back, marks its table', async (text) => {
  await begin();
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  await query(text);
  await eventually(async () => expect(await isSuspect()).toBe(true));
  expect(queued()).toEqual([]);
});

test('a batch that fails is queued whole: by replay, or with a list in it to be read back', async () => {
  await begin();
  parts.target.handlers.set(Opcode.BATCH, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  const plain = { text: "UPDATE t SET v = 'x' WHERE id = 1", values: [] };
  const list = { text: append(2, 1), values: [] };
  for (const statements of [
    [plain, plain],
    [plain, list],
  ]) {
    await client.request(Opcode.BATCH, 0, encodeBatch(0, statements, {}, 4), 20_000);
  }
  await eventually(() => expect(queued()).toHaveLength(2));
  expect(queued().map(({ readBack, kind, batchKind }) => [readBack, kind, batchKind])).toEqual([
    [undefined, 'batch', 'logged'],
    [true, 'batch', 'logged'],
  ]);
});

test('the statements of a batch that were prepared in several keyspaces are queued with their names', async () => {
  await begin();
  const ids: Buffer[] = [];
  for (const keyspace of ['one', 'two']) {
    await query(`USE ${keyspace}`);
    const text = `INSERT INTO t (id, v) VALUES (${keyspace.length}, '${keyspace}')`;
    const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(text, 4), 20_000);
    const result = decodeResult(bodyOf(reply), 4);
    if (result.kind !== 'prepared') throw new Error('not prepared');
    ids.push(result.prepared.id);
  }
  parts.target.handlers.set(Opcode.BATCH, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  const statements = ids.map((id) => ({ id, values: [] }));
  await client.request(Opcode.BATCH, 0, encodeBatch(1, statements, {}, 4), 20_000);
  await eventually(() => expect(queued()).toHaveLength(1));
  expect(queued()[0]?.keyspace).toBeNull();
  expect(queued()[0]?.statements.map(({ text }) => text)).toEqual([
    "INSERT INTO one.t (id, v) VALUES (3, 'one')",
    "INSERT INTO two.t (id, v) VALUES (3, 'two')",
  ]);
  expect(queued()[0]?.tables).toMatchObject([
    { keyspace: 'one', table: 't', tokens: [tokenOf(encodeInt(3))] },
    { keyspace: 'two', table: 't', tokens: [tokenOf(encodeInt(3))] },
  ]);
});

test('types that changed while nobody told of changes are asked for again', async () => {
  await learnTypes();
  for (const cluster of [parts.origin, parts.target]) {
    cluster.columns = [
      { name: 'id', type: 'int', kind: 'partition_key', position: 0 },
      { name: 'v', type: 'list<text>', kind: 'regular', position: -1 },
    ];
    cluster.disconnect();
  }
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.WRITE_TIMEOUT));
  await eventually(async () => {
    await query("UPDATE t SET v = ['x'] WHERE id = 1");
    expect(queued().some(({ readBack }) => readBack)).toBe(true);
  });
});
