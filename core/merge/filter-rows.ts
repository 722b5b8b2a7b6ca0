/** The migration's filter rules, applied to rows as an SSTable has them. */

import type { Filter } from '../filter/filter.ts';
import type { Row } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';

/** Asks for each partition and then for each of its rows, the static row first. */
export interface RowFilter {
  /** Starts a partition; false: the whole of it stays on the origin. */
  startPartition(key: readonly Uint8Array[]): boolean;
  /** false: the row stays on the origin. */
  acceptRow(row: Row): boolean;
}

/** undefined when no rule can touch this table, so that nothing is asked. */
export function createRowFilter(filter: Filter, schema: TableSchema): RowFilter | undefined {
  if (filter.isEmpty) return undefined;
  const { keyspace, table } = schema;
  if (filter.decide(keyspace, table).kind === 'excluded') {
    return { startPartition: () => false, acceptRow: () => false };
  }
  if (!filter.hasTenantRules) return undefined;
  for (const name of filter.tenantColumns) {
    const isNamed = (column: { readonly name: string }) => column.name === name;
    const accepts = (tenant: Uint8Array | null | undefined) =>
      filter.decide(keyspace, table, tenant ?? undefined).kind === 'migrate';
    const inKey = schema.partitionKey.findIndex(isNamed);
    if (inKey >= 0) return { startPartition: (key) => accepts(key[inKey]), acceptRow: () => true };
    const inClustering = schema.clustering.findIndex(isNamed);
    if (inClustering >= 0) {
      return {
        startPartition: () => true,
        acceptRow: (row) => row.isStatic || accepts(row.clustering.valueAt(inClustering)),
      };
    }
    const inStatics = schema.staticColumns.findIndex(isNamed);
    if (inStatics >= 0) return filterByStatic(inStatics, accepts);
    const inRegular = schema.regularColumns.findIndex(isNamed);
    if (inRegular >= 0) {
      return { startPartition: () => true, acceptRow: (row) => row.isStatic || accepts(cellValue(row, inRegular)) };
    }
  }
  return undefined;
}

function filterByStatic(column: number, accepts: (tenant: Uint8Array | undefined) => boolean): RowFilter {
  let accepted = true;
  return {
    startPartition() {
      accepted = true;
      return true;
    },
    acceptRow(row) {
      if (row.isStatic) accepted = accepts(cellValue(row, column));
      return accepted;
    },
  };
}

function cellValue(row: Row, column: number): Uint8Array | undefined {
  const cell = row.cells.find((each) => each.column === column);
  return cell === undefined || cell.isTombstone ? undefined : cell.value;
}
