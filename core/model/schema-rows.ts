/** Rows of `system_schema` → TableSchema. Pure; which driver read the rows does not matter. */
import { SchemaMismatchError } from '../errors.ts';
import { parseCqlType, type UdtLookup } from './parse-cql-type.ts';
import type { ClusteringColumn, ColumnDefinition, DroppedColumn, TableSchema } from './table-schema.ts';

export interface ColumnRow {
  readonly table_name: string;
  readonly column_name: string;
  readonly kind: 'partition_key' | 'clustering' | 'static' | 'regular';
  readonly position: number;
  readonly clustering_order: 'asc' | 'desc' | 'none';
  readonly type: string;
}

export interface TypeRow {
  readonly type_name: string;
  readonly field_names: readonly string[];
  readonly field_types: readonly string[];
}

export interface TableRow {
  readonly table_name: string;
  readonly default_time_to_live: number;
  readonly gc_grace_seconds: number;
}

export interface DroppedRow {
  readonly table_name: string;
  readonly column_name: string;
  readonly dropped_time: Date;
}

const byNameBytes = (a: ColumnDefinition, b: ColumnDefinition) =>
  Buffer.compare(Buffer.from(a.name), Buffer.from(b.name));

/** @throws SchemaMismatchError for a type that is not understood or a table without columns */
export function toTableSchema(
  keyspace: string,
  table: TableRow,
  columns: readonly ColumnRow[],
  types: readonly TypeRow[],
  dropped: readonly DroppedRow[],
): TableSchema {
  const udts: UdtLookup = (name) => {
    const row = types.find((candidate) => candidate.type_name === name);
    return row?.field_names.map((field, index) => ({ name: field, type: row.field_types[index] ?? '' }));
  };
  const mine = columns.filter((column) => column.table_name === table.table_name);
  const toColumn = (row: ColumnRow): ColumnDefinition => ({
    name: row.column_name,
    type: parseCqlType(row.type, keyspace, udts),
  });
  const ofKind = (kind: ColumnRow['kind']) =>
    mine.filter((row) => row.kind === kind).sort((a, b) => a.position - b.position);
  const partitionKey = ofKind('partition_key').map(toColumn);
  if (partitionKey.length === 0) {
    throw new SchemaMismatchError(`${keyspace}.${table.table_name} has no columns in system_schema`);
  }
  const regularColumns = ofKind('regular').map(toColumn).sort(byNameBytes);
  return {
    keyspace,
    table: table.table_name,
    partitionKey,
    clustering: ofKind('clustering').map(
      (row): ClusteringColumn => ({ ...toColumn(row), reversed: row.clustering_order === 'desc' }),
    ),
    staticColumns: ofKind('static').map(toColumn).sort(byNameBytes),
    regularColumns,
    droppedColumns: dropped
      .filter((row) => row.table_name === table.table_name)
      .map(
        (row): DroppedColumn => ({
          name: row.column_name,
          droppedAtMicros: BigInt(row.dropped_time.getTime()) * 1000n,
        }),
      ),
    defaultTimeToLiveSeconds: table.default_time_to_live,
    gcGraceSeconds: table.gc_grace_seconds,
    isCounter: regularColumns.some((column) => column.type.kind === 'native' && column.type.name === 'counter'),
  };
}
