import { expect, test } from 'vitest';
import { namedTables } from '#core/statement/named-tables.ts';

const TRANSACTION = `BEGIN TRANSACTION
  LET row1 = (SELECT v FROM ks.accounts WHERE id = 'from ks.none');
  IF row1.v > 0 THEN UPDATE ks."Balances" SET v -= 1 WHERE id = 1; INSERT INTO plain (id) VALUES (1); END IF
COMMIT TRANSACTION`;

test('the tables of a text of no known grammar are those that stand where tables stand', () => {
  const qualified = [
    { keyspace: 'ks', table: 'accounts' },
    { keyspace: 'ks', table: 'Balances' },
  ];
  expect(namedTables(TRANSACTION, undefined)).toEqual(qualified);
  expect(namedTables(TRANSACTION, 'app')).toEqual([...qualified, { keyspace: 'app', table: 'plain' }]);
});

test.each(['', 'UPDATE', 'into ks.', "'unclosed", 'FROM FROM a.b'])('%j does no harm', (text) => {
  expect(namedTables(text, undefined).length).toBeLessThanOrEqual(1);
});
