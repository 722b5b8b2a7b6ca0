import { createRequire } from 'node:module';
import { types } from 'cassandra-driver';
import { expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { encodeFrame } from '#core/cql/frame.ts';
import { BatchKind, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodeQuery } from '#core/cql/request-messages.ts';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import { toTableFacts } from '#core/model/table-facts.ts';
import { Expiry } from '../../../proxy-container/src/requests/expiry.ts';
import { PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import { readClientRequest } from '../../../proxy-container/src/requests/read-request.ts';
import { tokensOf } from '../../../proxy-container/src/requests/routing-token.ts';
import type { SchemaFacts } from '../../../proxy-container/src/schema/schema-facts.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';

// What the driver sends and where it sends it: not our code.
interface DriverEncoder {
  encode(value: unknown, type: object): Buffer;
}
const require = createRequire(import.meta.url);
const Encoder: new (version: number, options: object) => DriverEncoder = require('cassandra-driver/lib/encoder.js');
const { Murmur3Tokenizer } = require('cassandra-driver/lib/tokenizer.js');
const encoder = new Encoder(4, { encoding: {}, policies: { addressResolution: {} } });

function driverToken(key: Uint8Array): bigint {
  return BigInt(new Murmur3Tokenizer().hash(Buffer.from(key)).getValue().toString());
}

function driverBytes(value: unknown, type: keyof typeof types.dataTypes): Buffer {
  return encoder.encode(value, { code: types.dataTypes[type], info: null });
}

const uuid = '550e8400-e29b-41d4-a716-446655440000';

function schemaOf(tables: Record<string, readonly string[]>, isMurmur3 = true): SchemaFacts {
  const known = (_keyspace: string, table: string) =>
    toTableFacts(
      [...(tables[table] ?? []), 'int v'].map((one, index, all) => {
        const [type, name] = one.split(' ') as [string, string];
        const isKey = index < all.length - 1;
        return { name, type, kind: isKey ? 'partition_key' : 'regular', position: isKey ? index : -1 };
      }),
    );
  return { isMurmur3, known, knownBefore: () => undefined } as unknown as SchemaFacts;
}

const context = () => ({
  prepared: new PreparedStatements(),
  timestamps: new TimestampGenerator(),
  expiry: new Expiry({ known: () => undefined, of: async () => undefined, generation: 0 }),
  targetConsistency: new Map(),
});

function requestOf(opcode: number, body: Buffer, from = context(), version = 4) {
  const frame = encodeFrame({ version, isResponse: false, flags: 0, streamId: 0, opcode }, body);
  const read = readClientRequest(frame, version, 'ks', from);
  if (read.kind !== 'request') throw new Error(read.kind);
  return read.request;
}

function query(text: string, values: readonly BoundValue[] = [], names?: readonly string[]) {
  return requestOf(
    Opcode.QUERY,
    encodeQuery(text, { consistency: 1, values, ...(names ? { names } : {}), timestampMicros: 5n }, 4),
  );
}

test.each([
  ['int', '42', driverBytes(42, 'int')],
  ['int', '-1', driverBytes(-1, 'int')],
  ['bigint', '-9000000000', driverBytes(types.Long.fromString('-9000000000'), 'bigint')],
  ['smallint', '-300', driverBytes(-300, 'smallint')],
  ['tinyint', '-3', driverBytes(-3, 'tinyint')],
  ['varint', '-129', driverBytes(types.Integer.fromString('-129'), 'varint')],
  ['varint', '128', driverBytes(types.Integer.fromString('128'), 'varint')],
  [
    'varint',
    '123456789012345678901234567890',
    driverBytes(types.Integer.fromString('123456789012345678901234567890'), 'varint'),
  ],
  ['text', "'it''s ü'", driverBytes("it's ü", 'text')],
  ['ascii', '$$a$$', driverBytes('a', 'ascii')],
  ['uuid', uuid, driverBytes(types.Uuid.fromString(uuid), 'uuid')],
  ['timeuuid', uuid.toUpperCase(), driverBytes(types.Uuid.fromString(uuid), 'uuid')],
  ['boolean', 'TRUE', driverBytes(true, 'boolean')],
  ['blob', '0x00fF', driverBytes(Buffer.from('00ff', 'hex'), 'blob')],
  ['timestamp', '1700000000000', driverBytes(new Date(1_700_000_000_000), 'timestamp')],
  ['inet', "'10.0.0.255'", driverBytes(types.InetAddress.fromString('10.0.0.255'), 'inet')],
])('the token of a %s written as %s is that of the value as the driver binds it', (type, text, bytes) => {
  const schema = schemaOf({ t: [`${type} id`] });
  expect(tokensOf(query(`INSERT INTO t (id, v) VALUES (${text}, 1)`), schema)).toEqual([driverToken(bytes)]);
  expect(tokensOf(query(`DELETE FROM t WHERE id = ${text}`), schema)).toEqual([driverToken(bytes)]);
  expect(tokensOf(query('UPDATE t SET v = 1 WHERE id = ?', [bytes]), schema)).toEqual([driverToken(bytes)]);
});

test('a key of several columns is joined in the order of the table, whatever the order in the text', () => {
  const schema = schemaOf({ t: ['int a', 'text b'] });
  const expected = driverToken(Buffer.from([0, 4, 0, 0, 0, 7, 0, 0, 3, 0x61, 0x62, 0x63, 0]));
  const values = [encodeText('abc'), encodeInt(7)];
  expect(tokensOf(query('UPDATE t SET v = 1 WHERE b = ? AND a = ?', values), schema)).toEqual([expected]);
  expect(tokensOf(query("INSERT INTO t (b, a, v) VALUES ('abc', ?, 1)", [encodeInt(7)]), schema)).toEqual([expected]);
  const named = query('DELETE FROM t WHERE b = :b AND a = :a', values, ['b', 'a']);
  expect(tokensOf(named, schema)).toEqual([expected]);
});

test.each([
  ['of several partitions', 'DELETE FROM t WHERE id IN (1, 2)'],
  ['whose key has not its own form', 'DELETE FROM t WHERE id = 1.5'],
  ['whose key no int can be', 'DELETE FROM t WHERE id = 4294967296'],
  ['of a document', `INSERT INTO t JSON '{"id": 1}'`],
  ['by a function', 'DELETE FROM t WHERE id = f(1)'],
])('a write %s may be anywhere in the table', (_what, text) => {
  expect(tokensOf(query(text), schemaOf({ t: ['int id'] }))).toBeNull();
});

test('what no schema is known of, what is unset, and another partitioner leave the token open', () => {
  const insert = query('INSERT INTO t (id, v) VALUES (1, 1)');
  expect(tokensOf(insert, schemaOf({}))).toBeNull();
  expect(tokensOf(insert, schemaOf({ t: ['int id'] }, false))).toBeNull();
  expect(tokensOf(query('INSERT INTO t (id) VALUES (?)', [null]), schemaOf({ t: ['int id'] }))).toBeNull();
});

test('the token of a generated key is that of the value which is sent', () => {
  const request = query('INSERT INTO t (id, v) VALUES (uuid(), 1)');
  const sent = /VALUES \(([0-9a-f-]{36})/.exec(request.frameFor('target').toString('latin1'))![1]!;
  const expected = driverToken(driverBytes(types.Uuid.fromString(sent), 'uuid'));
  expect(tokensOf(request, schemaOf({ t: ['uuid id'] }))).toEqual([expected]);
});

test('a batch has the tokens of all its statements, and those of one table', () => {
  const from = context();
  const entry = from.prepared.entryOf('INSERT INTO b (id, v) VALUES (?, ?)', 'other');
  entry.keyColumns = ['id'];
  const statements = [
    { text: 'INSERT INTO a (id, v) VALUES (1, 1)', values: [] },
    { id: entry.id, values: [encodeInt(2), encodeInt(1)] },
    { text: 'INSERT INTO a (id, v) VALUES (?, 1)', values: [encodeInt(3)] },
  ];
  const body = encodeBatch(BatchKind.LOGGED, statements, { consistency: 1, timestampMicros: 5n }, 4);
  const request = requestOf(Opcode.BATCH, body, from);
  const tokens = [1, 2, 3].map((id) => driverToken(encodeInt(id)));
  const schema = schemaOf({ a: ['int id'] });
  expect(tokensOf(request, schema)).toEqual(tokens);
  expect(tokensOf(request, schema, { keyspace: 'ks', table: 'a' })).toEqual([tokens[0], tokens[2]]);
  expect(tokensOf(request, schema, { keyspace: 'other', table: 'b' })).toEqual([tokens[1]]);
});

test.each([4, 5])('the markers of an EXECUTE of v%i are found without a question', (version) => {
  const from = context();
  const entry = from.prepared.entryOf('UPDATE t SET v = ? WHERE a = ? AND b = ?', 'ks');
  entry.keyColumns = ['a', 'b'];
  const values = [encodeInt(0), encodeInt(7), encodeText('abc')];
  const body = encodeExecute(entry.id, { consistency: 1, values, timestampMicros: 5n }, version, entry.id);
  const request = requestOf(Opcode.EXECUTE, body, from, version);
  const expected = driverToken(Buffer.from([0, 4, 0, 0, 0, 7, 0, 0, 3, 0x61, 0x62, 0x63, 0]));
  expect(tokensOf(request, schemaOf({}))).toEqual([expected]);
});
