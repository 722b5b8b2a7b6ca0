/** A secondary index as `system_schema.indexes` has it, and the statements that drop it and create it again. */

import { quoteIdentifier } from './table-schema.ts';

export interface IndexDefinition {
  readonly keyspace: string;
  readonly table: string;
  readonly name: string;
  /** `COMPOSITES` and `KEYS` are built in; `CUSTOM` has a class. */
  readonly kind: string;
  /** As the server keeps them: `target`, of custom indexes `class_name`, and what WITH OPTIONS said. */
  readonly options: Readonly<Record<string, string>>;
}

/**
 * The text that `DESCRIBE INDEX` gives, with IF NOT EXISTS. undefined for a definition that is not understood (a local
 * index of ScyllaDB, whose target is JSON): it can't be promised to come back, so nobody may drop it.
 * @see org.apache.cassandra.schema.IndexMetadata#toCqlString
 */
export function createIndexStatement(index: IndexDefinition): string | undefined {
  const { keyspace, table, name, kind, options } = index;
  const { target, class_name: className, ...rest } = options;
  if (target === undefined || target === '' || target.startsWith('{')) return undefined;
  const where = `${quoteIdentifier(name)} ON ${quoteIdentifier(keyspace)}.${quoteIdentifier(table)} (${target})`;
  if (kind !== 'CUSTOM') return Object.keys(rest).length > 0 ? undefined : `CREATE INDEX IF NOT EXISTS ${where}`;
  if (className === undefined) return undefined;
  const pairs = Object.entries(rest)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${quoteText(key)}: ${quoteText(value)}`);
  const withOptions = pairs.length === 0 ? '' : ` WITH OPTIONS = {${pairs.join(', ')}}`;
  return `CREATE CUSTOM INDEX IF NOT EXISTS ${where} USING ${quoteText(className)}${withOptions}`;
}

export function dropIndexStatement({ keyspace, name }: Pick<IndexDefinition, 'keyspace' | 'name'>): string {
  return `DROP INDEX IF EXISTS ${quoteIdentifier(keyspace)}.${quoteIdentifier(name)}`;
}

/** Whether both are one and the same index: of the same table, on the same column, with the same options. */
export function isSameIndex(a: IndexDefinition, b: IndexDefinition): boolean {
  return identityOf(a) === identityOf(b);
}

function identityOf({ keyspace, table, name, kind, options }: IndexDefinition): string {
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([keyspace, table, name, kind, sorted]);
}

const quoteText = (text: string) => `'${text.replaceAll("'", "''")}'`;
