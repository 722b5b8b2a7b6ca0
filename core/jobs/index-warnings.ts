import type { TargetTables } from './load-planning.ts';

/** Indexes are left where they are, whatever the setting: each write of the load keeps them up to date, at its cost. */
export function indexWarnings(
  setting: 'rebuild' | 'skip' | undefined,
  tables: readonly string[],
  indexes: TargetTables['indexes'],
): string[] {
  const asked = setting === 'skip' ? '' : ' (indexes: rebuild, that is to drop and rebuild them, is not built)';
  const own = indexes.filter(({ table }) => tables.includes(table)).map(({ table, index }) => `${index} on ${table}`);
  if (own.length === 0) return [];
  return [`secondary indexes stay in place during the load and slow it: ${own.sort().join(', ')}${asked}`];
}
