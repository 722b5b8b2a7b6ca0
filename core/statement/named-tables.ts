import type { TableName } from '../model/failed-write.ts';
import { TokenCursor } from './token-cursor.ts';
import { tokenize } from './tokenizer.ts';

const BEFORE_TABLES = ['into', 'update', 'from', 'table'] as const;
const MAX_TABLES = 100;

/**
 * The tables that a text of no known grammar may write: what stands where a table would stand in a known one.
 * @param keyspace in force; names without one of their own are left out where there is none
 * @throws StatementTooLargeError
 */
export function namedTables(text: string, keyspace: string | undefined): TableName[] {
  const cursor = new TokenCursor(tokenize(text));
  const found = new Map<string, TableName>();
  while (!cursor.isAtEnd && found.size < MAX_TABLES) {
    const isBefore = BEFORE_TABLES.some((word) => cursor.isWord(word));
    cursor.at++;
    const named = isBefore ? cursor.takeTable() : undefined;
    const of = named?.keyspace ?? keyspace;
    if (named && of !== undefined) found.set(`${of}.${named.table}`, { keyspace: of, table: named.table });
  }
  return [...found.values()];
}
