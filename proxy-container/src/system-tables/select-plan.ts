import { ErrorCode } from '#core/cql/protocol.ts';
import { decodeList, encodeBigint, encodeInet, encodeInt, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import { ServerError } from '#core/errors.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { SystemRelation, SystemSelect, SystemSelector, SystemTerm } from '#core/statement/system-select.ts';
import type { SystemTable } from './columns.ts';
import type { SystemRow } from './rows.ts';

/** What a SELECT on one of the tables needs and gives. */
export interface SelectPlan {
  readonly select: SystemSelect;
  readonly table: SystemTable;
  readonly selectors: readonly SystemSelector[];
  readonly columns: readonly ResultColumn[];
  /** One for each marker, in order. */
  readonly markers: readonly ResultColumn[];
  /** Which markers are the partition key. */
  readonly partitionKeyIndexes: readonly number[];
}

/** The value bound to a marker: null, or undefined when there is none. */
export type BoundLookup = (index: number, name: string | undefined) => Uint8Array | null | undefined;

/** Each table has fewer columns; without a bound a short request would make an answer of any length. */
const MAX_SELECTORS = 64;
/** Values that the rows are compared with. */
const MAX_TERMS = 1024;
const MAX_LIST_BYTES = 64 * 1024;

const BIGINT: CqlType = { kind: 'native', name: 'bigint' };
const INT: CqlType = { kind: 'native', name: 'int' };
const TEXT: CqlType = { kind: 'native', name: 'text' };

/** @throws ServerError for a column that the table does not have, and what a cluster would refuse as well */
export function planSelect(select: SystemSelect, table: SystemTable): SelectPlan {
  const typeOf = (column: string): CqlType => {
    const type = table.columns.get(column);
    if (type === undefined) throw invalid(`Undefined column name ${column} in table system.${table.name}`);
    return type;
  };
  const named = (name: string, type: CqlType): ResultColumn => ({ keyspace: 'system', table: table.name, name, type });
  const selectors: readonly SystemSelector[] =
    select.selectors === 'all'
      ? [...table.columns.keys()].map((column) => ({ kind: 'column', column, name: column }))
      : select.selectors;
  const termCount = select.relations.reduce((count, { terms }) => count + terms.length, 0);
  if (selectors.length > MAX_SELECTORS || termCount > MAX_TERMS) {
    throw invalid(`The proxy answers at most ${MAX_SELECTORS} columns and ${MAX_TERMS} values on this table`);
  }
  const columns = selectors.map((selector) => {
    const type = selector.column === undefined ? BIGINT : typeOf(selector.column);
    return named(selector.name, selector.kind === 'count' ? BIGINT : type);
  });
  const isMixed = selectors.some(({ kind }) => kind === 'count') && selectors.some(({ kind }) => kind === 'column');
  if (isMixed) throw invalid('The proxy answers count() on this table without other columns only');
  if (select.isDistinct && selectors.some(({ column }) => !table.partitionKey.includes(column ?? ''))) {
    throw invalid('SELECT DISTINCT queries must only request partition key columns');
  }
  const markers: ResultColumn[] = [];
  const partitionKeyIndexes: number[] = [];
  for (const { column, operator, terms } of select.relations) {
    const type = typeOf(column);
    if (type.kind !== 'native') throw invalid(`Collection column ${column} can't be compared here`);
    for (const term of terms) {
      if (term.kind !== 'marker') continue;
      if (operator === '=' && table.partitionKey.includes(column)) partitionKeyIndexes.push(term.index);
      markers[term.index] =
        operator === 'inMarker'
          ? named(term.name ?? `in(${column})`, { kind: 'list', element: type, frozen: true })
          : named(term.name ?? column, type);
    }
  }
  const { limit } = select;
  if (limit?.kind === 'marker') markers[limit.index] = named(limit.name ?? '[limit]', INT);
  return {
    select,
    table,
    selectors,
    columns: select.isJson ? [named('[json]', TEXT)] : columns,
    markers,
    partitionKeyIndexes,
  };
}

/** The rows of the answer. @throws ServerError for values that do not fit */
export function runSelect(plan: SelectPlan, all: readonly SystemRow[], bound: BoundLookup): (Buffer | null)[][] {
  const { select, table } = plan;
  const tests = select.relations.map((relation) => testOf(relation, table, bound));
  const limit = limitOf(select.limit, bound);
  const found = distinct(
    plan,
    all.filter((row) => tests.every((test) => test(row))),
  );
  const isCount = plan.selectors.some(({ kind }) => kind === 'count');
  if (!isCount) return found.slice(0, limit).map((row) => resultRow(plan, row));
  const counts = plan.selectors.map(({ column }) =>
    column === undefined ? found.length : found.filter((row) => row.has(column)).length,
  );
  if (!select.isJson) return [counts.map((count) => encodeBigint(BigInt(count)))];
  return [[jsonOf(plan.selectors.map(({ name }, index) => [name, counts[index]]))]];
}

function distinct({ select, selectors }: SelectPlan, rows: readonly SystemRow[]): readonly SystemRow[] {
  if (!select.isDistinct) return rows;
  const keyOf = (row: SystemRow) => selectors.map(({ column }) => row.get(column!)?.bytes.toString('hex')).join('/');
  return [...new Map(rows.map((row) => [keyOf(row), row] as const)).values()];
}

function resultRow({ select, selectors }: SelectPlan, row: SystemRow): (Buffer | null)[] {
  if (select.isJson) return [jsonOf(selectors.map(({ column, name }) => [name, row.get(column!)?.json ?? null]))];
  return selectors.map(({ column }) => row.get(column!)?.bytes ?? null);
}

/** As Cassandra writes it: a space behind each colon and comma, names with capitals in quotes of their own. */
function jsonOf(entries: readonly (readonly [string, unknown])[]): Buffer {
  const fields = entries.map(([name, value]) => {
    const shown = /[A-Z]/.test(name) ? `"${name}"` : name;
    return `${JSON.stringify(shown)}: ${jsonValue(value)}`;
  });
  return encodeText(`{${fields.join(', ')}}`);
}

function jsonValue(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(jsonValue).join(', ')}]` : JSON.stringify(value);
}

function testOf(relation: SystemRelation, table: SystemTable, bound: BoundLookup): (row: SystemRow) => boolean {
  const { column, operator, terms } = relation;
  const type = table.columns.get(column)!;
  const wanted =
    operator === 'inMarker'
      ? listElements(boundValue(terms[0]!, type, column, bound), column)
      : terms.map((term) => boundValue(term, type, column, bound));
  return (row) => {
    const value = row.get(column)?.bytes;
    return value !== undefined && wanted.some((one) => value.equals(one));
  };
}

function boundValue(term: SystemTerm, type: CqlType, column: string, bound: BoundLookup): Uint8Array {
  if (term.kind === 'literal') return literal(term.text, term.token, type, column);
  const value = bound(term.index, term.name);
  if (value === undefined) throw invalid(`Invalid unset value for column ${column}`);
  if (value === null) throw invalid(`Invalid null value in condition for column ${column}`);
  return value;
}

const TOKENS: Readonly<Record<string, 'string' | 'number' | 'uuid'>> = {
  text: 'string',
  inet: 'string',
  int: 'number',
  uuid: 'uuid',
};

function literal(text: string, token: 'string' | 'number' | 'uuid', type: CqlType, column: string): Uint8Array {
  const name = type.kind === 'native' ? type.name : type.kind;
  try {
    if (TOKENS[name] === token) {
      if (name === 'text') return encodeText(text);
      if (name === 'inet') return encodeInet(text);
      if (name === 'uuid') return encodeUuid(text);
      if (/^\d{1,9}$/.test(text)) return encodeInt(Number(text));
    }
  } catch {
    // Said below.
  }
  throw invalid(`Invalid ${token} constant (${text}) for "${column}" of type ${name}`);
}

function listElements(value: Uint8Array, column: string): readonly Uint8Array[] {
  if (value.length > MAX_LIST_BYTES) throw invalid(`The list for column ${column} is too long`);
  try {
    return decodeList(value);
  } catch {
    throw invalid(`Invalid list for column ${column}`);
  }
}

function limitOf(term: SystemTerm | undefined, bound: BoundLookup): number {
  if (term === undefined) return Number.POSITIVE_INFINITY;
  const value = Buffer.from(boundValue(term, INT, '[limit]', bound));
  if (value.length !== 4) throw invalid('Invalid limit value');
  const limit = value.readInt32BE(0);
  if (limit <= 0) throw invalid('LIMIT must be strictly positive');
  return limit;
}

function invalid(message: string): ServerError {
  return new ServerError(message, ErrorCode.INVALID, false);
}
