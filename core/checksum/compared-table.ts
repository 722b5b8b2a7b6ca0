import type { CqlType } from '../model/cql-type.ts';
import { isMultiCell } from '../model/cql-type.ts';
import type { ColumnDefinition, TableSchema } from '../model/table-schema.ts';
import { quoteIdentifier } from '../model/table-schema.ts';

/**
 * What CQL tells of a column's write time: one for a `single` cell, a list for the `elements` of a multi-cell column
 * (Cassandra 5.0 and later, CASSANDRA-8877), or nothing.
 */
export type WriteTimeKind = 'single' | 'elements' | 'none';

/** A non-key column with the places of its value, write time and TTL in a selected row. */
export interface ComparedColumn {
  readonly name: string;
  readonly type: CqlType;
  readonly isStatic: boolean;
  readonly timed: WriteTimeKind;
  readonly valueIndex: number;
  /** -1 when `timed` is none. The TTL stands right behind it. */
  readonly writeTimeIndex: number;
}

/** A table as validation reads it: token, key columns, then values, then a write time and a TTL for each timed column. */
export interface ComparedTable {
  readonly schema: TableSchema;
  readonly columns: readonly ComparedColumn[];
  /** Two markers: the token range's exclusive start and inclusive end, both bigint. */
  readonly scanText: string;
  /** One marker for each partition key column. */
  readonly partitionText: string;
}

export interface ComparedTableOptions {
  /** Both clusters can read the write times of multi-cell columns. */
  readonly elementWriteTimes: boolean;
}

/** Index of the token in a selected row; the partition key's values follow it, then the clustering values. */
export const TOKEN_INDEX = 0;

/** Builds the SELECTs for a table, the same text for both clusters, so that a place means the same on both. */
export function compareTable(schema: TableSchema, options: ComparedTableOptions): ComparedTable {
  const keys = [...schema.partitionKey, ...schema.clustering].map((column) => quoteIdentifier(column.name));
  const partitionKey = schema.partitionKey.map((column) => quoteIdentifier(column.name));
  const tokenText = `token(${partitionKey.join(', ')})`;
  const named: { definition: ColumnDefinition; isStatic: boolean }[] = [
    ...schema.staticColumns.map((definition) => ({ definition, isStatic: true })),
    ...schema.regularColumns.map((definition) => ({ definition, isStatic: false })),
  ];
  const selected = [tokenText, ...keys, ...named.map(({ definition }) => quoteIdentifier(definition.name))];
  const columns = named.map(({ definition, isStatic }, at): ComparedColumn => {
    const timed = schema.isCounter ? 'none' : writeTimeKind(definition.type, options);
    const writeTimeIndex = timed === 'none' ? -1 : selected.length;
    if (timed !== 'none') {
      const name = quoteIdentifier(definition.name);
      selected.push(`WRITETIME(${name})`, `TTL(${name})`);
    }
    return {
      name: definition.name,
      type: definition.type,
      isStatic,
      timed,
      valueIndex: 1 + keys.length + at,
      writeTimeIndex,
    };
  });
  const from = `SELECT ${selected.join(', ')} FROM ${quoteIdentifier(schema.keyspace)}.${quoteIdentifier(schema.table)}`;
  return {
    schema,
    columns,
    scanText: `${from} WHERE ${tokenText} > ? AND ${tokenText} <= ?`,
    partitionText: `${from} WHERE ${partitionKey.map((name) => `${name} = ?`).join(' AND ')}`,
  };
}

// A list's cells get their times from whoever wrote the list last (load, replay, read-back add an attempt's number), so
// they may differ by design; lists are compared by value alone.
function writeTimeKind(type: CqlType, options: ComparedTableOptions): WriteTimeKind {
  if (!isMultiCell(type)) return 'single';
  return options.elementWriteTimes && type.kind !== 'list' ? 'elements' : 'none';
}
