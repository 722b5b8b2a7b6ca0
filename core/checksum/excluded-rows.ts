import type { Filter } from '../filter/filter.ts';
import type { ComparedTable } from './compared-table.ts';
import { TOKEN_INDEX } from './compared-table.ts';
import type { RawRow } from './selected-row.ts';

/**
 * Tells which selected rows the filter keeps on the origin: those of an excluded tenant, when the table has a column
 * that carries the tenant's id. undefined when none can be.
 */
export function excludedRows(table: ComparedTable, filter: Filter): ((row: RawRow) => boolean) | undefined {
  const { schema, columns } = table;
  if (filter.decide(schema.keyspace, schema.table).kind === 'excluded') return () => true;
  if (!filter.hasTenantRules) return undefined;
  const keys = [...schema.partitionKey, ...schema.clustering].map((column) => column.name);
  for (const name of filter.tenantColumns) {
    const keyAt = keys.indexOf(name);
    const index = keyAt >= 0 ? TOKEN_INDEX + 1 + keyAt : columns.find((column) => column.name === name)?.valueIndex;
    if (index === undefined) continue;
    return (row) => filter.decide(schema.keyspace, schema.table, row[index] ?? undefined).kind === 'excluded';
  }
  return undefined;
}
