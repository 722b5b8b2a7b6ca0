import { describe, expect, test } from 'vitest';
import { decodeError, type ErrorMessage, encodeError } from '#core/cql/error-message.ts';
import {
  decodeAuthenticate,
  decodeAuthToken,
  decodePlainToken,
  decodeRegister,
  decodeStartup,
  decodeSupported,
  encodeAuthenticate,
  encodeAuthToken,
  encodePlainToken,
  encodeRegister,
  encodeStartup,
  encodeSupported,
} from '#core/cql/handshake-messages.ts';
import { hideMarkers, rewritePrepared } from '#core/cql/hidden-markers.ts';
import { ErrorCode, FrameFlag } from '#core/cql/protocol.ts';
import { decodePrepare, encodePrepare } from '#core/cql/request-messages.ts';
import {
  decodeResult,
  encodePrepared,
  encodeRows,
  encodeSchemaChangeResult,
  encodeSetKeyspace,
  encodeVoid,
  type PreparedMessage,
  readEnvelope,
} from '#core/cql/result-message.ts';
import { decodeEvent, encodeSchemaChangeEvent, type SchemaChange } from '#core/cql/schema-change.ts';
import { ProtocolError } from '#core/errors.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';
import type { CqlType } from '#core/model/cql-type.ts';

const text: CqlType = { kind: 'native', name: 'text' };
const int: CqlType = { kind: 'native', name: 'int' };
const types: CqlType[] = [
  text,
  { kind: 'list', element: int, frozen: true },
  { kind: 'map', key: text, value: { kind: 'set', element: int, frozen: true }, frozen: true },
  { kind: 'tuple', elements: [int, text] },
  { kind: 'udt', keyspace: 'k', name: 'address', fields: [{ name: 'street', type: text }], frozen: true },
  { kind: 'vector', element: { kind: 'native', name: 'float' }, dimensions: 3 },
];

function column(name: string, type: CqlType = text, table = 't'): ResultColumn {
  return { keyspace: 'k', table, name, type };
}

/** Every shorter body must be refused: nothing is guessed. */
function expectEachCutRefused(body: Buffer, decode: (body: Buffer) => unknown): void {
  for (let cut = 0; cut < body.length; cut++) {
    expect(() => decode(body.subarray(0, cut)), `cut at ${cut}`).toThrow(ProtocolError);
  }
}

test('handshake messages come back as they were', () => {
  const options = new Map([
    ['CQL_VERSION', '3.0.0'],
    ['DRIVER_NAME', 'größer'],
  ]);
  expect(decodeStartup(encodeStartup(options))).toEqual(options);
  const supported = new Map([['COMPRESSION', ['lz4', 'snappy']]]);
  expect(decodeSupported(encodeSupported(supported))).toEqual(supported);
  expect(decodeAuthenticate(encodeAuthenticate('a.b.PasswordAuthenticator'))).toBe('a.b.PasswordAuthenticator');
  expect(decodeAuthToken(encodeAuthToken(null))).toBeNull();
  expect(decodePlainToken(decodeAuthToken(encodeAuthToken(encodePlainToken('me', 'pä\u00dfword')))!)).toEqual({
    username: 'me',
    password: 'päßword',
  });
  expect(decodePlainToken(Buffer.from('GSSAPI'))).toBeUndefined();
  expect(decodeRegister(encodeRegister(['STATUS_CHANGE']))).toEqual(['STATUS_CHANGE']);
  expectEachCutRefused(encodeStartup(options), decodeStartup);
});

test('PREPARE has a keyspace in v5 only', () => {
  expect(decodePrepare(encodePrepare('SELECT 1', 5, 'ks'), 5)).toEqual({ text: 'SELECT 1', keyspace: 'ks' });
  expect(decodePrepare(encodePrepare('SELECT 1', 4, 'ks'), 4)).toEqual({ text: 'SELECT 1' });
});

describe.each([3, 4, 5])('in protocol v%i', (version) => {
  test.each<ErrorMessage>([
    { code: ErrorCode.INVALID, message: 'no such table' },
    { code: ErrorCode.UNAVAILABLE, message: 'm', consistency: 6, required: 2, received: 1 },
    { code: ErrorCode.WRITE_TIMEOUT, message: 'm', consistency: 6, received: 1, required: 2, writeType: 'BATCH' },
    { code: ErrorCode.READ_TIMEOUT, message: 'm', consistency: 1, received: 0, required: 1, dataPresent: true },
    { code: ErrorCode.CAS_WRITE_UNKNOWN, message: 'm', consistency: 8, received: 1, required: 2 },
    { code: ErrorCode.FUNCTION_FAILURE, message: 'm', keyspace: 'k', functionName: 'f', argumentTypes: ['int'] },
    { code: ErrorCode.ALREADY_EXISTS, message: 'm', keyspace: 'k', table: 't' },
    { code: ErrorCode.UNPREPARED, message: 'm', unpreparedId: Buffer.alloc(16, 3) },
  ])('ERROR $code comes back as it was', (error) => {
    const body = encodeError(error, version);
    expect(decodeError(body, version)).toEqual(error);
    expectEachCutRefused(body, (cut) => decodeError(cut, version));
  });

  test('rows come back as they were, with every type', () => {
    const columns = types.map((type, index) => column(`c${index}`, type));
    const metadata = { columnCount: columns.length, columns, pagingState: Buffer.from('next') };
    const rows = [columns.map((_, index) => (index === 1 ? null : Buffer.from(`v${index}`)))];
    const body = encodeRows(metadata, rows);
    expect(decodeResult(body, version)).toEqual({ kind: 'rows', metadata, rows });
    expectEachCutRefused(body, (cut) => decodeResult(cut, version));
  });

  test('columns of several tables keep their tables', () => {
    const columns = [column('a'), column('a', int, 'other')];
    const result = decodeResult(encodeRows({ columnCount: 2, columns }, []), version);
    expect(result).toEqual({ kind: 'rows', metadata: { columnCount: 2, columns }, rows: [] });
  });

  test('the small results come back as they were', () => {
    expect(decodeResult(encodeVoid(), version)).toEqual({ kind: 'void' });
    expect(decodeResult(encodeSetKeyspace('ks'), version)).toEqual({ kind: 'setKeyspace', keyspace: 'ks' });
    const change: SchemaChange = { change: 'CREATED', target: 'TABLE', keyspace: 'k', name: 't' };
    expect(decodeResult(encodeSchemaChangeResult(change), version)).toEqual({ kind: 'schemaChange', change });
    expect(decodeEvent(encodeSchemaChangeEvent(change, version))).toEqual({ type: 'SCHEMA_CHANGE', change });
  });

  test('a Prepared result loses the hidden markers and nothing else, spliced as well as decoded', () => {
    const prepared: PreparedMessage = {
      id: Buffer.alloc(16, 1),
      ...(version >= 5 ? { resultMetadataId: Buffer.alloc(16, 2) } : {}),
      markers: [column('a'), column('made', int), column('b', types[2]!), column('made too')],
      partitionKeyIndexes: version >= 4 ? [2, 0] : [],
      result: { columnCount: 1, columns: [column('r')] },
    };
    const expected = {
      ...prepared,
      markers: [column('a'), column('b', types[2]!)],
      partitionKeyIndexes: version >= 4 ? [1, 0] : [],
    };
    const body = encodePrepared(prepared, version);
    expect(hideMarkers(prepared, [1, 3])).toEqual(expected);
    const id = Buffer.from('another id');
    const rewritten = rewritePrepared(body, version, { id, hidden: [1, 3] });
    expect(decodeResult(rewritten, version)).toEqual({ kind: 'prepared', prepared: { ...expected, id } });
    const mixed = { ...prepared, markers: [column('a'), column('made', int, 'u'), column('b'), column('made too')] };
    const keyHidden = rewritePrepared(encodePrepared(mixed, version), version, { hidden: [0] });
    expect(decodeResult(keyHidden, version)).toMatchObject({
      prepared: { markers: mixed.markers.slice(1), partitionKeyIndexes: [] },
    });
    expect(rewritePrepared(body, version, {})).toBe(body);
    expectEachCutRefused(body, (cut) => decodeResult(cut, version));
  });
});

test('tracing id, warnings and custom payload are passed over', () => {
  const envelope = Buffer.concat([
    Buffer.alloc(16, 9),
    Buffer.from('0001000474657374', 'hex'),
    Buffer.from('000100016b00000001aa', 'hex'),
  ]);
  const flags = FrameFlag.TRACING | FrameFlag.WARNING | FrameFlag.CUSTOM_PAYLOAD;
  expect(readEnvelope(flags, Buffer.concat([envelope, encodeVoid()]))).toEqual({
    offset: envelope.length,
    warnings: ['test'],
  });
});

test('a result that announces more rows than it has bytes is refused at once', () => {
  const body = encodeRows({ columnCount: 1, columns: [column('a')] }, []);
  body.writeInt32BE(0x7fffffff, body.length - 4);
  expect(() => decodeResult(body, 4)).toThrow(/announces 2147483647 rows/);
});
