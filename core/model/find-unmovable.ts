/** What table rules of the renames would tear apart: a table from its types, a view from its table. */

import type { CqlType } from './cql-type.ts';
import type { Renames, TableName } from './rename.ts';
import type { TableSchema } from './table-schema.ts';

export interface ViewName extends TableName {
  /** The table, of the same keyspace, that it is a view of. */
  readonly base: string;
}

/**
 * Texts for people, each with the remedy; empty: the keyspace can be created under the rules.
 * @param hasType whether a keyspace of the target has a user type of that name already
 */
export function findUnmovable(
  tables: readonly TableSchema[],
  views: readonly ViewName[],
  renames: Renames,
  hasType: (keyspace: string, type: string) => boolean,
): readonly string[] {
  const faults: string[] = [];
  for (const table of tables) {
    const at = renames.toTarget({ keyspace: table.keyspace, table: table.table });
    const home = renames.keyspaceOnTarget(table.keyspace);
    if (at.keyspace === home) continue;
    const columns = [...table.partitionKey, ...table.clustering, ...table.staticColumns, ...table.regularColumns];
    const types = new Set(columns.flatMap(({ type }) => typesIn(type)));
    for (const type of types) {
      if (hasType(at.keyspace, type)) continue;
      faults.push(
        `${table.keyspace}.${table.table} goes to ${at.keyspace}.${at.table}, and its user type ${type} would be made in ${home} only; create ${at.keyspace}.${type} by hand first`,
      );
    }
  }
  for (const { keyspace, table, base } of views) {
    const at = renames.toTarget({ keyspace, table });
    const baseAt = renames.toTarget({ keyspace, table: base });
    if (at.keyspace === baseAt.keyspace) continue;
    faults.push(
      `the view ${keyspace}.${table} would be in ${at.keyspace} and its table in ${baseAt.keyspace}; add to renames.tables: ${keyspace}.${table}: ${baseAt.keyspace}.${table}`,
    );
  }
  return faults;
}

/** The names of the user types in a type, nested ones included. */
function typesIn(type: CqlType): string[] {
  switch (type.kind) {
    case 'native':
      return [];
    case 'list':
    case 'set':
    case 'vector':
      return typesIn(type.element);
    case 'map':
      return [...typesIn(type.key), ...typesIn(type.value)];
    case 'tuple':
      return type.elements.flatMap(typesIn);
    case 'udt':
      return [type.name, ...type.fields.flatMap((field) => typesIn(field.type))];
  }
}
