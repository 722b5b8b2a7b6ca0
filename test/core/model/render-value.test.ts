import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dayText, instantText } from '#core/model/calendar-text.ts';
import type { CqlType, NativeTypeName } from '#core/model/cql-type.ts';
import { decimalText, doubleText, floatText, signedInteger } from '#core/model/render-number.ts';
import { renderPlain, renderValue } from '#core/model/render-value.ts';

const native = (name: NativeTypeName): CqlType => ({ kind: 'native', name });
const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex');

test('strings are quoted as JSON, or as literals of CQL', () => {
  const text = Buffer.from('it\'s "ü"');
  expect(renderValue(native('text'), text)).toBe('"it\'s \\"ü\\""');
  expect(renderValue(native('text'), text, 'cql')).toBe("'it''s \"ü\"'");
  expect(renderPlain(native('text'), text)).toBe('it\'s "ü"');
});

test('null, empty and absent are told apart', () => {
  expect(renderValue(native('int'), null)).toBe('null');
  expect(renderValue(native('int'), new Uint8Array(0))).toBe('""');
  expect(renderValue(native('text'), new Uint8Array(0), 'cql')).toBe("''");
  expect(renderValue(native('blob'), new Uint8Array(0))).toBe('"0x"');
});

test('collections nest, and differ by style', () => {
  const set: CqlType = { kind: 'set', element: native('int'), frozen: true };
  expect(renderValue(set, bytes('00000001 00000004 00000007'.replaceAll(' ', '')))).toBe('[7]');
  expect(renderValue(set, bytes('00000001 00000004 00000007'.replaceAll(' ', '')), 'cql')).toBe('{7}');
  const tuple: CqlType = { kind: 'tuple', elements: [native('boolean'), native('int')] };
  expect(renderValue(tuple, bytes('0000000101'), 'cql')).toBe('(true, null)');
});

test('bytes that are no value of their type come out as hexadecimal', () => {
  expect(renderValue(native('int'), bytes('0102'))).toBe('"0x0102"');
  expect(renderValue({ kind: 'list', element: native('int'), frozen: true }, bytes('7fffffff'), 'cql')).toBe(
    '0x7fffffff',
  );
  expect(renderValue(native('inet'), bytes('010203'))).toBe('"0x010203"');
});

test('rendering never throws, whatever the bytes', () => {
  const names: NativeTypeName[] = [
    'ascii',
    'bigint',
    'blob',
    'boolean',
    'counter',
    'date',
    'decimal',
    'double',
    'duration',
  ];
  names.push('empty', 'float', 'inet', 'int', 'smallint', 'text', 'time', 'timestamp', 'timeuuid', 'tinyint', 'varint');
  const { type } = fc.letrec<{ type: CqlType }>((tie) => ({
    type: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom(...names).map(native),
      tie('type').map((element): CqlType => ({ kind: 'list', element, frozen: true })),
      fc.tuple(tie('type'), tie('type')).map(([key, value]): CqlType => ({ kind: 'map', key, value, frozen: true })),
      fc.array(tie('type'), { maxLength: 3 }).map((elements): CqlType => ({ kind: 'tuple', elements })),
      tie('type').map((element): CqlType => ({ kind: 'vector', element, dimensions: 3 })),
    ),
  }));
  fc.assert(
    fc.property(type, fc.uint8Array({ maxLength: 40 }), (each, value) => {
      JSON.parse(renderValue(each, value));
      expect(typeof renderValue(each, value, 'cql')).toBe('string');
    }),
    { numRuns: 2000 },
  );
});

test("numbers are written as Java's toString writes them", () => {
  expect([0, -0, 1, 0.001, 0.0001, 1e7, 9999999, 1.5e-7, 1e23, 5e-324, Math.PI].map(doubleText)).toEqual([
    '0.0',
    '-0.0',
    '1.0',
    '0.001',
    '1.0E-4',
    '1.0E7',
    '9999999.0',
    '1.5E-7',
    '1.0E23',
    '4.9E-324',
    '3.141592653589793',
  ]);
  expect([3.4028234663852886e38, Math.fround(1 / 3), Math.fround(0.1), -2].map(floatText)).toEqual([
    '3.4028235E38',
    '0.33333334',
    '0.1',
    '-2.0',
  ]);
  expect([
    decimalText(123n, 2),
    decimalText(-5n, 3),
    decimalText(12n, -3),
    decimalText(1n, 8),
    decimalText(0n, 2),
  ]).toEqual(['1.23', '-0.005', '1.2E+4', '1E-8', '0.00']);
  expect([bytes('ff80'), bytes('0080'), bytes('')].map(signedInteger)).toEqual([-128n, 128n, 0n]);
});

test('dates agree with the calendar of the platform where that reaches', () => {
  fc.assert(
    fc.property(fc.integer({ min: -719162, max: 2932896 }), (days) => {
      expect(dayText(days)).toBe(new Date(days * 86_400_000).toISOString().slice(0, 10));
    }),
  );
  expect(dayText(-(2 ** 31))).toBe('-5877641-06-23');
  expect(dayText(2 ** 31 - 1)).toBe('+5881580-07-11');
});

test('instants have as many digits as they need, before the epoch too', () => {
  expect(instantText(0n)).toBe('1970-01-01T00:00:00Z');
  expect(instantText(-1n)).toBe('1969-12-31T23:59:59.999999Z');
  expect(instantText(1500n)).toBe('1970-01-01T00:00:00.001500Z');
  expect(instantText(1000n)).toBe('1970-01-01T00:00:00.001Z');
});
