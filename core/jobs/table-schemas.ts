import { decodeBigint, decodeInt, decodeList, decodeText, encodeText } from '../cql/value-codec.ts';
import { type ColumnRow, toTableSchema } from '../model/schema-rows.ts';
import { type TableFacts, toTableFacts } from '../model/table-facts.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { CqlSession } from '../ports.ts';

/** How long a table's schema is believed: a change of its options is acted on soon, and no table costs a query for each write. */
const BELIEVED_MS = 60_000;

/** A table as its cluster says itself. */
export interface KnownTable {
  readonly schema: TableSchema;
  readonly facts: TableFacts;
}

/** The tables of a session's cluster as it says itself; asked once a minute for each. */
export class TableSchemas {
  readonly #session: CqlSession;
  readonly #nowMillis: () => number;
  readonly #known = new Map<string, { readonly at: number; readonly table: Promise<KnownTable | undefined> }>();

  constructor(session: CqlSession, nowMillis: () => number) {
    this.#session = session;
    this.#nowMillis = nowMillis;
  }

  /** Of the node that answers: from 5 on the write times of multi-cell columns can be read. */
  async releaseMajor(): Promise<number> {
    const { rows } = await this.#session.query('SELECT release_version FROM system.local');
    const version = rows[0]?.[0];
    return version ? Number.parseInt(decodeText(version), 10) || 0 : 0;
  }

  /** undefined: there is no such table. @throws whatever the session throws, SchemaMismatchError for types not understood */
  async of(keyspace: string, table: string): Promise<KnownTable | undefined> {
    const name = JSON.stringify([keyspace, table]);
    const now = this.#nowMillis();
    const known = this.#known.get(name);
    if (known && now - known.at < BELIEVED_MS) return known.table;
    const read = readTable(this.#session, keyspace, table);
    this.#known.set(name, { at: now, table: read });
    // Neither a failure nor the absence of a table that may be created any moment is remembered.
    const forget = () => this.#known.delete(name);
    read.then((found) => found ?? forget(), forget);
    return read;
  }
}

async function readTable(session: CqlSession, keyspace: string, table: string): Promise<KnownTable | undefined> {
  const ofTable = (columns: string, from: string) =>
    session.query(`SELECT ${columns} FROM system_schema.${from} WHERE keyspace_name = ? AND table_name = ?`, [
      encodeText(keyspace),
      encodeText(table),
    ]);
  const [options, columns, types, dropped] = await Promise.all([
    ofTable('default_time_to_live, gc_grace_seconds', 'tables'),
    ofTable('column_name, kind, position, clustering_order, type', 'columns'),
    session.query('SELECT type_name, field_names, field_types FROM system_schema.types WHERE keyspace_name = ?', [
      encodeText(keyspace),
    ]),
    ofTable('column_name, dropped_time', 'dropped_columns'),
  ]);
  const found = options.rows[0];
  if (found === undefined) return undefined;
  const textOf = (value: Uint8Array | null | undefined) => decodeText(value!);
  const textsOf = (value: Uint8Array | null | undefined) => decodeList(value!).map(decodeText);
  const columnRows = columns.rows.map(
    ([name, kind, position, order, type]): ColumnRow => ({
      table_name: table,
      column_name: textOf(name),
      kind: textOf(kind) as ColumnRow['kind'],
      position: decodeInt(position!),
      clustering_order: textOf(order) as ColumnRow['clustering_order'],
      type: textOf(type),
    }),
  );
  const schema = toTableSchema(
    keyspace,
    {
      table_name: table,
      default_time_to_live: found[0] ? decodeInt(found[0]) : 0,
      gc_grace_seconds: found[1] ? decodeInt(found[1]) : 0,
    },
    columnRows,
    types.rows.map(([name, names, fields]) => ({
      type_name: textOf(name),
      field_names: textsOf(names),
      field_types: textsOf(fields),
    })),
    dropped.rows.map(([name, at]) => ({
      table_name: table,
      column_name: textOf(name),
      dropped_time: new Date(Number(decodeBigint(at!))),
    })),
  );
  const facts = toTableFacts(
    columnRows.map(({ column_name: name, ...column }) => ({ ...column, name })),
    schema.defaultTimeToLiveSeconds,
  );
  return facts && { schema, facts };
}
