/** Creates a keyspace of the origin on the target, from the origin's own CREATE statements. */
import { SchemaMismatchError } from '#core/errors.ts';
import type { Renames } from '#core/model/rename.ts';
import { quoteIdentifier } from '#core/model/table-schema.ts';
import { withReplication } from '#core/statement/keyspace-replication.ts';
import { renameIn } from '#core/statement/rename-in.ts';
import type { DriverClient } from './driver-client.ts';

/** One element of a keyspace, as DESCRIBE gives it. */
export interface SchemaElement {
  readonly type: 'keyspace' | 'type' | 'table' | 'index' | 'function' | 'aggregate' | 'materialized_view';
  readonly name: string;
  readonly statement: string;
}

// Types before tables that use them, tables before indexes and views; within a kind the order of DESCRIBE,
// which sorts types by dependency.
const ORDER: Readonly<Record<SchemaElement['type'], number>> = {
  keyspace: 0,
  type: 1,
  function: 2,
  aggregate: 3,
  table: 4,
  index: 5,
  materialized_view: 6,
};

/**
 * What `DESCRIBE KEYSPACE` answers (server-side: Cassandra ≥ 4.0, ScyllaDB ≥ 5.2), in the order of creation.
 * @throws SchemaMismatchError when the cluster can't describe itself or has no such keyspace
 */
export async function describeKeyspace(client: DriverClient, keyspace: string): Promise<readonly SchemaElement[]> {
  const rows = await client
    .execute(`DESCRIBE KEYSPACE ${quoteIdentifier(keyspace)}`, [], { prepare: false })
    .then((result) => result.rows)
    .catch((cause: Error) => {
      throw new SchemaMismatchError(
        `keyspace ${keyspace} was not described: ${cause.message}; the cluster needs Cassandra 4.0 or later, else create the schema by hand and run: ringshift schema diff`,
        { cause, context: { keyspace } },
      );
    });
  return rows
    .map((row): SchemaElement => ({ type: row['type'], name: row['name'], statement: row['create_statement'] }))
    .sort((a, b) => (ORDER[a.type] ?? 9) - (ORDER[b.type] ?? 9));
}

/** The same; empty when the cluster has no such keyspace. */
export async function describeIfPresent(client: DriverClient, keyspace: string): Promise<readonly SchemaElement[]> {
  const text = 'SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?';
  return (await client.execute(text, [keyspace])).rows.length === 0 ? [] : describeKeyspace(client, keyspace);
}

export interface CopyOptions {
  /** CQL map literal; null keeps the origin's replication. */
  readonly replication: string | null;
  readonly skipIndexes: boolean;
  readonly renames: Renames;
}

/** Types, functions and views that only one side has, as texts for people. Tables and indexes are compared by what they are. */
export function compareElements(
  origin: readonly SchemaElement[],
  target: readonly SchemaElement[],
): { readonly onlyInOrigin: readonly string[]; readonly onlyInTarget: readonly string[] } {
  const namesOf = (elements: readonly SchemaElement[]) =>
    new Set(elements.filter(({ type }) => !COMPARED_ELSEWHERE.has(type)).map(({ type, name }) => `${type} ${name}`));
  const [mine, theirs] = [namesOf(origin), namesOf(target)];
  return {
    onlyInOrigin: [...mine].filter((name) => !theirs.has(name)),
    onlyInTarget: [...theirs].filter((name) => !mine.has(name)),
  };
}

const COMPARED_ELSEWHERE: ReadonlySet<SchemaElement['type']> = new Set(['keyspace', 'table', 'index']);

/** Of a keyspace of the target what comes from that keyspace of the origin, views under their names there. */
export function elementsFrom(
  keyspace: string,
  place: string,
  elements: readonly SchemaElement[],
  renames: Renames,
): readonly SchemaElement[] {
  return elements.flatMap((element) => {
    if (element.type !== 'materialized_view') return place === renames.keyspaceOnTarget(keyspace) ? [element] : [];
    const back = renames.toOrigin({ keyspace: place, table: element.name });
    return back?.keyspace === keyspace ? [{ ...element, name: back.table }] : [];
  });
}

/** The statements that create it on the target, safe to run twice. Pure. */
export function toTargetStatements(
  keyspace: string,
  elements: readonly SchemaElement[],
  options: CopyOptions,
): readonly SchemaElement[] {
  const { renames, skipIndexes } = options;
  return elements
    .filter((element) => !(skipIndexes && element.type === 'index'))
    .map((element) => {
      const statement = toTargetStatement(element, options);
      return {
        ...element,
        statement: renames.isEmpty ? statement : renameIn(statement, keyspace, element.type, renames),
      };
    });
}

function toTargetStatement(element: SchemaElement, options: CopyOptions): string {
  const once = element.statement
    .trim()
    .replace(/;$/, '')
    .replace(
      /^CREATE (KEYSPACE|TYPE|TABLE|CUSTOM INDEX|INDEX|MATERIALIZED VIEW|FUNCTION|AGGREGATE) (?!IF NOT EXISTS)/i,
      'CREATE $1 IF NOT EXISTS ',
    );
  if (element.type !== 'keyspace' || options.replication === null) return once;
  return withReplication(once, options.replication);
}

/**
 * Runs them on the target one after another; the driver waits for schema agreement after each.
 * @throws SchemaMismatchError naming the element that the target refused
 */
export async function applySchema(
  target: DriverClient,
  elements: readonly SchemaElement[],
  onApplied: (element: SchemaElement) => void,
): Promise<void> {
  for (const element of elements) {
    try {
      await target.execute(element.statement, [], { prepare: false, isIdempotent: true, readTimeout: 60_000 });
    } catch (cause) {
      throw new SchemaMismatchError(`the target refused ${element.type} ${element.name}: ${(cause as Error).message}`, {
        cause,
        context: { element: element.name, statement: element.statement },
      });
    }
    onApplied(element);
  }
}
