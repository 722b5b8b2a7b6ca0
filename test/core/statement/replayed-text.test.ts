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
    30,
  );
  expect(text).toBe("UPDATE t USING TIMESTAMP ? AND TTL ? SET v = 'ttl 9', ttl = ? WHERE k = ?");
  expect(values.map((value) => value && decodeInt(value))).toEqual([1, 70, 100, 100]);
  expect(shortenTtl({ text: 'INSERT INTO t (k) VALUES (1) USING TTL 60 AND TIMESTAMP 5', values: [] }, 30).text).toBe(
    'INSERT INTO t (k) VALUES (1) USING TTL 30 AND TIMESTAMP 5',
  );
  expect(shortenTtl({ text: 'INSERT INTO t (k) VALUES (1) USING TTL 60', values: [] }, 90).text).toContain('TTL 1');
  expect(shortenTtl({ text: 'INSERT INTO t (k) VALUES (1) USING TTL 0', values: [] }, 90).text).toContain('TTL 0');
});
