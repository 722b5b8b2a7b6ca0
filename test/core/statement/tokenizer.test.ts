import { expect, test } from 'vitest';
import { StatementTooLargeError } from '#core/errors.ts';
import { classify } from '#core/statement/classify.ts';
import { insertMarkers } from '#core/statement/functions.ts';
import { newTokenBudget, tokenize } from '#core/statement/tokenizer.ts';

test.each([
  ['brackets', '('.repeat(16 * 1024 * 1024)],
  ['brackets beyond what a frame may hold', '('.repeat(63 * 1024 * 1024)],
  ['names', 'BEGIN BATCH '.repeat(100_000)],
  ['markers', '?'.repeat(1_000_000)],
])('a text of nothing but %s is refused before it costs more than it is worth', (_, text) => {
  expect(() => classify(text)).toThrow(StatementTooLargeError);
  expect(() => insertMarkers(text)).toThrow(StatementTooLargeError);
});

test('a large blob in a text is one token, and is taken', () => {
  const text = `INSERT INTO ks.t (id, v) VALUES (1, 0x${'ab'.repeat(8 * 1024 * 1024)})`;
  expect(classify(text)).toMatchObject({ kind: 'insert', keyspace: 'ks', table: 't' });
});

test('a batch of a thousand rows is taken', () => {
  const row = "INSERT INTO t (id, a, b, c, d) VALUES (1, 'x', 2.5, true, {1: 2, 3: 4}); ";
  expect(classify(`BEGIN BATCH ${row.repeat(1000)} APPLY BATCH`).children).toHaveLength(1000);
});

test('the texts of one request share what may be taken apart', () => {
  const budget = newTokenBudget();
  const text = '('.repeat(100_000);
  expect(tokenize(text, budget).count).toBe(100_000);
  expect(() => tokenize(text, budget)).toThrow(StatementTooLargeError);
});

test('thousands of generated values beside named markers get names of their own', () => {
  const text = `INSERT INTO t (a, b) VALUES (:ringshift_generated_0, (${'now(),'.repeat(20_000)}now()))`;
  const { inserted } = insertMarkers(text);
  const names = new Set(inserted.map(({ name }) => name));
  expect(names.size).toBe(20_001);
  expect(names.has('ringshift_generated_0')).toBe(false);
});
