import { expect, test } from 'vitest';
import { equalValues } from '#core/checksum/canonical-value.ts';
import { encodeInt, encodeList, encodeMap, encodeText } from '#core/cql/value-codec.ts';
import type { CqlType } from '#core/model/cql-type.ts';

const text: CqlType = { kind: 'native', name: 'text' };
const [a, b] = [encodeText('a'), encodeText('b')];

test('sets and maps are equal in any order, lists are not', () => {
  expect(equalValues({ kind: 'set', element: text, frozen: false }, encodeList([a, b]), encodeList([b, a]))).toBe(true);
  expect(equalValues({ kind: 'list', element: text, frozen: false }, encodeList([a, b]), encodeList([b, a]))).toBe(
    false,
  );
  const map: CqlType = { kind: 'map', key: text, value: text, frozen: true };
  expect(
    equalValues(
      map,
      encodeMap([
        [a, b],
        [b, a],
      ]),
      encodeMap([
        [b, a],
        [a, b],
      ]),
    ),
  ).toBe(true);
  expect(equalValues(map, encodeMap([[a, b]]), encodeMap([[b, a]]))).toBe(false);
  expect(equalValues({ kind: 'set', element: text, frozen: false }, encodeList([a, a]), encodeList([a, b]))).toBe(
    false,
  );
});

test('a field that only one side knows counts as null', () => {
  const tuple: CqlType = { kind: 'tuple', elements: [text, text] };
  const one = Buffer.concat([encodeInt(1), a]);
  const two = Buffer.concat([encodeInt(1), a, encodeInt(-1)]);
  expect(equalValues(tuple, one, two)).toBe(true);
  expect(equalValues(tuple, one, Buffer.concat([encodeInt(1), a, encodeInt(0)]))).toBe(false);
});

test('bytes that are no collection are equal only when they are the same', () => {
  const set: CqlType = { kind: 'set', element: text, frozen: false };
  const liar = Buffer.concat([encodeInt(0x7fffffff), encodeInt(1), a]);
  expect(equalValues(set, liar, encodeList([a]))).toBe(false);
  expect(equalValues(set, liar, Buffer.from(liar))).toBe(true);
  expect(equalValues(set, Buffer.from([0]), Buffer.from([1]))).toBe(false);
});
