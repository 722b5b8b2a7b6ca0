import type { CqlType } from './cql-type.ts';

export interface ColumnDefinition {
  /** The name as the server has it: unquoted, case kept. */
  readonly name: string;
  readonly type: CqlType;
}

export interface ClusteringColumn extends ColumnDefinition {
  /** Declared DESC. */
  readonly reversed: boolean;
}

export interface DroppedColumn {
  readonly name: string;
  /** Cells with a write time up to and including this are dead. Microseconds. */
  readonly droppedAtMicros: bigint;
}

/** What a reader, a writer and a comparer need to know of a table; from `system_schema` of one cluster. */
export interface TableSchema {
  readonly keyspace: string;
  readonly table: string;
  readonly partitionKey: readonly ColumnDefinition[];
  readonly clustering: readonly ClusteringColumn[];
  readonly staticColumns: readonly ColumnDefinition[];
  readonly regularColumns: readonly ColumnDefinition[];
  readonly droppedColumns: readonly DroppedColumn[];
  readonly defaultTimeToLiveSeconds: number;
  readonly gcGraceSeconds: number;
  readonly isCounter: boolean;
}

/** A name as it must stand in CQL text: bare when it is a lower-case identifier that is no reserved word, else quoted. */
export function quoteIdentifier(name: string): string {
  return /^[a-z][a-z0-9_]*$/.test(name) && !RESERVED.has(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

// Reserved words of Cassandra 5.0 (doc/cql3/CQL.textile, appendix A) plus those that Scylla reserves.
const RESERVED = new Set(
  `add allow alter and apply asc authorize batch begin between by cast columnfamily create default delete desc describe drop
  entries execute from full grant if in index infinity insert into is keyspace keyspaces like limit materialized
  mbean mbeans modify nan norecursive not null of on or order primary rename replace revoke schema select set table
  to token truncate unlogged unset update use using view where with`.split(/\s+/),
);
