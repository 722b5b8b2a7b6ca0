import { expect, test } from 'vitest';
import { selectFacts } from '#core/statement/select-facts.ts';

test.each([
  ['SELECT * FROM ks.t WHERE id = ?', undefined],
  ['SELECT DISTINCT id FROM t WHERE token(id) > ? AND token(id) <= ?', undefined],
  ['SELECT count(*), max(v), cast(v AS text), toJson(v), toTimestamp(at) FROM t', undefined],
  ['SELECT v FROM t WHERE id IN (1, 2) AND (a, b) > (1, 2)', undefined],
  ['SELECT json, v FROM t', undefined],
  ['SELECT v AS "now" FROM t WHERE at < maxTimeuuid(?)', undefined],
  ["SELECT v FROM t WHERE v = 'now()'", undefined],
  ['SELECT now() FROM t', 'function'],
  ['SELECT v FROM t WHERE id = 1 AND at > minTimeuuid(currentTimestamp())', 'function'],
  ['SELECT v, WriteTime(v) FROM t', 'writeTime'],
  ['SELECT ttl(v) FROM t', 'writeTime'],
  ['SELECT my_function(v) FROM t', 'unknownFunction'],
  ['SELECT ks."F"(v) FROM t', 'unknownFunction'],
  ['SELECT JSON * FROM t', 'json'],
  ['SELECT v FROM t ORDER BY embedding ANN OF ? LIMIT 3', 'ann'],
] as const)('%s: %s', (text, obstacle) => {
  expect(selectFacts(text).obstacle).toBe(obstacle);
});

test('ORDER BY and LIMIT are seen, also of partitions', () => {
  expect(selectFacts('SELECT * FROM t WHERE id = 1 ORDER BY c DESC')).toMatchObject({
    isOrdered: true,
    isLimited: false,
  });
  expect(selectFacts('SELECT * FROM t PER PARTITION LIMIT 2')).toMatchObject({ isOrdered: false, isLimited: true });
});
