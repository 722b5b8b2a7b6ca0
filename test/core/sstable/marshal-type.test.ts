import { expect, test } from 'vitest';
import { SSTableUnsupportedError } from '#core/errors.ts';
import { fixedLengthOf, VARIABLE_LENGTH } from '#core/model/value-length.ts';
import { parseMarshalType } from '#core/sstable/marshal-type.ts';

const parse = (text: string) => parseMarshalType(text, 'test');

test('names are known with and without their package', () => {
  expect(parse('org.apache.cassandra.db.marshal.Int32Type')).toEqual(parse('Int32Type'));
});

test('freezing covers all that is inside', () => {
  expect(parse('FrozenType(ListType(SetType(Int32Type)))').type).toMatchObject({
    kind: 'list',
    frozen: true,
    element: { kind: 'set', frozen: true },
  });
  expect(parse('ListType(FrozenType(SetType(Int32Type)))').type).toMatchObject({
    frozen: false,
    element: { frozen: true },
  });
});

test('ReversedType is a property of the clustering column, not of its type', () => {
  expect(parse('ReversedType(TimeUUIDType)')).toEqual({ type: { kind: 'native', name: 'timeuuid' }, reversed: true });
});

test('user types carry hexadecimal names', () => {
  expect(parse('UserType(ks,61646472,7a6970:Int32Type,c3bc:UTF8Type)').type).toEqual({
    kind: 'udt',
    keyspace: 'ks',
    name: 'addr',
    frozen: false,
    fields: [
      { name: 'zip', type: { kind: 'native', name: 'int' } },
      { name: 'ü', type: { kind: 'native', name: 'text' } },
    ],
  });
});

test('compound keys and vectors with spaces are understood', () => {
  expect(parse('CompositeType(Int32Type, UTF8Type)').components).toHaveLength(2);
  expect(parse('VectorType(FloatType , 3)').type).toMatchObject({ kind: 'vector', dimensions: 3 });
});

test('types whose length rule is not known are refused, never guessed', () => {
  for (const text of [
    'com.example.MyType',
    'DynamicCompositeType(a=>BytesType)',
    'ListType',
    'ListType(Int32Type',
    'Int32Type)',
    'VectorType(FloatType , 0)',
    '',
    '('.repeat(1000),
    `${'ListType('.repeat(100)}Int32Type${')'.repeat(100)}`,
  ]) {
    expect(() => parse(text)).toThrow(SSTableUnsupportedError);
  }
});

test('small integers, dates and times are of variable length to the storage engine', () => {
  const lengthOf = (text: string) => fixedLengthOf(parse(text).type);
  expect(['Int32Type', 'LongType', 'UUIDType', 'BooleanType', 'TimestampType'].map(lengthOf)).toEqual([4, 8, 16, 1, 8]);
  for (const text of ['ByteType', 'ShortType', 'SimpleDateType', 'TimeType', 'CounterColumnType', 'InetAddressType']) {
    expect(lengthOf(text)).toBe(VARIABLE_LENGTH);
  }
  expect(lengthOf('VectorType(FloatType , 3)')).toBe(12);
  expect(lengthOf('VectorType(UTF8Type , 3)')).toBe(VARIABLE_LENGTH);
});
