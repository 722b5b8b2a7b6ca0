import { afterEach, expect, test } from 'vitest';
import { createCqlSession } from '#adapters/cql/session.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { encodeError } from '#core/cql/error-message.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout, readValues } from '#core/cql/request-layout.ts';
import { decodePrepare } from '#core/cql/request-messages.ts';
import { encodePrepared, encodeRows, encodeVoid } from '#core/cql/result-message.ts';
import { encodeInet, encodeInt, encodeList, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import { TargetWriter } from '#core/jobs/target-writer.ts';
import type { ToStatements } from '#core/merge/statements.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { LoadSession } from '#core/ports.ts';
import { tokenOf } from '#core/token/token.ts';
import { type StubNode, startStubNode } from '../../support/stub-node.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

const text: CqlType = { kind: 'native', name: 'text' };
const local = encodeRows(
  {
    columnCount: 3,
    columns: [
      { keyspace: 'system', table: 'local', name: 'data_center', type: text },
      { keyspace: 'system', table: 'local', name: 'host_id', type: { kind: 'native', name: 'uuid' } },
      { keyspace: 'system', table: 'local', name: 'tokens', type: { kind: 'set', element: text, frozen: true } },
    ],
  },
  [[encodeText('dc1'), encodeUuid('123e4567-e89b-12d3-a456-426655440000'), encodeList([encodeText('42')])]],
);

type Answer = { readonly opcode: number; readonly body: Buffer };

function refused(code: ErrorCode, more: object = {}): Answer {
  return { opcode: Opcode.ERROR, body: encodeError({ code, message: 'not now', ...more }, 4) };
}

const done: Answer = { opcode: Opcode.RESULT, body: encodeVoid() };

/** A session with a node that answers requests other than system queries with `answers` in turn, then with VOID. */
async function sessionWith(
  answers: Answer[],
  peers = encodeRows({ columnCount: 0, columns: [] }, []),
  changes: Partial<ResolvedCluster> = {},
): Promise<{
  session: LoadSession;
  seen: number[];
  texts: string[];
  batches: Buffer[];
  pageSizes: (number | undefined)[];
}> {
  const pageSizes: (number | undefined)[] = [];
  const seen: number[] = [];
  const texts: string[] = [];
  const batches: Buffer[] = [];
  const node: StubNode = await startStubNode(({ opcode, body }) => {
    if (opcode === Opcode.QUERY) {
      const { statements, pageSize } = readRequestLayout(opcode, body, 4);
      const query = statements[0]!.text!;
      if (query.includes('system.local')) return { opcode: Opcode.RESULT, body: local };
      if (query.includes('system.peers')) return { opcode: Opcode.RESULT, body: peers };
      texts.push(query);
      pageSizes.push(pageSize);
    }
    if (opcode === Opcode.PREPARE) {
      const id = Buffer.from(`id of ${decodePrepare(body, 4).text}`);
      const prepared = { id, markers: [], partitionKeyIndexes: [], result: { columnCount: 0, columns: [] } };
      seen.push(opcode);
      return { opcode: Opcode.RESULT, body: encodePrepared(prepared, 4) };
    }
    if (opcode !== Opcode.QUERY && opcode !== Opcode.EXECUTE && opcode !== Opcode.BATCH) return undefined;
    seen.push(opcode);
    if (opcode === Opcode.BATCH) batches.push(Buffer.from(body));
    return answers.shift() ?? done;
  });
  open.push(node);
  const config: ResolvedCluster = {
    name: 'target',
    kind: 'cassandra',
    contactPoints: ['127.0.0.1'],
    port: node.port,
    localDatacenter: 'dc1',
    credentials: null,
    tls: { enabled: false, caFile: null, certFile: null, keyFile: null, verifyHostname: true },
    secureConnectBundle: null,
    consistency: { read: 'LOCAL_QUORUM', write: 'LOCAL_QUORUM', serial: 'LOCAL_SERIAL' },
    connectionsPerHost: 1,
    connectTimeoutMs: 5000,
    requestTimeoutMs: 5000,
    retry: { maxAttempts: 3, minDelayMs: 1, maxDelayMs: 2, on: ['timeout', 'unavailable', 'overloaded'] },
    addressMap: {},
    maxWaitMs: 1000,
    pageSize: 5000,
    preparedCacheSize: 1000,
    routing: { tokenAware: true },
    ...changes,
  };
  const session = await createCqlSession(config);
  open.push(session);
  return { session, seen, texts, batches, pageSizes };
}

const writeTimeout = refused(ErrorCode.WRITE_TIMEOUT, { writeType: 'SIMPLE' });

test('a write with its own timestamp is sent again after a time-out', async () => {
  const { session, texts } = await sessionWith([writeTimeout, writeTimeout]);
  await session.query('UPDATE t SET v = 1 WHERE id = 1', [], { timestampMicros: 5n });
  expect(texts.length).toBe(3);
});

test.each([
  ['without a timestamp', 'UPDATE t SET v = 1 WHERE id = 1', {}],
  ['to a counter', 'UPDATE t SET v = v + 1 WHERE id = 1', { timestampMicros: 5n }],
  ['to a list', "UPDATE t SET v = ['a'] + v WHERE id = 1", { timestampMicros: 5n }],
  ['with a condition', 'UPDATE t SET v = 1 WHERE id = 1 IF EXISTS', { timestampMicros: 5n }],
  ['with a function', 'UPDATE t SET v = now() WHERE id = 1', { timestampMicros: 5n }],
  [
    'that its caller calls not idempotent',
    'UPDATE t SET v = 1 WHERE id = 1',
    { timestampMicros: 5n, idempotent: false },
  ],
])('a write %s is not sent again after a time-out', async (_, query, options) => {
  const { session, texts } = await sessionWith([writeTimeout]);
  await expect(session.query(query, [], options)).rejects.toMatchObject({ code: ErrorCode.WRITE_TIMEOUT });
  expect(texts.length).toBe(1);
});

test('a session keeps as many prepared statements as its config says, and asks for pages of that size', async () => {
  const { session, seen, pageSizes } = await sessionWith([], undefined, { preparedCacheSize: 2, pageSize: 7 });
  for (const table of ['a', 'b', 'b', 'a', 'c', 'a', 'b']) await session.prepare(`SELECT v FROM ${table}`);
  expect(seen.filter((opcode) => opcode === Opcode.PREPARE)).toHaveLength(4);
  await session.query('SELECT v FROM a');
  await session.query('SELECT v FROM a', [], { pageSize: 3 });
  expect(pageSizes).toEqual([7, 3]);
});

test('attempts end with the policy, and the last error is told', async () => {
  const { session, texts } = await sessionWith(new Array<Answer>(5).fill(refused(ErrorCode.OVERLOADED)));
  await expect(session.query('SELECT a FROM t')).rejects.toThrow(
    /^target 127\.0\.0\.1:\d+ answered OVERLOADED: not now$/,
  );
  expect(texts.length).toBe(3);
});

test('a forgotten statement is prepared again and executed, a counter batch too', async () => {
  const forgotten = refused(ErrorCode.UNPREPARED, { unpreparedId: Buffer.from('id') });
  const { session, seen } = await sessionWith([forgotten]);
  const add = await session.prepare('UPDATE t SET c = c + 1 WHERE id = 1');
  await session.batch('counter', [{ statement: add, values: [] }]);
  expect(seen).toEqual([Opcode.PREPARE, Opcode.BATCH, Opcode.PREPARE, Opcode.BATCH]);
});

test('a batch that its caller has encoded is sent as it is, and again when its statements were forgotten', async () => {
  const forgotten = refused(ErrorCode.UNPREPARED, { unpreparedId: Buffer.from('id') });
  const { session, seen, batches } = await sessionWith([forgotten]);
  const insert = await session.prepare('INSERT INTO t (id) VALUES (?) USING TIMESTAMP 5');
  const body = encodeBatch(BatchKind.UNLOGGED, [{ id: insert.id, values: [encodeInt(1)] }], {}, 4);
  await session.sendBatch(body, [insert]);
  expect(seen).toEqual([Opcode.PREPARE, Opcode.BATCH, Opcode.PREPARE, Opcode.BATCH]);
  expect(batches).toEqual([body, body]);
});

test('a node that prepares to another id gets that id in the batch', async () => {
  const forgotten = refused(ErrorCode.UNPREPARED, { unpreparedId: Buffer.from('id') });
  const { session, batches } = await sessionWith([forgotten]);
  const insert = await session.prepare('INSERT INTO t (id) VALUES (?) USING TIMESTAMP 5');
  const encode = (id: Uint8Array) =>
    encodeBatch(BatchKind.UNLOGGED, [{ id, values: [encodeInt(1), undefined, null] }], { timestampMicros: 5n }, 4);
  const old = { ...insert, id: Buffer.from('an id of before') };
  await session.sendBatch(encode(old.id), [old]);
  expect(batches).toEqual([encode(old.id), encode(insert.id)]);
});

test('a batch that its caller has encoded is not repeated after a time-out: the caller does that', async () => {
  const { session, seen } = await sessionWith([writeTimeout]);
  const insert = await session.prepare('INSERT INTO t (id) VALUES (?)');
  const body = encodeBatch(BatchKind.UNLOGGED, [{ id: insert.id, values: [encodeInt(1)] }], {}, 4);
  await expect(session.sendBatch(body, [insert])).rejects.toMatchObject({ code: ErrorCode.WRITE_TIMEOUT });
  expect(seen).toEqual([Opcode.PREPARE, Opcode.BATCH]);
});

test('lists that a refused batch may have written are sent again a microsecond later, never as they were', async () => {
  const { session, batches } = await sessionWith([refused(ErrorCode.UNAVAILABLE), refused(ErrorCode.OVERLOADED)]);
  const toStatements: ToStatements = (_, { listAttempt }) => [
    { text: 'UPDATE t USING TIMESTAMP ? SET l = ? + l WHERE id = 1', values: [encodeInt(listAttempt)], byteLength: 4 },
  ];
  const writer = new TargetWriter<undefined>(
    {
      target: session,
      clock: { nowMillis: () => 0 },
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
      sleep: async () => undefined,
    },
    {
      table: 'ks.t',
      toStatements,
      consistency: Consistency.ONE,
      exactTimes: false,
      bytesPerSecond: 1e12,
      maxBytesInFlight: 1 << 20,
      listAttempt: 7,
    },
  );
  const request = writer.take(undefined);
  const write = { kind: 'deletePartition', timestampMicros: 1n, localDeletionTimeSeconds: 1 } as const;
  request.kept.push({ write, partitionKey: [] });
  await writer.write(request);
  await writer.finish();
  const times = batches.map((batch) => {
    const [statement] = readRequestLayout(Opcode.BATCH, batch, 4).statements;
    return Buffer.from(readValues(batch, statement!)[0]!.value!).readInt32BE();
  });
  expect(times).toEqual([7, 8, 9]);
});

test('a batch that its caller calls idempotent is repeated by the session', async () => {
  const { session, batches } = await sessionWith([refused(ErrorCode.UNAVAILABLE)]);
  const insert = await session.prepare('INSERT INTO t (id) VALUES (?)');
  const body = encodeBatch(BatchKind.UNLOGGED, [{ id: insert.id, values: [encodeInt(1)] }], {}, 4);
  await session.sendBatch(body, [insert], { idempotent: true });
  expect(batches).toHaveLength(2);
});

/** `system.peers_v2` with one node. */
function peersWith(address: string, port: number, dataCenter: string, token: string): Buffer {
  const peer = (name: string, type: CqlType) => ({ keyspace: 'system', table: 'peers_v2', name, type });
  return encodeRows(
    {
      columnCount: 5,
      columns: [
        peer('native_address', { kind: 'native', name: 'inet' }),
        peer('native_port', { kind: 'native', name: 'int' }),
        peer('data_center', text),
        peer('host_id', { kind: 'native', name: 'uuid' }),
        peer('tokens', { kind: 'set', element: text, frozen: true }),
      ],
    },
    [
      [
        encodeInet(address),
        encodeInt(port),
        encodeText(dataCenter),
        encodeUuid('223e4567-e89b-12d3-a456-426655440000'),
        encodeList([encodeText(token)]),
      ],
    ],
  );
}

test('a token of another data centre divides partitions too: their replicas there differ', async () => {
  const { session } = await sessionWith([], peersWith('127.0.0.250', 9042, 'dc2', '1000'));
  expect(session.replicaSet(43n)).toBe(session.replicaSet(1000n));
  expect(session.replicaSet(42n)).not.toBe(session.replicaSet(43n));
  // Behind the last token the ring begins again.
  expect(session.replicaSet(1001n)).toBe(session.replicaSet(-5n));
});

test.each([
  ['goes to its owner first, of two nodes', true],
  ['goes to the nodes by turns where tokenAware is off', false],
])('a request with a routing key %s', async (_, tokenAware) => {
  const served: number[] = [];
  const other = await startStubNode(({ opcode }) => {
    if (opcode !== Opcode.QUERY) return undefined;
    served.push(opcode);
    return done;
  });
  open.push(other);
  const peers = peersWith('127.0.0.1', other.port, 'dc1', '9223372036854775807');
  const { session, texts } = await sessionWith([], peers, { routing: { tokenAware } });
  // Its token is above 42, so the ring gives it to the other node.
  const routingKey = [encodeInt(1), encodeInt(2), encodeInt(3)].find((key) => tokenOf(key) > 42n)!;
  for (let round = 0; round < 4; round++) await session.query('SELECT a FROM t', [], { routingKey });
  expect([texts.length, served.length]).toEqual(tokenAware ? [0, 4] : [2, 2]);
});

test('all partitions of a single node have the same replicas', async () => {
  const { session } = await sessionWith([]);
  expect(session.replicaSet(-5n)).toBe(session.replicaSet(77n));
});

test('a statement is prepared once, however many ask at the same time', async () => {
  const { session, seen } = await sessionWith([]);
  const prepared = await Promise.all([1, 2, 3].map(() => session.prepare('SELECT a FROM t WHERE id = ?')));
  await session.execute(prepared[0]!, [encodeInt(1)]);
  expect(seen).toEqual([Opcode.PREPARE, Opcode.EXECUTE]);
});
