/** Compares the schemas of two clusters: what makes a migration impossible, and what only wants to be known. */
import type { ClusterName } from './cluster-name.ts';
import type { CqlType } from './cql-type.ts';
import type { ColumnDefinition, TableSchema } from './table-schema.ts';

export interface SchemaDifference {
  /** `error`: data can't be moved as it is. `warning`: it can, with the consequence that the text names. */
  readonly severity: 'error' | 'warning';
  readonly table: string;
  readonly message: string;
  /** The cluster that has less; absent: they contradict each other. */
  readonly lacking?: ClusterName;
}

/** The type as CQL text, for messages and for comparing. */
export function renderType(type: CqlType): string {
  const freeze = (text: string, frozen: boolean) => (frozen ? `frozen<${text}>` : text);
  switch (type.kind) {
    case 'native':
      return type.name;
    case 'list':
    case 'set':
      return freeze(`${type.kind}<${renderType(type.element)}>`, type.frozen);
    case 'map':
      return freeze(`map<${renderType(type.key)}, ${renderType(type.value)}>`, type.frozen);
    case 'tuple':
      return `tuple<${type.elements.map(renderType).join(', ')}>`;
    case 'vector':
      return `vector<${renderType(type.element)}, ${type.dimensions}>`;
    case 'udt':
      return freeze(
        `${type.name}{${type.fields.map((field) => `${field.name} ${renderType(field.type)}`).join(', ')}}`,
        type.frozen,
      );
  }
}

/** Differences of every origin table to the target's table of the same name. */
export function compareSchemas(
  origin: readonly TableSchema[],
  target: readonly TableSchema[],
): readonly SchemaDifference[] {
  return origin.flatMap((mine) => {
    const theirs = target.find((table) => table.table === mine.table);
    if (!theirs)
      return [
        {
          severity: 'error' as const,
          table: mine.table,
          message: 'is missing on the target',
          lacking: 'target' as const,
        },
      ];
    return compareTables(mine, theirs);
  });
}

function compareTables(origin: TableSchema, target: TableSchema): SchemaDifference[] {
  const found: SchemaDifference[] = [];
  const add = (severity: SchemaDifference['severity'], message: string, lacking?: ClusterName) =>
    found.push({ severity, table: origin.table, message, ...(lacking ? { lacking } : {}) });
  const key = (columns: readonly ColumnDefinition[]) =>
    columns.map((column) => `${column.name} ${renderType(column.type)}`).join(', ');
  if (key(origin.partitionKey) !== key(target.partitionKey)) {
    add(
      'error',
      `partition key: (${key(origin.partitionKey)}) on the origin, (${key(target.partitionKey)}) on the target`,
    );
  }
  const clustering = (table: TableSchema) =>
    table.clustering
      .map((column) => `${column.name} ${renderType(column.type)}${column.reversed ? ' DESC' : ''}`)
      .join(', ');
  if (clustering(origin) !== clustering(target)) {
    add('error', `clustering: (${clustering(origin)}) on the origin, (${clustering(target)}) on the target`);
  }
  for (const [what, mine, theirs] of [
    ['static column', origin.staticColumns, target.staticColumns],
    ['column', origin.regularColumns, target.regularColumns],
  ] as const) {
    for (const column of mine) {
      const other = theirs.find((candidate) => candidate.name === column.name);
      if (!other) add('error', `${what} ${column.name} is missing on the target`, 'target');
      else if (renderType(other.type) !== renderType(column.type)) {
        add(
          'error',
          `${what} ${column.name}: ${renderType(column.type)} on the origin, ${renderType(other.type)} on the target`,
        );
      }
    }
    for (const column of theirs) {
      if (!mine.some((candidate) => candidate.name === column.name)) {
        add('warning', `${what} ${column.name} exists on the target only`, 'origin');
      }
    }
  }
  if (origin.defaultTimeToLiveSeconds !== target.defaultTimeToLiveSeconds) {
    add(
      'warning',
      `default_time_to_live: ${origin.defaultTimeToLiveSeconds} on the origin, ${target.defaultTimeToLiveSeconds} on the target`,
    );
  }
  if (target.gcGraceSeconds < origin.gcGraceSeconds) {
    add(
      'warning',
      `gc_grace_seconds: ${origin.gcGraceSeconds} on the origin, ${target.gcGraceSeconds} on the target: deleted rows may come back`,
    );
  }
  return found;
}
