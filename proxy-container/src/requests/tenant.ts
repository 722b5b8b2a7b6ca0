import { decodeList } from '#core/cql/value-codec.ts';
import type { Filter } from '#core/filter/filter.ts';
import { type BoundTerm, literalValue, type Statement } from '#core/statement/statement.ts';
import type { ClientRequest } from './client-request.ts';
import type { PreparedEntry } from './prepared-statements.ts';

/** The bytes bound to a marker: by position, or by name where the client names its values. */
export type ValueLookup = (index: number, name: string | undefined) => Uint8Array | null | undefined;

/** `mixed`: one statement touches what is excluded and what is not. */
export type Exclusion = 'migrate' | 'excluded' | 'mixed';

/** Decides a statement, or all of a batch, by its table and the tenants that it names. */
export function exclusionOf(
  filter: Filter,
  statement: Statement,
  sessionKeyspace: string | undefined,
  boundValueOf: ValueLookup,
): Exclusion {
  if (filter.isEmpty) return 'migrate';
  if (statement.kind === 'batch') {
    return combine(statement.children.map((child) => exclusionOf(filter, child, sessionKeyspace, boundValueOf)));
  }
  const keyspace = statement.keyspace ?? sessionKeyspace;
  const { table } = statement;
  if (keyspace === undefined || table === undefined) return 'migrate';
  const tenants = filter.hasTenantRules ? tenantsOf(filter, statement, boundValueOf) : [];
  // A tenant that can't be told may be any.
  if (tenants === undefined) return filter.decide(keyspace, table).kind === 'excluded' ? 'excluded' : 'mixed';
  if (tenants.length === 0) return filter.decide(keyspace, table).kind;
  return combine(tenants.map((tenant) => filter.decide(keyspace, table, tenant).kind));
}

/** Decides all statements of a request together. @throws ProtocolError */
export function exclusionOfRequest(filter: Filter, request: ClientRequest): Exclusion {
  if (filter.isEmpty) return 'migrate';
  const [first] = request.statements;
  if (first?.entry && request.statements.length === 1) {
    const constant = constantExclusion(filter, first.entry);
    if (constant !== undefined) return constant;
  }
  request.ensureLayout();
  return combine(
    request.statements.map(({ statement, entry }, index) =>
      exclusionOf(filter, statement, entry?.keyspace ?? request.keyspace, request.valuesOf(index)),
    ),
  );
}

/** What a prepared statement is whatever is bound to it, kept with it; undefined where its values or its session decide. */
export function constantExclusion(filter: Filter, entry: PreparedEntry): Exclusion | undefined {
  if (entry.exclusion?.filter !== filter) entry.exclusion = { filter, decision: decideAlone(filter, entry) };
  return entry.exclusion.decision;
}

function decideAlone(filter: Filter, { statement, keyspace }: PreparedEntry): Exclusion | undefined {
  if (statement.kind === 'batch' || (statement.keyspace ?? keyspace) === undefined) return undefined;
  const namesTenant = filter.tenantColumns.some((column) => statement.boundColumns.has(column));
  if (filter.hasTenantRules && (namesTenant || statement.isJson)) return undefined;
  return exclusionOf(filter, statement, keyspace, () => undefined);
}

/** What several statements are together. */
function combine(exclusions: readonly Exclusion[]): Exclusion {
  const [first = 'migrate', ...rest] = exclusions;
  return rest.every((one) => one === first) ? first : 'mixed';
}

/** undefined: the statement names a tenant in a way that does not tell which. */
function tenantsOf(
  filter: Filter,
  statement: Statement,
  boundValueOf: ValueLookup,
): (string | Uint8Array)[] | undefined {
  const json = statement.json && jsonColumns(statement.json, boundValueOf);
  for (const column of filter.tenantColumns) {
    const inJson = json?.get(column);
    if (inJson !== undefined) return [inJson];
    const term = statement.boundColumns.get(column);
    if (term) return termValues(term, boundValueOf);
  }
  // In a part of the text that was not read any tenant may be named.
  return statement.isUnderstood ? [] : undefined;
}

function termValues(term: BoundTerm, boundValueOf: ValueLookup): (string | Uint8Array)[] | undefined {
  switch (term.kind) {
    case 'literal':
      return [plainLiteral(term.text)];
    case 'marker': {
      const value = boundValueOf(term.index, term.name);
      return value ? [value] : [];
    }
    case 'list': {
      const values = term.terms.map((one) => termValues(one, boundValueOf));
      return values.includes(undefined) ? undefined : values.flatMap((one) => one ?? []);
    }
    case 'listMarker': {
      const value = boundValueOf(term.index, term.name);
      return value ? decodeList(value) : [];
    }
    case 'expression':
      // uuid() makes a tenant that nobody has excluded.
      return /^(system\s*\.\s*)?\w+\s*\(\s*\)$/i.test(term.text) ? [] : undefined;
  }
}

/** A number without the zeros in front, which a text column would keep. */
function plainLiteral(text: string): string {
  return /^-?\d+$/.test(text) ? BigInt(text).toString() : literalValue(text);
}

/** The document's members by the columns that they mean: names without quotes of their own are in any case. */
function jsonColumns(term: BoundTerm, boundValueOf: ValueLookup): ReadonlyMap<string, string> | undefined {
  const value = term.kind === 'marker' ? boundValueOf(term.index, term.name) : undefined;
  const text = term.kind === 'literal' ? literalValue(term.text) : value ? Buffer.from(value).toString() : undefined;
  if (text === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(text, keepDigits);
    if (typeof parsed !== 'object' || parsed === null) return undefined;
    return new Map(Object.entries(parsed).map(([name, member]) => [jsonColumn(name), String(member)]));
  } catch {
    // The server refuses it with a message of its own.
    return undefined;
  }
}

function jsonColumn(name: string): string {
  return /^".*"$/s.test(name) ? name.slice(1, -1) : name.toLowerCase();
}

/** A bigint has more digits than a number holds. */
function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === 'number' ? (context?.source ?? value) : value;
}
