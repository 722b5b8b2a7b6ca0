import { expect, test } from 'vitest';
import { classify } from '#core/statement/classify.ts';
import { mayExpire } from '#core/statement/may-expire.ts';

const DEFAULTS: Readonly<Record<string, number>> = { plain: 0, expiring: 60 };

test.each([
  ['INSERT INTO plain (id) VALUES (?)', false],
  ['INSERT INTO plain (id) VALUES (?) USING TTL 60', true],
  ['INSERT INTO plain (id) VALUES (?) USING TIMESTAMP 5 AND TTL ?', true],
  ['INSERT INTO plain JSON ? USING TTL 5', true],
  ['INSERT INTO plain JSON ?', false],
  ['UPDATE plain USING TTL ? SET v = ? WHERE id = ?', true],
  ['UPDATE plain SET v = ? WHERE id = ?', false],
  ['UPDATE expiring SET v = ? WHERE id = ?', true],
  ['UPDATE expiring USING TTL 0 SET v = ? WHERE id = ?', false],
  ['INSERT INTO expiring (id) VALUES (?) USING TTL 0', false],
  ['DELETE FROM expiring WHERE id = ?', false],
  ['INSERT INTO unknown (id) VALUES (?)', undefined],
  ['INSERT INTO unknown (id) VALUES (?) USING TTL 60', true],
  // The part that is not understood may be anything.
  ['INSERT INTO plain (id) VALUES (?) HENCE FOR EVER', true],
  ['BEGIN BATCH INSERT INTO plain (id) VALUES (1); DELETE FROM expiring WHERE id = 1; APPLY BATCH', false],
  ['BEGIN BATCH INSERT INTO plain (id) VALUES (1); UPDATE expiring SET v = 1 WHERE id = 1; APPLY BATCH', true],
  ['BEGIN BATCH INSERT INTO plain (id) VALUES (1); UPDATE unknown SET v = 1 WHERE id = 1; APPLY BATCH', undefined],
  [
    'BEGIN BATCH INSERT INTO unknown (id) VALUES (1); UPDATE plain USING TTL 9 SET v = 1 WHERE id = 1; APPLY BATCH',
    true,
  ],
])('%s', (text, expected) => {
  expect(mayExpire(classify(text), (_, table) => DEFAULTS[table])).toBe(expected);
});
