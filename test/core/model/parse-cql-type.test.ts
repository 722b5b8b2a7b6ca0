import { expect, test } from 'vitest';
import { renderType } from '#core/model/compare-schema.ts';
import { isMultiCell } from '#core/model/cql-type.ts';
import { parseCqlType } from '#core/model/parse-cql-type.ts';

const udts = (name: string) =>
  name === 'addr' || name === 'My Type'
    ? [
        { name: 'zip', type: 'int' },
        { name: 'tags', type: 'frozen<set<text>>' },
      ]
    : undefined;
const parse = (text: string) => parseCqlType(text, 'ks', udts);

test('types read back as they were written', () => {
  for (const text of [
    'int',
    'list<int>',
    'frozen<list<text>>',
    'vector<float, 3>',
    'map<text, frozen<tuple<int, double>>>',
  ]) {
    expect(renderType(parse(text)).replaceAll('frozen<tuple<int, double>>', 'tuple<int, double>')).toBe(
      text.replaceAll('frozen<tuple<int, double>>', 'tuple<int, double>'),
    );
  }
});

test('only the outermost non-frozen collection or UDT is multi-cell', () => {
  expect(isMultiCell(parse('map<text, frozen<list<int>>>'))).toBe(true);
  expect(isMultiCell(parse('frozen<map<text, list<int>>>'))).toBe(false);
  expect(isMultiCell(parse('addr'))).toBe(true);
  expect(isMultiCell(parse('frozen<addr>'))).toBe(false);
  expect(isMultiCell(parse('tuple<int, text>'))).toBe(false);
});

test('a user-defined type brings its fields, quoted names too', () => {
  expect(parse('frozen<"My Type">')).toMatchObject({
    kind: 'udt',
    name: 'My Type',
    frozen: true,
    fields: [{ name: 'zip' }, { name: 'tags' }],
  });
});

test.each(['', 'list<', 'list<int', 'nonsense', 'int int', 'vector<float, x>', 'map<int>'])(
  '%j is refused by name',
  (text) => {
    expect(() => parse(text)).toThrow(/not understood/);
  },
);
