import { describe, expect, test } from 'vitest';
import { encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import { toTableFacts } from '#core/model/table-facts.ts';
import { classify } from '#core/statement/classify.ts';
import { copyOf, readOf } from '#core/statement/read-back.ts';
import { touchedRows } from '#core/statement/touched-rows.ts';

const facts = toTableFacts([
  { name: 'id', type: 'int', kind: 'partition_key', position: 0 },
  { name: 'c', type: 'text', kind: 'clustering', position: 0 },
  { name: 's', type: 'text', kind: 'static', position: -1 },
  { name: 'a', type: 'int', kind: 'regular', position: -1 },
  { name: 'B', type: 'frozen<list<int>>', kind: 'regular', position: -1 },
  { name: 'tags', type: 'set<text>', kind: 'regular', position: -1 },
  { name: 'u', type: 'my_type', kind: 'regular', position: -1 },
])!;

const rowsOf = (text: string, values: readonly BoundValue[] = []) =>
  touchedRows({ statement: classify(text), keyspace: 'ks', valueOf: (index) => values[index] }, facts);

const KEY = [encodeInt(1), encodeText('x')];
const at = (micros: number) => encodeBigint(BigInt(micros));

describe('the read of what a mutation touched', () => {
  test.each([
    [
      'INSERT INTO t (id, c, a) VALUES (?, ?, 5) IF NOT EXISTS',
      ['SELECT a, writetime(a), ttl(a) FROM ks.t WHERE id = ? AND c = ?'],
    ],
    [
      'UPDATE t SET a = 1, "B" = [1] WHERE id = (int)? AND c = \'x\' IF a = 3',
      ['SELECT a, writetime(a), ttl(a), "B", writetime("B"), ttl("B") FROM ks.t WHERE id = ? AND c = \'x\''],
    ],
    [
      "UPDATE t SET s = 'q', tags = tags + {'k'} WHERE id = ? AND c = ? IF EXISTS",
      ['SELECT s, writetime(s), ttl(s) FROM ks.t WHERE id = ? LIMIT 1', 'SELECT tags FROM ks.t WHERE id = ? AND c = ?'],
    ],
    ['INSERT INTO t (id, c) VALUES (?, ?) IF NOT EXISTS', ['SELECT id FROM ks.t WHERE id = ? AND c = ?']],
    [
      'DELETE FROM t WHERE id = ? AND c = ? IF EXISTS',
      ['SELECT a, writetime(a), ttl(a), "B", writetime("B"), ttl("B"), tags, u FROM ks.t WHERE id = ? AND c = ?'],
    ],
    [
      'DELETE a FROM t WHERE id = ? AND c = ? IF a = 1',
      ['SELECT a, writetime(a), ttl(a) FROM ks.t WHERE id = ? AND c = ?'],
    ],
    ['UPDATE t SET u.f = 1 WHERE (id) = (?) AND c = ? IF a = 1', ['SELECT u FROM ks.t WHERE id = ? AND c = ?']],
  ])('%s', (text, reads) => {
    const rows = rowsOf(text, KEY)!;
    expect(rows.map((row) => readOf(row).text)).toEqual(reads);
    for (const row of rows) expect(readOf(row).values.length).toBe(readOf(row).text.split('?').length - 1);
  });

  test.each([
    "INSERT INTO t JSON '{}' IF NOT EXISTS",
    'INSERT INTO t (id, a) VALUES (1, 5) IF NOT EXISTS',
    'UPDATE t SET a = 1 WHERE id = ? AND c IN (?, ?) IF a = 1',
    'UPDATE t SET a = 1 WHERE id = ? AND c > ?',
    'DELETE FROM t WHERE id = ? IF s = 1',
    'UPDATE t SET nowhere = 1 WHERE id = ? AND c = ? IF EXISTS',
    'UPDATE t SET a = 1 WHERE id = token(3) AND c = ? IF EXISTS',
    'UPDATE t SET a = 1 WHERE id = ? AND c = ? ??? IF EXISTS',
  ])('%s is not known for sure', (text) => {
    expect(rowsOf(text, [...KEY, ...KEY])).toBeUndefined();
  });

  test('what the client left unset is not touched', () => {
    const [row] = rowsOf('UPDATE t SET a = ?, "B" = ? WHERE id = ? AND c = ? IF EXISTS', [undefined, KEY[0], ...KEY])!;
    expect(row?.cells).toEqual(['B']);
  });
});

describe('the copy of what was read', () => {
  const insert = rowsOf('INSERT INTO t (id, c, a, "B") VALUES (?, ?, 5, null) IF NOT EXISTS', KEY)!;
  const cell = (value: number, micros: number, ttl: number | null = null) => [
    encodeInt(value),
    at(micros),
    ttl === null ? null : encodeInt(ttl),
  ];
  const gone = [null, null, null];
  const texts = (copy: ReturnType<typeof copyOf>) => copy.statements.map(({ text }) => text);
  const clockMicros = 900n;

  test('a new row has its marker and its cells at the time of the Paxos round, and its nulls are deletions then', () => {
    const copy = copyOf([{ row: insert[0]!, values: [...cell(5, 100), ...gone] }], { clockMicros });
    expect(texts(copy)).toEqual([
      'INSERT INTO ks.t (id, c, a) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?',
      'DELETE "B" FROM ks.t USING TIMESTAMP ? WHERE id = ? AND c = ?',
    ]);
    expect(copy.statements[0]?.values).toEqual([...KEY, encodeInt(5), at(100), encodeInt(0)]);
    expect(copy.statements[1]?.values).toEqual([at(100), ...KEY]);
    expect(copy.isExact).toBe(true);
  });

  test('cells that others have written since keep their own times, and what is left of their lives', () => {
    const update = rowsOf('UPDATE t SET a = 1, "B" = [2] WHERE id = ? AND c = ? IF EXISTS', KEY)!;
    const copy = copyOf([{ row: update[0]!, values: [...cell(7, 200, 30), ...cell(2, 100)] }], { clockMicros });
    expect(texts(copy)).toEqual([
      'UPDATE ks.t USING TIMESTAMP ? AND TTL ? SET a = ? WHERE id = ? AND c = ?',
      'UPDATE ks.t USING TIMESTAMP ? AND TTL ? SET "B" = ? WHERE id = ? AND c = ?',
    ]);
    expect(copy.statements[0]?.values).toEqual([at(200), encodeInt(30), encodeInt(7), ...KEY]);
    expect(copy.isExact).toBe(true);
  });

  test('a new row that somebody has deleted since is left to the copy of that deletion', () => {
    expect(copyOf([{ row: insert[0]!, values: undefined }], { clockMicros })).toEqual({
      statements: [],
      isExact: true,
      hasTtl: false,
    });
  });

  test('what has no write time to read is written at the clock of the proxy, and said to be inexact', () => {
    const only = (text: string, values: (Uint8Array | null)[] | undefined) =>
      copyOf([{ row: rowsOf(text, KEY)![0]!, values }], { clockMicros });
    for (const [copy, text, index] of [
      [only('DELETE FROM t WHERE id = ? AND c = ? IF EXISTS', undefined), 'DELETE FROM ks.t USING TIMESTAMP ?', 0],
      [only('UPDATE t SET a = null WHERE id = ? AND c = ? IF a = 1', undefined), 'DELETE a FROM ks.t', 0],
      [
        only('INSERT INTO t (id, c) VALUES (?, ?) IF NOT EXISTS', [KEY[0]!]),
        'INSERT INTO ks.t (id, c) VALUES (?, ?)',
        2,
      ],
      [only('UPDATE t SET tags = {} WHERE id = ? AND c = ? IF a = 1', [null]), 'DELETE tags FROM', 0],
      [
        only('UPDATE t SET tags = ? WHERE id = 1 AND c = ? IF a = 1', [KEY[1]!]),
        'UPDATE ks.t USING TIMESTAMP ? SET tags',
        0,
      ],
    ] as const) {
      expect(texts(copy)).toEqual([expect.stringContaining(text)]);
      expect(copy.statements[0]?.values[index]).toEqual(encodeBigint(clockMicros));
      expect(copy.isExact).toBe(false);
    }
  });

  test('a row that is back after its deletion loses only what is older than its cells', () => {
    const [row] = rowsOf('DELETE FROM t WHERE id = ? AND c = ? IF EXISTS', KEY)!;
    const values = [...cell(1, 300), ...gone, null, null];
    const copy = copyOf([{ row: row!, values }], { clockMicros });
    expect(copy.statements.map(({ values: bound }) => bound[0])).toEqual([at(299)]);
    expect(copy.isExact).toBe(false);
  });

  test('in a batch a deletion takes the time of the cells that were written with it', () => {
    const [row] = rowsOf('DELETE FROM t WHERE id = ? AND c = ?', KEY)!;
    const copy = copyOf(
      [
        { row: insert[0]!, values: [...cell(5, 100), ...gone] },
        { row: row!, values: undefined },
      ],
      { clockMicros },
    );
    expect(copy.statements.at(-1)).toEqual({
      text: 'DELETE FROM ks.t USING TIMESTAMP ? WHERE id = ? AND c = ?',
      values: [at(100), ...KEY],
    });
    expect(copy.isExact).toBe(true);
  });

  test('the life of a row marker whose cells are gone is not made up', () => {
    const [row] = rowsOf('INSERT INTO t (id, c, a) VALUES (?, ?, null) IF NOT EXISTS USING TTL 9', KEY)!;
    const copy = copyOf([{ row: row!, values: gone }], { clockMicros });
    expect(texts(copy)).toEqual([expect.stringContaining('DELETE a')]);
    expect(copy.isExact).toBe(false);
  });
});
