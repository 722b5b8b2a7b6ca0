import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageInvalidError } from '#core/errors.ts';
import { decodeFailedWrite, encodeFailedWrite, type FailedWrite, findTables } from '#core/model/failed-write.ts';

const write: FailedWrite = {
  version: 1,
  id: 'p1-17',
  keyspace: 'ks',
  tables: [{ keyspace: 'ks', table: 't' }],
  consistency: 6,
  timestampMicros: 1_700_000_000_000_001n,
  writtenAtSeconds: 1_700_000_000,
  epoch: 3,
  destination: 'target',
  kind: 'query',
  statements: [{ text: 'INSERT INTO t (k, v) VALUES (?, ?)', values: [new Uint8Array([1]), null] }],
  idempotent: true,
  attempts: 1,
  enqueuedAt: '2026-01-02T03:04:05.678Z',
  instance: 'p1',
};

const value = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(null), fc.constant(undefined));

test('a failed write comes back as it was sent, with null, unset and empty values told apart', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.array(fc.record({ text: fc.string({ minLength: 1 }), values: fc.array(value, { maxLength: 5 }) }), {
        minLength: 1,
        maxLength: 4,
      }),
      (timestampMicros, statements) => {
        const batch: FailedWrite = { ...write, kind: 'batch', batchKind: 'logged', timestampMicros, statements };
        expect(decodeFailedWrite(encodeFailedWrite(batch))).toEqual(batch);
      },
    ),
  );
});

test('values bound by name keep their names', () => {
  const values = new Map<string, Uint8Array | null | undefined>([
    ['k', new Uint8Array([7])],
    ['v', undefined],
  ]);
  const named = { ...write, statements: [{ text: 'UPDATE t SET v = :v WHERE k = :k', values }] };
  expect(decodeFailedWrite(encodeFailedWrite(named))).toEqual(named);
});

test('a message without a timestamp, of another version, or with an unknown key is refused without quoting values', () => {
  const body = JSON.parse(encodeFailedWrite(write)) as Record<string, unknown>;
  for (const broken of [
    { ...body, timestampMicros: undefined },
    { ...body, version: 2 },
    { ...body, surprise: 'hunter2' },
    { ...body, kind: 'batch' },
  ]) {
    expect(() => decodeFailedWrite(JSON.stringify(broken))).toThrow(MessageInvalidError);
  }
  try {
    decodeFailedWrite('{"secret": hunter2}');
    expect.unreachable();
  } catch (error) {
    expect(String(error)).not.toContain('hunter2');
  }
});

test('what queues refuse to carry is escaped, and comes back', () => {
  const odd = { ...write, statements: [{ text: `INSERT INTO t (k) VALUES ('\uFFFE\uFFFF')`, values: [] }] };
  expect(encodeFailedWrite(odd)).not.toMatch(/[\uFFFE\uFFFF]/);
  expect(decodeFailedWrite(encodeFailedWrite(odd))).toEqual(odd);
});

test('the tables are found in every body that is torn behind them, and in none torn before', () => {
  const name = fc.string({ minLength: 1, unit: fc.constantFrom('a', '"', ']', '}', ',', '\\', 'ü') });
  const tables = fc.array(fc.record({ keyspace: name, table: name }), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(tables, name, fc.nat(), (names, keyspace, cut) => {
      const body = encodeFailedWrite({ ...write, keyspace, tables: names });
      const end = body.indexOf('],"consistency"') + 1;
      const at = cut % (body.length + 1);
      expect(findTables(body.slice(0, at))).toEqual(at >= end ? names : undefined);
    }),
  );
});
