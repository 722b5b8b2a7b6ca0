import { describe, expect, test } from 'vitest';
import { classify } from '#core/statement/classify.ts';
import { isCounterSuspect, literalValue } from '#core/statement/statement.ts';

describe('the kind of a text', () => {
  test.each([
    ['SELECT * FROM ks.t WHERE id = 1', 'select', 'ks', 't'],
    ['select json distinct id from T limit 1;', 'select', undefined, 't'],
    ['SELECT "insert", update_time FROM "MyKs"."My""Table"', 'select', 'MyKs', 'My"Table'],
    ['-- INSERT INTO x\nSELECT a FROM t', 'select', undefined, 't'],
    ['// DELETE\r\n/* UPDATE t SET */ SELECT a /* FROM u */ FROM t', 'select', undefined, 't'],
    ["SELECT a FROM t WHERE v = 'x; DELETE FROM u'", 'select', undefined, 't'],
    ['SELECT count(*) FROM t GROUP BY a ORDER BY b ALLOW FILTERING', 'select', undefined, 't'],
    ['INSERT INTO ks.t (a) VALUES (1)', 'insert', 'ks', 't'],
    ['INSERT INTO t JSON \'{"a": 1}\' DEFAULT UNSET', 'insert', undefined, 't'],
    ['  ;; UPDATE t SET a = 1 WHERE id = 2', 'update', undefined, 't'],
    ['DELETE FROM t WHERE id = 1', 'delete', undefined, 't'],
    ["DELETE a, m['k'], u.f FROM ks.t USING TIMESTAMP 5 WHERE id = 1", 'delete', 'ks', 't'],
    ['BEGIN BATCH INSERT INTO t (a) VALUES (1); APPLY BATCH', 'batch', undefined, undefined],
    ['USE "Ks"', 'use', 'Ks', undefined],
    ['use KS;', 'use', 'ks', undefined],
    ['TRUNCATE TABLE ks.t', 'truncate', 'ks', 't'],
    ['TRUNCATE t', 'truncate', undefined, 't'],
    ['TRUNCATE table', 'truncate', undefined, 'table'],
    ['CREATE TABLE IF NOT EXISTS ks.t (a int PRIMARY KEY)', 'ddl', 'ks', 't'],
    ['ALTER TABLE t ADD b int', 'ddl', undefined, 't'],
    ['DROP KEYSPACE IF EXISTS ks', 'ddl', 'ks', undefined],
    ['CREATE INDEX ON ks.t (a)', 'ddl', undefined, undefined],
    ["CREATE ROLE x WITH PASSWORD = 'p'", 'role', undefined, undefined],
    ['DROP USER x', 'role', undefined, undefined],
    ['GRANT SELECT ON t TO x', 'role', undefined, undefined],
    ['LIST ROLES', 'role', undefined, undefined],
    ['DESCRIBE TABLES', 'other', undefined, undefined],
    ['CALL InsightsRpc.reportInsight(?)', 'other', undefined, undefined],
    ['BEGIN TRANSACTION LET a = 1', 'other', undefined, undefined],
    ["SELECT 'unterminated", 'other', undefined, undefined],
    ['UPDATE t SET a = 1 /* unterminated', 'other', undefined, undefined],
    ['', 'other', undefined, undefined],
    ['"SELECT" 1', 'other', undefined, undefined],
    ['SELECTED', 'other', undefined, undefined],
  ] as const)('%j is %s', (text, kind, keyspace, table) => {
    const statement = classify(text);
    expect([statement.kind, statement.keyspace, statement.table]).toEqual([kind, keyspace, table]);
  });

  test.each([
    ['SELECT a FROM t', true],
    ['LIST ALL PERMISSIONS', true],
    ['DESC t', true],
    ['INSERT INTO t (a) VALUES (1)', false],
    ['GRANT SELECT ON t TO x', false],
    ['unknown words', false],
    ['EXPLAIN SELECT a FROM t', false],
  ])('%j is a read: %s', (text, isRead) => {
    expect(classify(text).isRead).toBe(isRead);
  });
});

describe('what a mutation says', () => {
  test.each([
    ['INSERT INTO t (a) VALUES (1) IF NOT EXISTS', true],
    ['INSERT INTO t (a) VALUES (1) IF NOT EXISTS USING TTL 5', true],
    ["INSERT INTO t JSON '{}' IF NOT EXISTS", true],
    ['UPDATE t SET a = 1 WHERE id = 1 IF a = 2 AND b IN (1, 2)', true],
    ['DELETE FROM t WHERE id = 1 IF EXISTS', true],
    ["UPDATE t SET a = 'IF' WHERE id = 1", false],
    ['INSERT INTO t ("if") VALUES (1)', false],
    ['BEGIN BATCH UPDATE t SET a = 1 WHERE id = 1 IF EXISTS APPLY BATCH', true],
    ['UPDATE t SET a = ??? WHERE nonsense IF EXISTS', true],
  ])('%j is conditional: %s', (text, isLwt) => {
    expect(classify(text).isLwt).toBe(isLwt);
  });

  test('its timestamp and TTL, as literals or as markers counted through the text', () => {
    const insert = classify('INSERT INTO t (a, b) VALUES (?, ?) USING TIMESTAMP ? AND TTL 30');
    expect(insert.usingTimestamp).toEqual({ kind: 'marker', index: 2 });
    expect(insert.usingTtl).toEqual({ kind: 'literal', text: '30' });
    const update = classify('UPDATE t USING TTL :ttl AND TIMESTAMP -5 SET a = :a WHERE id = :id');
    expect(update.usingTtl).toEqual({ kind: 'marker', index: 0, name: 'ttl' });
    expect(update.usingTimestamp).toEqual({ kind: 'literal', text: '-5' });
    expect(update.markerNames).toEqual(['ttl', 'a', 'id']);
    expect(classify('DELETE FROM t USING TIMESTAMP ? WHERE id = ?').usingTimestamp).toEqual({
      kind: 'marker',
      index: 0,
    });
  });

  test('the terms of its columns', () => {
    const { boundColumns } = classify(
      `INSERT INTO t (a, "B", c, d, e, f) VALUES (?, 'it''s', 123e4567-e89b-12d3-a456-426655440000, -3, {'k': ?}, f(?))`,
    );
    expect(Object.fromEntries(boundColumns)).toEqual({
      a: { kind: 'marker', index: 0 },
      B: { kind: 'literal', text: "'it''s'" },
      c: { kind: 'literal', text: '123e4567-e89b-12d3-a456-426655440000' },
      d: { kind: 'literal', text: '-3' },
      e: { kind: 'expression', text: "{'k': ?}" },
      f: { kind: 'expression', text: 'f(?)' },
    });
    expect(literalValue("'it''s'")).toBe("it's");
  });

  test('the terms of its WHERE, by = and IN only', () => {
    const { boundColumns } = classify(
      'DELETE FROM t WHERE a = ? AND b IN (?, 5) AND c IN ? AND (d, e) = (?, 7) AND f > ? AND token(g) > ? AND h = :h',
    );
    expect(Object.fromEntries(boundColumns)).toEqual({
      a: { kind: 'marker', index: 0 },
      b: {
        kind: 'list',
        terms: [
          { kind: 'marker', index: 1 },
          { kind: 'literal', text: '5' },
        ],
      },
      c: { kind: 'listMarker', index: 2 },
      d: { kind: 'marker', index: 3 },
      e: { kind: 'literal', text: '7' },
      h: { kind: 'marker', index: 6, name: 'h' },
    });
  });

  test('the terms of a SELECT, for filters', () => {
    const text = "SELECT a FROM ks.t WHERE tenant = 'acme' AND id IN (?, ?) ORDER BY a DESC LIMIT ? ALLOW FILTERING";
    const { boundColumns, markerCount } = classify(text);
    expect([...boundColumns.keys()]).toEqual(['tenant', 'id']);
    expect(markerCount).toBe(3);
  });

  test('the colons of map and UDT literals are not taken for markers', () => {
    const text = "INSERT INTO t (id, m, u) VALUES (:id, {'a':true, :k : :v, 1:null}, {street:'x', zip :z})";
    expect(classify(text).markerNames).toEqual(['id', 'k', 'v']);
    expect(classify("UPDATE t SET m = {'a': :v, 'b'::w} WHERE id = :id").markerNames).toEqual(['v', 'w', 'id']);
  });

  test('what is inside strings, quoted names and comments is not looked at', () => {
    const text = "INSERT INTO t (a, \"?\", b) VALUES ($$ ? now() 'x' $$, ':n', ? /* ? */) -- ? uuid()";
    const statement = classify(text);
    expect([statement.markerCount, statement.nonDeterministic, statement.columns]).toEqual([1, [], ['a', '?', 'b']]);
  });

  test.each([
    ['UPDATE t SET c = c + 1 WHERE id = 1', 'add', true],
    ['UPDATE t SET c = c - ? WHERE id = 1', 'subtract', true],
    ['UPDATE t SET c += 2 WHERE id = 1', 'add', true],
    ['UPDATE t SET c=c+-3 WHERE id = 1', 'add', true],
    ['UPDATE t SET "C" = "C" + ? WHERE id = 1', 'add', true],
    ["UPDATE t SET c = c + ['x'] WHERE id = 1", 'add', false],
    ["UPDATE t SET c = ['x'] + c WHERE id = 1", 'prepend', false],
    ['UPDATE t SET c = ? + c WHERE id = 1', 'prepend', false],
    ['UPDATE t SET c[?] = ? WHERE id = 1', 'setElement', false],
    ['UPDATE t SET c.f = ? WHERE id = 1', 'setField', false],
    ['DELETE c[0] FROM t WHERE id = 1', 'deleteElement', false],
  ])('%j does %s', (text, operation, isCounter) => {
    const statement = classify(text);
    expect(statement.operations.map((one) => one.operation)).toEqual([operation]);
    expect(statement.columns).toEqual([text.includes('"') ? 'C' : 'c']);
    expect(isCounterSuspect(statement)).toBe(isCounter);
  });

  test.each(['UPDATE t SET c = d + 1 WHERE id = 1', 'UPDATE t SET c = ? WHERE id = 1'])(
    '%j does none of these',
    (text) => {
      expect(classify(text).operations).toEqual([]);
    },
  );
});

test('a batch is the sum of its statements', () => {
  const statement = classify(`BEGIN UNLOGGED BATCH USING TIMESTAMP ?
    INSERT INTO a.t (id, v) VALUES (?, now());
    UPDATE b.u SET c = c + ? WHERE id = ?
    DELETE FROM w WHERE id = 'APPLY BATCH';
    APPLY BATCH;`);
  expect(statement).toMatchObject({
    kind: 'batch',
    batchKind: 'unlogged',
    usingTimestamp: { kind: 'marker', index: 0 },
    nonDeterministic: ['now'],
    markerCount: 4,
    isLwt: false,
  });
  expect(statement.children.map(({ kind, keyspace, table }) => [kind, keyspace, table])).toEqual([
    ['insert', 'a', 't'],
    ['update', 'b', 'u'],
    ['delete', undefined, 'w'],
  ]);
  expect(statement.children[1]!.boundColumns.get('id')).toEqual({ kind: 'marker', index: 3 });
  expect(isCounterSuspect(statement)).toBe(true);
  expect(isCounterSuspect(classify('BEGIN COUNTER BATCH APPLY BATCH'))).toBe(true);
  expect(classify('BEGIN BATCH SELECT 1 APPLY BATCH').kind).toBe('other');
  expect(classify('BEGIN BATCH INSERT INTO t (a) VALUES (1)').kind).toBe('other');
});

describe('functions', () => {
  test.each([
    ['INSERT INTO t (a, b) VALUES (now(), UUID ( ))', ['now', 'uuid'], []],
    ['INSERT INTO now (a) VALUES (system.now())', ['now'], []],
    ['UPDATE t SET a = toTimestamp(now()) WHERE id = currentTimeUUID()', ['now', 'currenttimeuuid'], []],
    ['INSERT INTO t (a) VALUES (myfunction(?))', [], ['myfunction']],
    ['INSERT INTO t (a) VALUES (ks.now())', [], ['now']],
    ['INSERT INTO t (a) VALUES ("Fn"(1))', [], ['Fn']],
    ['INSERT INTO t (a, now) VALUES (?, ?)', [], []],
    ["INSERT INTO t (a) VALUES (textAsBlob('x'))", [], []],
    ['UPDATE t SET a = (int)? WHERE id IN (1) AND (a, b) = (1, 2) IF a IN (1)', [], []],
    ["INSERT INTO t JSON '{}'", [], []],
  ])('of %j', (text, nonDeterministic, unknownFunctions) => {
    expect(classify(text)).toMatchObject({ nonDeterministic, unknownFunctions });
  });
});

test('a SELECT that ends inside a string is still a read, which goes to one cluster', () => {
  expect(classify("SELECT * FROM t WHERE a = 'open")).toMatchObject({ isRead: true });
  expect(classify("UPDATE t SET a = 'open")).toMatchObject({ kind: 'other', isRead: false });
});
