import { decodeText } from '#core/cql/value-codec.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { ControlConnection } from '../upstream/control-connection.ts';

/** Everything that clients define, by what and where it is: the text is equal where the definition is. */
export type SchemaElements = ReadonlyMap<string, string>;

type Row = readonly (Buffer | null)[];

interface Source {
  readonly kind: 'table' | 'type' | 'index' | 'view' | 'function' | 'aggregate';
  readonly table: string;
  /** The keyspace, the table or name, then what tells several of one table apart. */
  readonly columns: readonly string[];
  /** How many columns name the element; what follows them defines it, and rows of one name belong together. */
  readonly nameColumns: number;
}

/** Options of tables and indexes may differ between releases, and replication between clusters: they are left out. */
const SOURCES: readonly Source[] = [
  {
    kind: 'table',
    table: 'columns',
    columns: ['keyspace_name', 'table_name', 'column_name', 'kind', 'position', 'clustering_order', 'type'],
    nameColumns: 2,
  },
  {
    kind: 'type',
    table: 'types',
    columns: ['keyspace_name', 'type_name', 'field_names', 'field_types'],
    nameColumns: 2,
  },
  { kind: 'index', table: 'indexes', columns: ['keyspace_name', 'table_name', 'index_name'], nameColumns: 3 },
  { kind: 'view', table: 'views', columns: ['keyspace_name', 'view_name'], nameColumns: 2 },
  {
    kind: 'function',
    table: 'functions',
    columns: ['keyspace_name', 'function_name', 'argument_types'],
    nameColumns: 3,
  },
  {
    kind: 'aggregate',
    table: 'aggregates',
    columns: ['keyspace_name', 'aggregate_name', 'argument_types'],
    nameColumns: 3,
  },
];

const SYSTEM_KEYSPACE = /^(system|system_\w+|dse_\w+|OpsCenter)$/;
/** Beyond it the memory of a proxy is worth more than the comparison. */
const MAX_ROWS = 200_000;

/** The keyspaces of clients. @throws as below */
export async function readKeyspaces(control: Pick<ControlConnection, 'schemaRows'>): Promise<readonly string[]> {
  const rows = await control.schemaRows('keyspaces', ['keyspace_name']);
  return rows.map((row) => textOf(row, 0)).filter((name) => !SYSTEM_KEYSPACE.test(name));
}

/** Reads them from a cluster. @throws ClusterUnreachableError, RequestTimeoutError, ServerError */
export async function readElements(control: Pick<ControlConnection, 'schemaRows'>): Promise<SchemaElements> {
  const elements = new Map<string, string[]>();
  for (const { kind, table, columns, nameColumns } of SOURCES) {
    const rows = await control.schemaRows(table, columns);
    for (const row of rows.slice(0, MAX_ROWS)) {
      if (SYSTEM_KEYSPACE.test(textOf(row, 0))) continue;
      const [keyspace, ...name] = row.slice(0, nameColumns).map(render);
      const key = `${kind} ${keyspace}.${name.join(' ')}`;
      const parts = elements.get(key) ?? [];
      parts.push(row.slice(nameColumns).map(render).join(' '));
      elements.set(key, parts);
    }
  }
  return new Map([...elements].map(([key, parts]) => [key, parts.sort().join('\n')]));
}

/**
 * What differs, by its name: what one cluster lacks or has otherwise. A keyspace that the target alone has is its own
 * affair, and so are tables that a filter keeps on the origin.
 */
export function differingElements(origin: SchemaElements, target: SchemaElements, filter: Filter): readonly string[] {
  const keyspaces = new Set([...origin.keys()].map((key) => placeOf(key).keyspace));
  const names = new Set([...origin.keys(), ...target.keys()]);
  return [...names].filter((key) => {
    if (origin.get(key) === target.get(key)) return false;
    const { keyspace, table } = placeOf(key);
    return keyspaces.has(keyspace) && filter.decide(keyspace, table).kind !== 'excluded';
  });
}

/** `kind keyspace.name …`; names of keyspaces have no dot. */
function placeOf(key: string): { keyspace: string; table: string } {
  const [, keyspace = '', name = ''] = /^\w+ ([^.]*)\.(.*)$/s.exec(key) ?? [];
  return { keyspace, table: name.split(' ')[0] ?? '' };
}

function textOf(row: Row, index: number): string {
  const value = row[index];
  return value ? decodeText(value) : '';
}

/** Names and types are texts; numbers and lists are compared as the bytes that they are. */
function render(value: Buffer | null): string {
  if (value === null) return '-';
  const text = decodeText(value);
  return /^[\x20-\x7e]*$/.test(text) ? text : value.toString('hex');
}
