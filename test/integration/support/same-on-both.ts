/** Whether two clusters hold the same: read by a plain driver, table by table. */
import type { Client } from 'cassandra-driver';

interface Column {
  readonly name: string;
  readonly kind: string;
  readonly type: string;
}

/** `recorded_…`: what can not be made equal is left to one cluster, and its table is recorded as suspect. */
const IS_RECORDED = /^recorded_/;
const MULTI_CELL = /^(list|set|map)</;

/** All rows of a keyspace with their write times, one text for each, by table; the tables' columns first. */
export async function contentsOf(client: Client, keyspace: string): Promise<Record<string, string[]>> {
  const found = await client.execute(
    'SELECT table_name, column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ?',
    [keyspace],
    { prepare: true, fetchSize: 10_000 },
  );
  const types = await client.execute('SELECT type_name FROM system_schema.types WHERE keyspace_name = ?', [keyspace], {
    prepare: true,
  });
  const userTypes = new Set(types.rows.map((row) => String(row['type_name'])));
  const tables = new Map<string, Column[]>();
  for (const row of found.rows) {
    const table = String(row['table_name']);
    if (!tables.has(table)) tables.set(table, []);
    tables.get(table)!.push({ name: row['column_name'], kind: row['kind'], type: row['type'] });
  }
  const contents: Record<string, string[]> = {};
  for (const [table, columns] of tables) {
    const described = columns.map(({ name, kind, type }) => `${name} ${kind} ${type}`);
    if (IS_RECORDED.test(table)) continue;
    contents[table] = [...described, ...(await rowsOf(client, `"${keyspace}"."${table}"`, columns, userTypes))];
  }
  return contents;
}

async function rowsOf(
  client: Client,
  table: string,
  columns: readonly Column[],
  userTypes: ReadonlySet<string>,
): Promise<string[]> {
  const names = columns.map(({ name }) => `"${name}"`);
  // Cells of collections and of types that are not frozen have times of their own, which 4.1 does not tell.
  const timed = columns.filter(({ kind, type }) => {
    const isKey = kind === 'partition_key' || kind === 'clustering';
    return !isKey && type !== 'counter' && !MULTI_CELL.test(type) && !userTypes.has(type);
  });
  const read = async (what: readonly string[]) =>
    (await client.execute(`SELECT ${what.join(', ')} FROM ${table}`, [], { fetchSize: 10_000 })).rows;
  const values = await read([`JSON ${names.join(', ')}`]);
  if (timed.length === 0) return values.map((row) => String(row.values()[0]));
  const times = await read(timed.map(({ name }) => `writetime("${name}")`));
  return values.map((row, index) => `${row.values()[0]} at ${times[index]!.values().join(' ')}`);
}
