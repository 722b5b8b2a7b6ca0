/** Whether a table of two clusters holds the same: values, write times and expiries, as a plain driver reads them. */
import type { Client } from 'cassandra-driver';
import type { RandomColumn } from '../../integration/support/random-schema.ts';
import { readTable, sameExpiries } from '../../integration/support/rows.ts';

const MULTI_CELL = /^(list|set|map)</;
/** Of one table, in a report. */
const MAX_SHOWN = 10;

/** One text for each row that only one cluster has, or that differs; none: they are the same. */
export async function differingRows(origin: Client, target: Client, table: string): Promise<string[]> {
  const [keyspace, name] = table.split('.');
  const { rows: columns } = await origin.execute(
    'SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?',
    [keyspace, name],
    { prepare: true },
  );
  const ofKind = (kind: string): RandomColumn[] =>
    columns
      .filter((row) => row['kind'] === kind)
      .map((row) => {
        const multiCell = MULTI_CELL.test(row['type']) ? { kind: String(row['type']).split('<')[0] } : undefined;
        return { name: row['column_name'], type: { multiCell } } as RandomColumn;
      });
  const layout = {
    name: table,
    create: '',
    partitionKey: ofKind('partition_key'),
    clustering: ofKind('clustering'),
    statics: ofKind('static'),
    regulars: ofKind('regular'),
  };
  const [mine, theirs] = [await readTable(origin, layout), await readTable(target, layout)];
  const ofTarget = new Set(theirs.rows);
  const ofOrigin = new Set(mine.rows);
  const found = [
    ...mine.rows.filter((row) => !ofTarget.has(row)).map((row) => `${table}, origin only: ${row}`),
    ...theirs.rows.filter((row) => !ofOrigin.has(row)).map((row) => `${table}, target only: ${row}`),
  ];
  if (found.length > MAX_SHOWN) return [...found.slice(0, MAX_SHOWN), `${table}: ${found.length} rows in all`];
  if (found.length === 0 && !sameExpiries(mine, theirs)) return [`${table}: expiries differ`];
  return found;
}
