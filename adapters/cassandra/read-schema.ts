import { SchemaMismatchError } from '#core/errors.ts';
import type { TargetTables } from '#core/jobs/load-planning.ts';
import {
  type ColumnRow,
  type DroppedRow,
  type TableRow,
  type TypeRow,
  toTableSchema,
} from '#core/model/schema-rows.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { DriverClient } from './driver-client.ts';
import { readIndexes } from './index-admin.ts';

/**
 * The tables of a keyspace, views excluded, ascending by name.
 * @param tables only these; each must exist
 * @throws SchemaMismatchError when the keyspace or a named table does not exist
 */
export async function readSchema(
  client: DriverClient,
  keyspace: string,
  tables?: readonly string[],
): Promise<readonly TableSchema[]> {
  const rowsOf = async <T>(text: string) => (await client.execute(text, [keyspace])).rows as unknown as T[];
  const [tableRows, columns, types, dropped] = await Promise.all([
    rowsOf<TableRow>('SELECT * FROM system_schema.tables WHERE keyspace_name = ?'),
    rowsOf<ColumnRow>('SELECT * FROM system_schema.columns WHERE keyspace_name = ?'),
    rowsOf<TypeRow>('SELECT * FROM system_schema.types WHERE keyspace_name = ?'),
    rowsOf<DroppedRow>('SELECT * FROM system_schema.dropped_columns WHERE keyspace_name = ?'),
  ]);
  if (tableRows.length === 0) {
    throw new SchemaMismatchError(`there is no keyspace ${keyspace} with tables (or this role may not see it)`, {
      context: { keyspace },
    });
  }
  const unknown = (tables ?? []).filter((name) => !tableRows.some((row) => row.table_name === name));
  if (unknown.length > 0) {
    throw new SchemaMismatchError(`keyspace ${keyspace} has no table ${unknown.join(', ')}`, { context: { keyspace } });
  }
  return tableRows
    .filter((row) => tables === undefined || tables.includes(row.table_name))
    .map((row) => toTableSchema(keyspace, row, columns, types, dropped));
}

/**
 * What the plan of a load must know of a keyspace: its tables, views (never written) and secondary indexes.
 * @throws SchemaMismatchError when the keyspace does not exist
 */
export async function readLoadTarget(client: DriverClient, keyspace: string): Promise<TargetTables> {
  const rowsOf = async (text: string) => (await client.execute(text, [keyspace])).rows;
  const [tables, views, indexes] = await Promise.all([
    readSchema(client, keyspace),
    rowsOf('SELECT view_name FROM system_schema.views WHERE keyspace_name = ?'),
    readIndexes(client, keyspace),
  ]);
  return {
    tables,
    views: views.map((row) => ({ keyspace, table: String(row['view_name']) })),
    indexes,
  };
}
