/** Entries of the list of indexes that name a table which is not there: a slip of the pen more often than not. */

import type { IndexList } from '../config/index-list.ts';
import type { TargetTables } from './load-planning.ts';

/** Entries of keyspaces without a table of this load are for other loads. */
export function warnOfUnknownTables(
  list: IndexList | undefined,
  { tables, views }: Pick<TargetTables, 'tables' | 'views'>,
): string[] {
  const keyspaces = new Set(tables.map(({ keyspace }) => keyspace));
  const isThere = (entry: IndexList[number]) =>
    [...tables, ...views].some(({ keyspace, table }) => keyspace === entry.keyspace && table === entry.table);
  const unknown = (list ?? []).filter((entry) => !entry.optional && keyspaces.has(entry.keyspace) && !isThere(entry));
  const names = [...new Set(unknown.map(({ keyspace, table }) => `${keyspace}.${table}`))];
  if (names.length === 0) return [];
  return [`the list of indexes names tables that the target does not have: ${names.join(', ')}`];
}
