import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { type ComparedTable, compareTable } from '#core/checksum/compared-table.ts';
import {
  createHash64,
  createRowDigester,
  equalDigests,
  equalExpiries,
  type Hash64,
} from '#core/checksum/row-digest.ts';
import type { RawRow } from '#core/checksum/selected-row.ts';
import { encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { TableSchema } from '#core/model/table-schema.ts';

const text: CqlType = { kind: 'native', name: 'text' };
const schema: TableSchema = {
  keyspace: 'ks',
  table: 'T',
  partitionKey: [{ name: 'k', type: text }],
  clustering: [{ name: 'c', type: text, reversed: false }],
  staticColumns: [{ name: 's', type: text }],
  regularColumns: [
    { name: 'l', type: { kind: 'list', element: text, frozen: false } },
    { name: 'm', type: { kind: 'map', key: text, value: text, frozen: false } },
    { name: 'select', type: text },
  ],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 0,
  isCounter: false,
};
const table: ComparedTable = compareTable(schema, { elementWriteTimes: false });
let hash: Hash64;
beforeAll(async () => {
  hash = await createHash64();
});

/** token, k, c, s, l, m, select, WRITETIME(s), TTL(s), WRITETIME(select), TTL(select) */
function row(change: Readonly<Record<number, Uint8Array | null>> = {}): RawRow {
  const base: (Uint8Array | null)[] = [
    encodeBigint(5n),
    encodeText('k'),
    encodeText('c'),
    encodeText('s'),
    null,
    null,
    encodeText('v'),
    encodeBigint(1n),
    null,
    encodeBigint(2n),
    null,
  ];
  return base.map((value, i) => (i in change ? (change[i] ?? null) : value));
}

const digestOf = (raw: RawRow, compareWriteTime = true) =>
  createRowDigester(table, hash, { compareWriteTime })(raw, 1000);

test('the selection quotes names and asks for write times only where CQL gives them', () => {
  expect(table.scanText).toBe(
    'SELECT token(k), k, c, s, l, m, "select", WRITETIME(s), TTL(s), WRITETIME("select"), TTL("select") FROM ks."T" WHERE token(k) > ? AND token(k) <= ?',
  );
  const both = compareTable(schema, { elementWriteTimes: true });
  expect(both.scanText).toContain('WRITETIME(m), TTL(m)');
  expect(both.scanText).not.toContain('WRITETIME(l)');
  const counters = compareTable({ ...schema, isCounter: true }, { elementWriteTimes: true });
  expect(counters.scanText).not.toContain('WRITETIME');
});

test('a change of any value, key or write time changes the digest', () => {
  const base = digestOf(row()).digest;
  expect(digestOf(row()).digest).toBe(base);
  for (const at of [2, 3, 4, 5, 6, 7, 9]) expect(digestOf(row({ [at]: new Uint8Array([9, 9]) })).digest).not.toBe(base);
  expect(digestOf(row({ 6: new Uint8Array(0) })).digest).not.toBe(digestOf(row({ 6: null })).digest);
});

test('bytes that move from one value to the next change the digest', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.nat(19), (bytes, cut) => {
      const at = cut % bytes.length;
      const whole = digestOf(row({ 4: bytes, 5: new Uint8Array(0) })).digest;
      const split = digestOf(row({ 4: bytes.subarray(0, at), 5: bytes.subarray(at) })).digest;
      expect(split).not.toBe(whole);
    }),
  );
});

test('without comparing write times only values count', () => {
  const later = row({ 9: encodeBigint(99n) });
  expect(digestOf(later, false).digest).toBe(digestOf(row(), false).digest);
});

test('static values count once in each partition', () => {
  const digest = createRowDigester(table, hash, { compareWriteTime: true });
  const [first, second] = [digest(row(), 0), digest(row(), 0)];
  expect(first.digest).not.toBe(second.digest);
  expect(digest(row({ 1: encodeText('next') }), 0).digest).not.toBe(second.digest);
});

test('expiry is compared with a tolerance of two seconds and never within the digest', () => {
  const expiring = (ttl: number) => digestOf(row({ 10: encodeInt(ttl) }));
  expect(expiring(100).digest).toBe(expiring(900).digest);
  expect(equalDigests(expiring(100), expiring(102))).toBe(true);
  expect(equalDigests(expiring(100), expiring(103))).toBe(false);
  expect(equalDigests(expiring(100), digestOf(row()))).toBe(false);
  expect(equalExpiries([1, null], [1, 5])).toBe(false);
});
