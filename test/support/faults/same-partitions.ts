/** Whether a table of two clusters holds the same: values, write times and expiries, as a plain driver reads them. */
import type { Client } from 'cassandra-driver';
import type { RandomColumn } from '../../integration/support/random-schema.ts';
import { readTable, sameExpiries, type TableContents } from '../../integration/support/rows.ts';

/** Of one table, in a report. */
const MAX_SHOWN = 10;
/** Below protocol v5 a copy may be late by almost two before it is marked, and each server counts whole ones. Seconds. */
const TOLERANCE_SECONDS = 3;

/** Cells of collections and of types that are not frozen have times of their own, which 4.1 does not tell; counters have none that mean anything elsewhere. */
function hasTime(type: string, userTypes: ReadonlySet<string>): boolean {
  return type !== 'counter' && !/^(list|set|map)</.test(type) && !userTypes.has(type);
}

/** A table's rows on both clusters. */
async function readBoth(origin: Client, target: Client, table: string) {
  const [keyspace, name] = table.split('.');
  const [{ rows: columns }, { rows: userTypes }] = await Promise.all([
    origin.execute(
      'SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?',
      [keyspace, name],
      { prepare: true },
    ),
    origin.execute('SELECT type_name FROM system_schema.types WHERE keyspace_name = ?', [keyspace], { prepare: true }),
  ]);
  const known = new Set(userTypes.map((row) => String(row['type_name'])));
  const ofKind = (kind: string): RandomColumn[] =>
    columns
      .filter((row) => row['kind'] === kind)
      .map((row) => {
        const multiCell = hasTime(row['type'], known) ? undefined : { kind: String(row['type']).split('<')[0] };
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
  return [await readTable(origin, layout), await readTable(target, layout)] as const;
}

/**
 * One text for each row that only one cluster has, or whose values or write times differ; when it expires does not count.
 * @param mayNotDiffer of the row as JSON
 */
export async function differingRows(
  origin: Client,
  target: Client,
  table: string,
  mayNotDiffer: (row: string) => boolean = () => true,
): Promise<string[]> {
  return compareRows(table, ...(await readBoth(origin, target, table)), mayNotDiffer);
}

/** The same, and rows of which something expires at another time. */
export async function differingExpiries(origin: Client, target: Client, table: string): Promise<string[]> {
  const [mine, theirs] = await readBoth(origin, target, table);
  const found = compareRows(table, mine, theirs);
  if (found.length > 0) return found;
  const [lives, others] = [livesOf(mine), livesOf(theirs)];
  return mine.rows
    .filter(
      (_, at) => !sameExpiries({ ...mine, ttls: lives[at]! }, { ...theirs, ttls: others[at]! }, TOLERANCE_SECONDS),
    )
    .slice(0, MAX_SHOWN)
    .map((row) => {
      const at = mine.rows.indexOf(row);
      return `${table}, expires in ${lives[at]} s on the origin and ${others[at]} s on the target: ${row}`;
    });
}

/** The TTLs of each row. */
function livesOf({ rows, ttls }: TableContents): readonly (readonly number[])[] {
  let next = 0;
  return rows.map((row) => {
    const count = row.split('; ').filter((part) => part.endsWith(', expires')).length;
    next += count;
    return ttls.slice(next - count, next);
  });
}

function compareRows(
  table: string,
  mine: TableContents,
  theirs: TableContents,
  mayNotDiffer: (row: string) => boolean = () => true,
): string[] {
  const ofTarget = new Set(theirs.rows);
  const ofOrigin = new Set(mine.rows);
  const found = [
    ...mine.rows.filter((row) => !ofTarget.has(row) && mayNotDiffer(row)).map((row) => `${table}, origin only: ${row}`),
    ...theirs.rows
      .filter((row) => !ofOrigin.has(row) && mayNotDiffer(row))
      .map((row) => `${table}, target only: ${row}`),
  ];
  if (found.length > MAX_SHOWN) return [...found.slice(0, MAX_SHOWN), `${table}: ${found.length} rows in all`];
  return found;
}
