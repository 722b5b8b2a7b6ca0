import { literalValue } from './statement.ts';
import { markerName } from './terms.ts';
import { TokenCursor } from './token-cursor.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** A SELECT of columns as drivers ask for those of `system.local` and `system.peers`. */
export interface SystemSelect {
  readonly isJson: boolean;
  readonly isDistinct: boolean;
  readonly selectors: 'all' | readonly SystemSelector[];
  readonly relations: readonly SystemRelation[];
  readonly limit?: SystemTerm;
}

/** `name` is what the result calls it. */
export type SystemSelector =
  | { readonly kind: 'column'; readonly column: string; readonly name: string }
  /** Of a column the rows in which it is not null; of * and 1 all. */
  | { readonly kind: 'count'; readonly column?: string; readonly name: string };

/** column = term, column IN (terms), column IN marker */
export interface SystemRelation {
  readonly column: string;
  readonly operator: '=' | 'in' | 'inMarker';
  readonly terms: readonly SystemTerm[];
}

export type SystemTerm =
  /** A string without its quotes, a number or a UUID as it stands. */
  | { readonly kind: 'literal'; readonly token: 'string' | 'number' | 'uuid'; readonly text: string }
  | { readonly kind: 'marker'; readonly index: number; readonly name?: string };

/**
 * SELECT [JSON] [DISTINCT] selectors FROM table [WHERE relations] [LIMIT term] [ALLOW FILTERING] [;]
 * Reads it whole or not at all: undefined when it has anything else (functions, casts, other operators, ORDER BY).
 */
export function parseSystemSelect(text: string): SystemSelect | undefined {
  const tokens = tokenize(text);
  if (tokens.isBroken) return undefined;
  const cursor = new TokenCursor(tokens);
  const markers = { count: 0 };
  while (cursor.takeSymbol(';')) {
    // Empty statements in front are nothing.
  }
  if (!cursor.takeWord('select')) return undefined;
  const isJson = takeModifier(cursor, 'json');
  const isDistinct = takeModifier(cursor, 'distinct');
  const selectors = takeSelectors(cursor);
  if (selectors === undefined || !cursor.takeWord('from') || cursor.takeTable() === undefined) return undefined;
  const relations = cursor.takeWord('where') ? takeRelations(cursor, markers) : [];
  if (relations === undefined) return undefined;
  const limit = cursor.takeWord('limit') ? takeTerm(cursor, markers) : null;
  if (limit === undefined) return undefined;
  if (cursor.takeWord('allow') && !cursor.takeWord('filtering')) return undefined;
  while (cursor.takeSymbol(';')) {
    // Nor are those behind.
  }
  if (!cursor.isAtEnd) return undefined;
  return { isJson, isDistinct, selectors, relations, ...(limit ? { limit } : {}) };
}

/** `json` and `distinct` may be names too: then a comma, AS or FROM follows. */
function takeModifier(cursor: TokenCursor, word: string): boolean {
  const isName = cursor.isSymbol(',', 1) || cursor.isWord('from', 1) || cursor.isWord('as', 1);
  return !isName && cursor.takeWord(word);
}

function takeSelectors(cursor: TokenCursor): SystemSelect['selectors'] | undefined {
  if (cursor.takeSymbol('*')) return 'all';
  const selectors: SystemSelector[] = [];
  do {
    const selector = takeSelector(cursor);
    if (selector === undefined) return undefined;
    selectors.push(selector);
  } while (cursor.takeSymbol(','));
  return selectors;
}

function takeSelector(cursor: TokenCursor): SystemSelector | undefined {
  const isCount = cursor.isWord('count') && cursor.isSymbol('(', 1);
  if (isCount) cursor.at += 2;
  const isOfAll = isCount && (cursor.takeSymbol('*') || takeOne(cursor));
  const column = isOfAll ? undefined : cursor.takeName();
  if (!isOfAll && column === undefined) return undefined;
  if (isCount && !cursor.takeSymbol(')')) return undefined;
  const alias = cursor.takeWord('as') ? cursor.takeName() : null;
  if (alias === undefined) return undefined;
  if (!isCount) return { kind: 'column', column: column!, name: alias ?? column! };
  const name = alias ?? (column === undefined ? 'count' : `system.count(${column})`);
  return { kind: 'count', ...(column === undefined ? {} : { column }), name };
}

function takeOne(cursor: TokenCursor): boolean {
  if (cursor.kind !== TokenKind.Number || cursor.textAt(cursor.at) !== '1') return false;
  cursor.at++;
  return true;
}

function takeRelations(cursor: TokenCursor, markers: { count: number }): SystemRelation[] | undefined {
  const relations: SystemRelation[] = [];
  do {
    const column = cursor.takeName();
    if (column === undefined) return undefined;
    if (cursor.takeSymbol('=')) {
      const term = takeTerm(cursor, markers);
      if (term === undefined) return undefined;
      relations.push({ column, operator: '=', terms: [term] });
      continue;
    }
    if (!cursor.takeWord('in')) return undefined;
    const isList = cursor.takeSymbol('(');
    const terms = isList ? takeTerms(cursor, markers) : [takeTerm(cursor, markers)];
    if (terms === undefined || !terms.every((term) => term !== undefined)) return undefined;
    if (!isList && terms[0]!.kind !== 'marker') return undefined;
    relations.push({ column, operator: isList ? 'in' : 'inMarker', terms });
  } while (cursor.takeWord('and'));
  return relations;
}

/** Behind the opening bracket. */
function takeTerms(cursor: TokenCursor, markers: { count: number }): SystemTerm[] | undefined {
  const terms: SystemTerm[] = [];
  if (cursor.takeSymbol(')')) return terms;
  do {
    const term = takeTerm(cursor, markers);
    if (term === undefined) return undefined;
    terms.push(term);
  } while (cursor.takeSymbol(','));
  return cursor.takeSymbol(')') ? terms : undefined;
}

function takeTerm(cursor: TokenCursor, markers: { count: number }): SystemTerm | undefined {
  const { kind } = cursor;
  const text = kind === 0 ? '' : cursor.textAt(cursor.at);
  const term = termOf(kind, text, markers);
  if (term !== undefined) cursor.at++;
  return term;
}

function termOf(kind: number, text: string, markers: { count: number }): SystemTerm | undefined {
  switch (kind) {
    case TokenKind.String:
      return { kind: 'literal', token: 'string', text: literalValue(text) };
    case TokenKind.Number:
      return { kind: 'literal', token: 'number', text };
    case TokenKind.Uuid:
      return { kind: 'literal', token: 'uuid', text };
    case TokenKind.Marker:
      return { kind: 'marker', index: markers.count++ };
    case TokenKind.NamedMarker:
      return { kind: 'marker', index: markers.count++, name: markerName(text) };
    default:
      return undefined;
  }
}
