import { valueLookup } from '#core/model/bound-values.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import { joinPartitionKey } from '#core/model/partition-key.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import { classify } from '#core/statement/classify.ts';
import { keyLiteralBytes } from '#core/statement/key-literal.ts';
import type { BoundTerm, Statement } from '#core/statement/statement.ts';
import { tokenOf } from '#core/token/token.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { ClientRequest, RequestStatement } from './client-request.ts';
import { type SentStatements, sentStatements } from './sent-statements.ts';

/** A table that a request writes, and where. */
export interface WrittenPlace {
  readonly keyspace: string;
  readonly table: string;
  /** Of the one partition that the statement writes; null: its key is not to be read from the request. */
  readonly token: bigint | null;
  readonly statement: Statement;
}

/** A statement, and what is bound to its markers. */
interface BoundStatement {
  readonly statement: Statement;
  readonly lookUp: (index: number, name: string | undefined) => BoundValue;
}

/**
 * Tokens of the partitions that a request writes; null: at least one of them is not known, so it may be any.
 * @param of one of its tables; all of them unless given
 */
export function tokensOf(
  request: ClientRequest,
  schema: SchemaFacts,
  of?: { readonly keyspace: string; readonly table: string },
): readonly bigint[] | null {
  const tokens = new Set<bigint>();
  for (const { keyspace, table, token } of writtenPlaces(request, schema)) {
    if (of && (keyspace !== of.keyspace || table !== of.table)) continue;
    if (token === null) return null;
    tokens.add(token);
  }
  return tokens.size === 0 ? null : [...tokens];
}

/** What a request writes, statement by statement; those whose table is not known are left out: the server refuses them. */
export function writtenPlaces(request: ClientRequest, schema: SchemaFacts): readonly WrittenPlace[] {
  const places: WrittenPlace[] = [];
  const generated = new Generated(request);
  for (const [index, one] of request.statements.entries()) {
    const lookUp = request.valuesOf(index);
    const { statement } = one;
    for (const [child, part] of (statement.kind === 'batch' ? statement.children : [statement]).entries()) {
      const keyspace = part.keyspace ?? one.entry?.keyspace ?? request.keyspace;
      const { table } = part;
      if (keyspace === undefined || table === undefined) continue;
      const isOpen = statement.nonDeterministic.length > 0;
      const token =
        tokenIn({ statement: part, lookUp }, one, keyspace, schema) ??
        (isOpen ? tokenIn(generated.of(index, child), one, keyspace, schema) : null);
      places.push({ keyspace, table, token, statement: part });
    }
  }
  return places;
}

/** The statements of a request with the values that the proxy has made for its functions. */
class Generated {
  readonly #request: ClientRequest;
  #sent: SentStatements | undefined;

  constructor(request: ClientRequest) {
    this.#request = request;
  }

  /** undefined: it can't be said in the form that a cluster gets. */
  of(index: number, child: number): BoundStatement | undefined {
    try {
      this.#sent ??= sentStatements(this.#request, 'origin');
    } catch {
      // Its own fault, which it is told of when it is sent.
      return undefined;
    }
    const sent = this.#sent.statements[index]!;
    const whole = classify(sent.text);
    const statement = whole.kind === 'batch' ? whole.children[child] : whole;
    return statement && { statement, lookUp: valueLookup(sent) };
  }
}

/** What can not be read is anywhere: its own fault, which its client is told of. */
function tokenIn(...place: Parameters<typeof readToken>): bigint | null {
  try {
    return readToken(...place);
  } catch {
    return null;
  }
}

function readToken(
  bound: BoundStatement | undefined,
  { entry }: RequestStatement,
  keyspace: string,
  schema: SchemaFacts,
): bigint | null {
  if (!bound?.statement.isUnderstood || bound.statement.isJson || !schema.isMurmur3) return null;
  const { statement, lookUp } = bound;
  const table = statement.table!;
  // What PREPARED has said needs no question; a key does not change.
  const facts = schema.known(keyspace, table) ?? schema.knownBefore(keyspace, table);
  const columns = entry?.keyColumns ?? facts?.partitionKey;
  if (columns === undefined || columns.length === 0) return null;
  const values: Uint8Array[] = [];
  for (const column of columns) {
    const value = valueOfTerm(statement.boundColumns.get(column), column, facts, lookUp);
    if (!value) return null;
    values.push(value);
  }
  const key = joinPartitionKey(values);
  return key && key.length > 0 ? tokenOf(key) : null;
}

function valueOfTerm(
  term: BoundTerm | undefined,
  column: string,
  facts: TableFacts | undefined,
  lookUp: BoundStatement['lookUp'],
): BoundValue {
  if (term?.kind === 'marker') return lookUp(term.index, term.name);
  const type = facts?.keyTypes.get(column);
  return term?.kind === 'literal' && type !== undefined ? keyLiteralBytes(term.text, type) : undefined;
}
