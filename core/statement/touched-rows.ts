import type { BoundValue } from '../model/cql-request.ts';
import type { TableFacts } from '../model/table-facts.ts';
import { quoteIdentifier } from '../model/table-schema.ts';
import type { BoundTerm, Statement } from './statement.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** A part of a CQL text with the values of its markers. */
export interface Fragment {
  readonly text: string;
  readonly values: readonly BoundValue[];
}

/** One row that a mutation writes, and what of it. */
export interface TouchedRow {
  /** As CQL names it, with its keyspace. */
  readonly table: string;
  /** Key columns with the terms that the statement gives them; of a static row the partition key alone. */
  readonly key: readonly { readonly column: string; readonly term: Fragment }[];
  /** Of the partition: its write has no marker, and no clustering in its key. */
  readonly isStatic: boolean;
  /** Columns of one cell each. */
  readonly cells: readonly string[];
  /** Columns of several cells: non-frozen collections and UDTs. */
  readonly collections: readonly string[];
  /** An INSERT, which makes the row itself. */
  readonly hasMarker: boolean;
  /** A DELETE of the whole row; `cells` are then all that the row may have. */
  readonly isDeletion: boolean;
  /** What is written expires. */
  readonly hasTtl: boolean;
}

/** A statement as it was sent: its text taken apart, and what is bound to its markers. */
export interface SentMutation {
  readonly statement: Statement;
  readonly keyspace: string;
  readonly valueOf: (index: number, name: string | undefined) => BoundValue;
}

/**
 * The rows that a mutation writes, at most a static and another one; undefined when its text or its table does not say so
 * for sure (INSERT JSON, a key that is not wholly given, ranges).
 */
export function touchedRows(sent: SentMutation, facts: TableFacts): readonly TouchedRow[] | undefined {
  const { statement } = sent;
  if (!statement.isUnderstood || statement.isJson || statement.table === undefined || facts.isCounter) return undefined;
  const keyColumns = new Set([...facts.partitionKey, ...facts.clustering]);
  const named = statement.kind === 'insert' ? [...statement.boundColumns.keys()] : statement.columns;
  const columns = [...new Set(named)].filter((column) => !keyColumns.has(column) && !isUnset(column, sent));
  if (columns.some((column) => !facts.statics.has(column) && !facts.regulars.has(column))) return undefined;
  const partition = keyOf(sent, facts.partitionKey);
  if (partition === undefined || partition.length === 0) return undefined;
  const clustering = keyOf(sent, facts.clustering);
  const statics = columns.filter((column) => facts.statics.has(column));
  const regulars = columns.filter((column) => facts.regulars.has(column));
  const base = {
    table: `${quoteIdentifier(sent.keyspace)}.${quoteIdentifier(statement.table)}`,
    hasTtl: statement.usingTtl !== undefined,
  };
  const rows: TouchedRow[] = [];
  if (statics.length > 0) {
    const row = { ...base, key: partition, isStatic: true, hasMarker: false, isDeletion: false };
    rows.push({ ...row, ...split(statics, facts) });
  }
  const isDeletion = statement.kind === 'delete' && statement.columns.length === 0;
  const hasMarker = statement.kind === 'insert' && clustering !== undefined;
  if (regulars.length === 0 && !isDeletion && !hasMarker) return rows.length > 0 ? rows : undefined;
  if (clustering === undefined) return undefined;
  const row = { ...base, key: [...partition, ...clustering], isStatic: false, hasMarker, isDeletion };
  rows.push({ ...row, ...split(isDeletion ? [...facts.regulars] : regulars, facts) });
  return rows;
}

/** Left as it was by the client's own word. */
function isUnset(column: string, sent: SentMutation): boolean {
  const { statement } = sent;
  const terms = statement.kind === 'insert' ? statement.boundColumns : statement.assigned;
  const term = terms.get(column);
  return term?.kind === 'marker' && sent.valueOf(term.index, term.name) === undefined;
}

function split(columns: readonly string[], facts: TableFacts): Pick<TouchedRow, 'cells' | 'collections'> {
  return {
    cells: columns.filter((column) => !facts.multiCell.has(column)),
    collections: columns.filter((column) => facts.multiCell.has(column)),
  };
}

/** undefined: not each of the columns is given one value. */
function keyOf(sent: SentMutation, columns: readonly string[]): TouchedRow['key'] | undefined {
  const key: { column: string; term: Fragment }[] = [];
  for (const column of columns) {
    const term = fragmentOf(sent.statement.boundColumns.get(column), sent);
    if (term === undefined) return undefined;
    key.push({ column, term });
  }
  return key;
}

function fragmentOf(term: BoundTerm | undefined, sent: SentMutation): Fragment | undefined {
  switch (term?.kind) {
    case 'marker': {
      const value = sent.valueOf(term.index, term.name);
      return value ? { text: '?', values: [value] } : undefined;
    }
    case 'literal':
      return { text: term.text, values: [] };
    case 'expression':
      return isConstant(term.text) ? { text: term.text, values: [] } : undefined;
    default:
      return undefined;
  }
}

/** A tuple or a collection of literals; no marker and no call in it. */
function isConstant(text: string): boolean {
  const { kinds, starts, ends, count } = tokenize(text);
  for (let index = 0; index < count; index++) {
    const kind = kinds[index];
    if (kind === TokenKind.Marker || kind === TokenKind.NamedMarker) return false;
    const isName = kind === TokenKind.Word || kind === TokenKind.QuotedName;
    if (isName && text.slice(starts[index + 1], ends[index + 1]) === '(') return false;
  }
  return count > 0;
}
