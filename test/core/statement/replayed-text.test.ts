import { expect, test } from 'vitest';
import { decodeInt, encodeInt } from '#core/cql/value-codec.ts';
import { qualifyTables } from '#core/statement/qualify-tables.ts';
import { shortenTtl } from '#core/statement/shorten-ttl.ts';

test('tables that a text names alone get the keyspace, others keep theirs', () => {
  expect(qualifyTables('INSERT INTO t (k) VALUES (?)', 'ks')).toBe('INSERT INTO ks.t (k) VALUES (?)');
  expect(qualifyTables('UPDATE "T" SET v = \'from x\' WHERE k = ?', 'Ks')).toBe(
    'UPDATE "Ks"."T" SET v = \'from x\' WHERE k = ?',
  );
  expect(qualifyTables('DELETE v FROM other.t WHERE k = ?', 'ks')).toBe('DELETE v FROM other.t WHERE k = ?');
  expect(qualifyTables('BEGIN BATCH INSERT INTO a (k) VALUES (1); DELETE FROM b WHERE k = 1; APPLY BATCH', 'ks')).toBe(
    'BEGIN BATCH INSERT INTO ks.a (k) VALUES (1); DELETE FROM ks.b WHERE k = 1; APPLY BATCH',
  );
  expect(qualifyTables("insert into /* from */ t (k) values ('update x')", 'ks')).toBe(
    "insert into /* from */ ks.t (k) values ('update x')",
  );
});

test('a TTL is what is left of it, at least one second, as a literal and as a marker', () => {
  const { text, values } = shortenTtl(
    {
      text: "UPDATE t USING TIMESTAMP ? AND TTL ? SET v = 'ttl 9', ttl = ? WHERE k = ?",
      values: [encodeInt(1), encodeInt(100), encodeInt(100), encodeInt(100)],
    },
    { elapsedSeconds: 30, withoutTtlSeconds: () => undefined },
  );
  expect(text).toBe("UPDATE t USING TIMESTAMP ? AND TTL ? SET v = 'ttl 9', ttl = ? WHERE k = ?");
  expect(values.map((value) => value && decodeInt(value))).toEqual([1, 70, 100, 100]);
  const later = (text: string, elapsedSeconds: number) =>
    shortenTtl({ text, values: [] }, { elapsedSeconds, withoutTtlSeconds: () => 7 }).text;
  expect(later('INSERT INTO t (k) VALUES (1) USING TTL 60 AND TIMESTAMP 5', 30)).toBe(
    'INSERT INTO t (k) VALUES (1) USING TTL 30 AND TIMESTAMP 5',
  );
  expect(later('INSERT INTO t (k) VALUES (1) USING TTL 60', 90)).toBe('INSERT INTO t (k) VALUES (1) USING TTL 1');
  // None at all, whatever the table says.
  expect(later('INSERT INTO t (k) VALUES (1) USING TTL 0', 90)).toBe('INSERT INTO t (k) VALUES (1) USING TTL 0');
});

test("what is left of a table's default is named where the statement names no TTL, and nowhere else", () => {
  const left = (text: string, values: readonly (Uint8Array | undefined)[] = []) =>
    shortenTtl(
      { text, values },
      {
        elapsedSeconds: 30,
        withoutTtlSeconds: ({ keyspace, table }) => (table === 't' ? (keyspace === 'ks' ? -4 : 50) : undefined),
      },
    );
  for (const [text, expected] of [
    ['INSERT INTO t (k) VALUES (1)', 'INSERT INTO t (k) VALUES (1) USING TTL 50'],
    ['INSERT INTO t (k) VALUES (1); -- done', 'INSERT INTO t (k) VALUES (1) USING TTL 50; -- done'],
    [`INSERT INTO "t" JSON '{"ttl": 3}'`, `INSERT INTO "t" JSON '{"ttl": 3}' USING TTL 50`],
    ['INSERT INTO ks.t (k) VALUES (1)', 'INSERT INTO ks.t (k) VALUES (1) USING TTL 1'],
    ['INSERT INTO u (k) VALUES (1)', 'INSERT INTO u (k) VALUES (1)'],
    ['insert into t (k) values (1) using timestamp 5', 'insert into t (k) values (1) using TTL 50 AND timestamp 5'],
    ['UPDATE t SET v = 1 WHERE k = 1', 'UPDATE t USING TTL 50 SET v = 1 WHERE k = 1'],
    [
      'UPDATE t USING TIMESTAMP 5 SET v = 1 WHERE k = 1 AND ttl = 9',
      'UPDATE t USING TTL 50 AND TIMESTAMP 5 SET v = 1 WHERE k = 1 AND ttl = 9',
    ],
    [
      'UPDATE t SET "set" = {1}, v = v + {2} WHERE k = 1',
      'UPDATE t USING TTL 50 SET "set" = {1}, v = v + {2} WHERE k = 1',
    ],
    ['DELETE v FROM t WHERE k = 1', 'DELETE v FROM t WHERE k = 1'],
    [
      'BEGIN BATCH INSERT INTO t (k) VALUES (1) DELETE FROM t WHERE k = 1; UPDATE u SET v = 1 WHERE k = 1; UPDATE t SET v = 1 WHERE k = 1; APPLY BATCH',
      'BEGIN BATCH INSERT INTO t (k) VALUES (1) USING TTL 50 DELETE FROM t WHERE k = 1; UPDATE u SET v = 1 WHERE k = 1; UPDATE t USING TTL 50 SET v = 1 WHERE k = 1; APPLY BATCH',
    ],
  ] as const) {
    expect(left(text).text).toBe(expected);
  }
  const bound = left('UPDATE t USING TTL ? SET v = ? WHERE k = ?', [undefined, encodeInt(3), encodeInt(4)]);
  expect(bound.values.map((value) => value && decodeInt(value))).toEqual([50, 3, 4]);
});
