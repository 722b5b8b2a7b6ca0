import { decodeText } from '#core/cql/value-codec.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import { changesElements, listCandidates, mayWriteList } from '#core/statement/list-writes.ts';
import { type BoundTerm, literalValue, type Statement } from '#core/statement/statement.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { ValueLookup } from '../requests/tenant.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';

/** What a write must keep its turn in: its row, since the server gives the elements of lists their places in it. */
export interface ListPlace {
  readonly table: string;
  /** undefined: any row of the table; the statement, or what is known of the table, does not tell. */
  readonly row: string | undefined;
  /** False: the table's types are not known yet, so this may be a write of something else. */
  readonly isList: boolean;
  /** What it leaves depends on what was there: an append, and not a list that is written as a whole. */
  readonly isAppend: boolean;
}

/**
 * Where a request writes lists, if it does; of a batch on several tables the first one counts. Both kinds have places: what
 * is appended, and what is written as a whole and must not come behind what was appended to it.
 * @throws ProtocolError
 */
export function listPlaceOf(request: ClientRequest, schema: SchemaFacts): ListPlace | undefined {
  let found: ListPlace | undefined;
  for (const [index, { statement, entry }] of request.statements.entries()) {
    if (entry?.mayWriteList === false && statement.operations.length === 0) continue;
    for (const one of statement.kind === 'batch' ? statement.children : [statement]) {
      const place = mayWriteList(one, undefined) ? placeIn(request, index, one, schema) : undefined;
      if (found === undefined) found = place;
      else if (place?.table === found.table) found = joined(found, place);
    }
  }
  return found;
}

function placeIn(
  request: ClientRequest,
  index: number,
  statement: Statement,
  schema: SchemaFacts,
): ListPlace | undefined {
  const keyspace = statement.keyspace ?? request.statements[index]!.entry?.keyspace ?? request.keyspace ?? '';
  const known = schema.known(keyspace, statement.table ?? '');
  const facts = known ?? schema.knownBefore(keyspace, statement.table ?? '');
  const table = `${keyspace}.${statement.table}`;
  const isAppend = changesElements(statement);
  const key = facts && keyColumns(statement, facts);
  if (key === 'none' && known) return undefined;
  // A table that has changed may have lists now that it had not; its key it keeps.
  if (!facts || key === 'none') return { table, row: undefined, isList: false, isAppend };
  request.ensureLayout();
  return { table, row: key && rowOf(statement, key, facts, request.valuesOf(index)), isList: true, isAppend };
}

function joined(one: ListPlace, other: ListPlace): ListPlace {
  return { ...one, row: one.row === other.row ? one.row : undefined, isAppend: one.isAppend || other.isAppend };
}

/** The columns whose values tell the row; 'none': no list is written; undefined: they do not tell it. */
function keyColumns(statement: Statement, facts: TableFacts): readonly string[] | 'none' | undefined {
  if (facts.lists.size === 0) return 'none';
  const candidates = listCandidates(statement);
  if (candidates === undefined) return undefined;
  const columns = candidates.filter((column) => facts.lists.has(column));
  if (columns.length === 0) return 'none';
  const staticCount = columns.filter((column) => facts.statics.has(column)).length;
  if (staticCount === columns.length) return facts.partitionKey;
  return staticCount === 0 ? [...facts.partitionKey, ...facts.clustering] : undefined;
}

function rowOf(
  statement: Statement,
  key: readonly string[],
  facts: TableFacts,
  lookup: ValueLookup,
): string | undefined {
  const parts: string[] = [];
  for (const column of key) {
    const part = keyText(statement.boundColumns.get(column), facts.keyTypes.get(column) ?? '', lookup);
    if (part === undefined) return undefined;
    parts.push(part);
  }
  return JSON.stringify(parts);
}

/** One text for one value, bound or in the text of the statement; undefined where there would be several. */
function keyText(term: BoundTerm | undefined, type: string, lookup: ValueLookup): string | undefined {
  if (term?.kind === 'literal') return literalText(term.text, type);
  if (term?.kind !== 'marker') return undefined;
  const value = lookup(term.index, term.name);
  if (!value) return undefined;
  const bytes = Buffer.from(value);
  switch (type) {
    case 'text':
    case 'varchar':
    case 'ascii':
      return decodeText(bytes);
    case 'tinyint':
    case 'smallint':
    case 'int':
    case 'bigint':
      return bytes.length === 0 ? '' : BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`)).toString();
    default:
      return bytes.toString('hex');
  }
}

function literalText(text: string, type: string): string | undefined {
  switch (type) {
    case 'text':
    case 'varchar':
    case 'ascii':
      return literalValue(text);
    case 'tinyint':
    case 'smallint':
    case 'int':
    case 'bigint':
      return /^-?\d+$/.test(text) ? BigInt(text).toString() : undefined;
    case 'uuid':
    case 'timeuuid':
      return /^[0-9a-f-]{36}$/i.test(text) ? text.replaceAll('-', '').toLowerCase() : undefined;
    default:
      return undefined;
  }
}
