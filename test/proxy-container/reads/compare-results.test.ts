import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeRows, encodeVoid } from '#core/cql/result-message.ts';
import { type CompareOptions, compareResults } from '../../../proxy-container/src/reads/compare-results.ts';

type Cell = Buffer | null;
const OPTIONS: CompareOptions = { version: 4, isOrdered: false, sameTokenOrder: true };

interface Answer {
  readonly names?: readonly string[] | undefined;
  readonly rows: readonly (readonly (string | null)[])[];
  readonly hasMore?: boolean;
  readonly type?: 'text' | 'blob';
}

function frameOf(body: Buffer): Buffer {
  return encodeFrame({ version: 4, isResponse: true, flags: 0, streamId: 0, opcode: Opcode.RESULT }, body);
}

function answer({ names = ['id', 'v'], rows, hasMore = false, type = 'text' }: Answer, hasMetadata = true): Buffer {
  const columns = names.map((name) => ({
    keyspace: 'ks',
    table: 't',
    name,
    type: { kind: 'native', name: type } as const,
  }));
  const metadata = {
    columnCount: names.length,
    ...(hasMetadata ? { columns } : {}),
    ...(hasMore ? { pagingState: Buffer.from('state') } : {}),
  };
  const cells = rows.map((row) => row.map((text): Cell => (text === null ? null : Buffer.from(text))));
  return frameOf(encodeRows(metadata, cells));
}

const compare = (left: Answer, right: Answer, options: Partial<CompareOptions> = {}) =>
  compareResults(answer(left), answer(right), { ...OPTIONS, ...options });

test('the same rows are equal, in any order unless the statement asks for one', () => {
  const rows = [
    ['1', 'a'],
    ['2', null],
  ];
  const other = { rows: rows.toReversed() };
  expect(compare({ rows }, { rows })).toEqual({ kind: 'equal' });
  expect(compare({ rows }, other)).toEqual({ kind: 'equal' });
  expect(compare({ rows }, other, { isOrdered: true }).kind).toBe('different');
});

test('how often a row comes counts', () => {
  expect(
    compare({ rows: [['1'], ['1'], ['2']], names: ['v'] }, { rows: [['1'], ['2'], ['2']], names: ['v'] }).kind,
  ).toBe('different');
});

test('null, an empty value and one that looks like a length are different values', () => {
  const values = [null, '', '-;', '0:'];
  for (const left of values) {
    for (const right of values) {
      const kind = left === right ? 'equal' : 'different';
      expect(compare({ rows: [[left, 'x']] }, { rows: [[right, 'x']] }).kind).toBe(kind);
    }
  }
});

test('columns are found by their names', () => {
  const left = { names: ['id', 'v'], rows: [['1', 'a']] };
  expect(compare(left, { names: ['v', 'id'], rows: [['a', '1']] })).toEqual({ kind: 'equal' });
  expect(compare(left, { names: ['v', 'id'], rows: [['1', 'a']] }).kind).toBe('different');
});

test('tables with other columns or types are not compared', () => {
  const left = { rows: [['1', 'a']] };
  const columns = { kind: 'incomparable', reason: 'columns' };
  expect(compare(left, { names: ['id', 'w'], rows: [['1', 'a']] })).toEqual(columns);
  expect(compare(left, { names: ['id'], rows: [['1']] })).toEqual(columns);
  expect(compare(left, { rows: [['1', 'a']], type: 'blob' })).toEqual(columns);
});

test('answers without metadata are compared by position', () => {
  const rows = [['1', 'a']];
  expect(compareResults(answer({ rows }, false), answer({ rows }), OPTIONS)).toEqual({ kind: 'equal' });
  const other = answer({ rows: [['1', 'b']] }, false);
  const different = compareResults(answer({ rows }, false), other, OPTIONS);
  expect(different).toMatchObject({ kind: 'different', difference: { columns: ['#2'] } });
});

test('of first pages the common beginning is compared, where both clusters order their partitions alike', () => {
  const rows = [
    ['1', 'a'],
    ['2', 'b'],
    ['3', 'c'],
  ];
  const longer = { rows, hasMore: true };
  expect(compare({ rows: rows.slice(0, 2), hasMore: true }, longer)).toEqual({ kind: 'equal' });
  expect(compare({ rows: rows.slice(0, 2) }, longer).kind).toBe('different');
  expect(compare(longer, { rows: rows.slice(0, 2) }).kind).toBe('different');
  expect(compare(longer, { rows: [...rows, ['4', 'd']] })).toEqual({ kind: 'equal' });
  expect(compare({ rows: rows.toReversed(), hasMore: true }, longer).kind).toBe('different');
  const partial = { kind: 'incomparable', reason: 'partial' };
  expect(compare(longer, longer, { sameTokenOrder: false })).toEqual(partial);
});

test('what is no rows is not compared', () => {
  expect(compareResults(answer({ rows: [] }), frameOf(encodeVoid()), OPTIONS)).toEqual({
    kind: 'incomparable',
    reason: 'notRows',
  });
});

test('a difference names columns and numbers, and has the digest of both sides', () => {
  const found = compare({ rows: [['1', 'a']] }, { rows: [['1', 'b']] });
  expect(found).toMatchObject({ difference: { primaryRows: 1, shadowRows: 1, columns: ['v'] } });
  expect(JSON.stringify(found)).not.toMatch(/"[ab]"/);
  expect(compare({ rows: [['1', 'a']] }, { rows: [['1', 'b']] })).toEqual(found);
  expect(compare({ rows: [['1', 'b']] }, { rows: [['1', 'a']] })).not.toEqual(found);
  expect(compare({ rows: [['1', 'a']] }, { rows: [] })).toMatchObject({
    difference: { primaryRows: 1, shadowRows: 0, columns: [] },
  });
});

test('rows are equal exactly when they are the same set of rows, whatever their order', () => {
  const cell = fc.option(fc.string({ maxLength: 3 }), { nil: null });
  const table = fc.array(fc.tuple(cell, cell), { maxLength: 5 });
  fc.assert(
    fc.property(table, table, fc.infiniteStream(fc.nat()), (left, right, order) => {
      const shuffled = left
        .map((row) => ({ row, at: order.next().value as number }))
        .sort((a, b) => a.at - b.at)
        .map(({ row }) => row);
      expect(compare({ rows: left }, { rows: shuffled }).kind).toBe('equal');
      const isSame =
        JSON.stringify(left.map((row) => JSON.stringify(row)).sort()) ===
        JSON.stringify(right.map((row) => JSON.stringify(row)).sort());
      expect(compare({ rows: left }, { rows: right }).kind).toBe(isSame ? 'equal' : 'different');
    }),
  );
});
