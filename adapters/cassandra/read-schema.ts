import { SchemaMismatchError } from '#core/errors.ts';
import type { TargetTables } from '#core/jobs/load-planning.ts';
import type { ViewName } from '#core/model/find-unmovable.ts';
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
  const [tables, views, indexes] = await Promise.all([
    readSchema(client, keyspace),
    readViews(client, keyspace),
    readIndexes(client, keyspace),
  ]);
  return { tables, views, indexes };
}

/** The materialized views of a keyspace. */
export async function readViews(client: DriverClient, keyspace: string): Promise<readonly ViewName[]> {
  const text = 'SELECT view_name, base_table_name FROM system_schema.views WHERE keyspace_name = ?';
  const { rows } = await client.execute(text, [keyspace]);
  return rows.map((row) => ({ keyspace, table: String(row['view_name']), base: String(row['base_table_name']) }));
}

/** The names of a keyspace's user types; none when there is no such keyspace. */
export async function readTypeNames(client: DriverClient, keyspace: string): Promise<ReadonlySet<string>> {
  const text = 'SELECT type_name FROM system_schema.types WHERE keyspace_name = ?';
  return new Set((await client.execute(text, [keyspace])).rows.map((row) => String(row['type_name'])));
}
