/** Compares the secondary indexes of a keyspace with those of the target, by table and definition. */

import type { SchemaDifference } from './compare-schema.ts';
import { createIndexStatement, type IndexDefinition, isSameIndex } from './index-definition.ts';
import type { Renames } from './rename.ts';

/**
 * The name of an index is unique in its keyspace: one of another table, or of another column, keeps `CREATE INDEX IF NOT
 * EXISTS` from making it, without a word.
 * @param target all indexes of the keyspaces in which tables of the origin's keyspace may lie
 */
export function compareIndexes(
  keyspace: string,
  origin: readonly IndexDefinition[],
  target: readonly IndexDefinition[],
  renames: Renames,
): readonly SchemaDifference[] {
  const expected = origin.map((index) => ({ ...index, ...renames.toTarget(index) }));
  const missing = expected.flatMap((index, position): SchemaDifference[] => {
    if (target.some((each) => isSameIndex(each, index))) return [];
    const table = `${keyspace}.${origin[position]!.table}`;
    const namesake = target.find((each) => each.keyspace === index.keyspace && each.name === index.name);
    const why =
      namesake === undefined
        ? 'is missing on the target'
        : `is missing on the target, where its name belongs to ${describe(namesake)}; drop that one if it is not wanted, else create this one under another name by hand`;
    return [{ severity: 'error', table, message: `index ${index.name} (${describe(index)}) ${why}` }];
  });
  const extra = target.flatMap((index): SchemaDifference[] => {
    const back = renames.toOrigin(index);
    // Of other tables of the same keyspace this one knows nothing.
    if (back?.keyspace !== keyspace) return [];
    if (expected.some((each) => each.table === index.table && each.name === index.name)) return [];
    return [
      {
        severity: 'warning',
        table: `${keyspace}.${back.table}`,
        message: `index ${index.name} exists on the target only`,
      },
    ];
  });
  return [...missing, ...extra];
}

function describe(index: IndexDefinition): string {
  return (
    createIndexStatement(index)?.replace(/^CREATE (.*?)INDEX IF NOT EXISTS \S+ ON /, '$1ON ') ?? `ON ${index.table}`
  );
}
