import type { BoundTerm, ColumnOperation } from './statement.ts';
import type { TokenCursor } from './token-cursor.ts';
import { nameOf } from './token-cursor.ts';
import { TokenKind } from './tokenizer.ts';

/** What is gathered from one INSERT, UPDATE, DELETE or SELECT. */
export interface Parts {
  keyspace?: string;
  table?: string;
  isLwt: boolean;
  isJson: boolean;
  json?: BoundTerm;
  usingTimestamp?: BoundTerm;
  usingTtl?: BoundTerm;
  readonly columns: string[];
  readonly operations: ColumnOperation[];
  readonly boundColumns: Map<string, BoundTerm>;
  readonly assigned: Map<string, BoundTerm>;
}

/** Index of the marker that a token is, by token index. */
export type MarkerIndexes = ReadonlyMap<number, number>;

export function newParts(): Parts {
  return { isLwt: false, isJson: false, columns: [], operations: [], boundColumns: new Map(), assigned: new Map() };
}

/**
 * INSERT INTO table (names) VALUES (terms) | JSON document [DEFAULT NULL|UNSET], then [IF NOT EXISTS] [USING …].
 * The cursor stands behind INSERT. False: not understood.
 */
export function parseInsert(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): boolean {
  if (!cursor.takeWord('into') || !takeTable(cursor, parts)) return false;
  if (cursor.takeWord('json')) {
    parts.isJson = true;
    parts.json = takeTerm(cursor, markers, () => isTailWord(cursor) || cursor.isWord('default'));
    if (cursor.takeWord('default')) cursor.at++;
  } else {
    if (!cursor.takeSymbol('(')) return false;
    const names: string[] = [];
    do {
      const name = cursor.takeName();
      if (name === undefined) return false;
      names.push(name);
    } while (cursor.takeSymbol(','));
    if (!cursor.takeSymbol(')') || !cursor.takeWord('values')) return false;
    const terms = takeTermList(cursor, markers);
    if (terms === undefined || terms.length !== names.length) return false;
    for (const [index, name] of names.entries()) parts.boundColumns.set(name, terms[index]!);
    parts.columns.push(...names);
  }
  return parseTail(cursor, markers, parts);
}

/** UPDATE table [USING …] SET assignments WHERE relations [IF …]. The cursor stands behind UPDATE. */
export function parseUpdate(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): boolean {
  if (!takeTable(cursor, parts)) return false;
  parseUsing(cursor, markers, parts);
  if (!cursor.takeWord('set')) return false;
  do {
    if (!parseAssignment(cursor, markers, parts)) return false;
  } while (cursor.takeSymbol(','));
  if (!cursor.takeWord('where')) return false;
  parseWhere(cursor, markers, parts.boundColumns);
  return parseTail(cursor, markers, parts);
}

/** DELETE [selections] FROM table [USING TIMESTAMP …] WHERE relations [IF …]. The cursor stands behind DELETE. */
export function parseDelete(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): boolean {
  while (!cursor.isWord('from')) {
    const column = cursor.takeName();
    if (column === undefined) return false;
    parts.columns.push(column);
    if (cursor.takeSymbol('[')) {
      const term = takeTerm(cursor, markers, () => false);
      if (!cursor.takeSymbol(']')) return false;
      parts.operations.push({ column, operation: 'deleteElement', term });
    } else if (cursor.takeSymbol('.')) {
      if (cursor.takeName() === undefined) return false;
    }
    if (!cursor.takeSymbol(',') && !cursor.isWord('from')) return false;
  }
  cursor.at++;
  if (!takeTable(cursor, parts)) return false;
  parseUsing(cursor, markers, parts);
  if (!cursor.takeWord('where')) return false;
  parseWhere(cursor, markers, parts.boundColumns);
  return parseTail(cursor, markers, parts);
}

/** SELECT … FROM table [WHERE relations …]. What is not understood is left out: a read goes to one cluster anyway. */
export function parseSelect(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): void {
  parts.isJson = cursor.isWord('json') && !cursor.isSymbol(',', 1) && !cursor.isWord('from', 1);
  cursor.skipTo(() => cursor.isWord('from'));
  if (!cursor.takeWord('from') || !takeTable(cursor, parts)) return;
  if (cursor.takeWord('where')) parseWhere(cursor, markers, parts.boundColumns);
}

function takeTable(cursor: TokenCursor, parts: Parts): boolean {
  const name = cursor.takeTable();
  if (name === undefined) return false;
  Object.assign(parts, name);
  return true;
}

/** USING TIMESTAMP term [AND TTL term], in either order. */
export function parseUsing(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): void {
  if (!cursor.takeWord('using')) return;
  do {
    const isTimestamp = cursor.isWord('timestamp');
    const isTtl = cursor.isWord('ttl');
    cursor.at++;
    const term = takeTerm(
      cursor,
      markers,
      () => cursor.isWord('and') || cursor.isWord('set') || cursor.isWord('where') || isTailWord(cursor),
    );
    if (isTimestamp) parts.usingTimestamp = term;
    if (isTtl) parts.usingTtl = term;
  } while (cursor.takeWord('and'));
}

/** [IF …] and [USING …] behind the body of a mutation. True when nothing else follows. */
function parseTail(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): boolean {
  while (!cursor.isAtEnd) {
    if (cursor.takeSymbol(';')) continue;
    if (cursor.isWord('using')) parseUsing(cursor, markers, parts);
    else if (cursor.takeWord('if')) {
      parts.isLwt = true;
      cursor.skipTo(() => cursor.isWord('using') || cursor.isSymbol(';'));
      if (cursor.depthChange() < 0) return false;
    } else return false;
  }
  return true;
}

function isTailWord(cursor: TokenCursor): boolean {
  return cursor.isWord('if') || cursor.isWord('using') || cursor.isSymbol(';');
}

/** c = term | c = c + term | c = term + c | c += term | c[term] = term | c.field = term, and the same with -. */
function parseAssignment(cursor: TokenCursor, markers: MarkerIndexes, parts: Parts): boolean {
  const column = cursor.takeName();
  if (column === undefined) return false;
  parts.columns.push(column);
  const isStop = (): boolean => cursor.isSymbol(',') || cursor.isWord('where');
  if (cursor.takeSymbol('[')) {
    cursor.skipTo(() => false);
    if (!cursor.takeSymbol(']') || !cursor.takeSymbol('=')) return false;
    parts.operations.push({ column, operation: 'setElement', term: takeTerm(cursor, markers, isStop) });
    return true;
  }
  if (cursor.takeSymbol('.')) {
    if (cursor.takeName() === undefined || !cursor.takeSymbol('=')) return false;
    parts.operations.push({ column, operation: 'setField', term: takeTerm(cursor, markers, isStop) });
    return true;
  }
  const isAdding = cursor.isSymbol('+=');
  if (isAdding || cursor.isSymbol('-=')) {
    cursor.at++;
    const operation = isAdding ? 'add' : 'subtract';
    parts.operations.push({ column, operation, term: takeTerm(cursor, markers, isStop) });
    return true;
  }
  if (!cursor.takeSymbol('=')) return false;
  const operation = takeOwnOperation(cursor, markers, column, isStop);
  if (operation) parts.operations.push(operation);
  else parts.assigned.set(column, takeTerm(cursor, markers, isStop));
  return true;
}

/** c + term, c - term or term + c behind `c =`; undefined, with the cursor where it was, for anything else. */
function takeOwnOperation(
  cursor: TokenCursor,
  markers: MarkerIndexes,
  column: string,
  isStop: () => boolean,
): ColumnOperation | undefined {
  const start = cursor.at;
  const isOwnName = (): boolean =>
    (cursor.kind === TokenKind.Word || cursor.kind === TokenKind.QuotedName) &&
    nameOf(cursor.kind, cursor.textAt(cursor.at)) === column &&
    !cursor.isSymbol('(', 1);
  if (isOwnName()) {
    cursor.at++;
    const isAdding = cursor.isSymbol('+');
    if (isAdding || cursor.isSymbol('-')) {
      cursor.at++;
      return { column, operation: isAdding ? 'add' : 'subtract', term: takeTerm(cursor, markers, isStop) };
    }
    // `c = c -1`: the sign is a token of its own, so this was handled above.
  } else {
    const term = takeTerm(cursor, markers, () => isStop() || cursor.isSymbol('+'));
    if (cursor.takeSymbol('+') && isOwnName()) {
      cursor.at++;
      return { column, operation: 'prepend', term };
    }
  }
  cursor.at = start;
  return undefined;
}

const WHERE_ENDS = ['if', 'order', 'group', 'per', 'limit', 'allow', 'with', 'using'] as const;

function isWhereEnd(cursor: TokenCursor): boolean {
  return cursor.isSymbol(';') || WHERE_ENDS.some((word) => cursor.isWord(word));
}

/** Relations joined by AND; those that are not `=` or IN are passed over. */
function parseWhere(cursor: TokenCursor, markers: MarkerIndexes, bound: Map<string, BoundTerm>): void {
  const isStop = (): boolean => cursor.isWord('and') || isWhereEnd(cursor);
  while (!cursor.isAtEnd) {
    parseRelation(cursor, markers, bound, isStop);
    cursor.skipTo(isStop);
    if (!cursor.takeWord('and')) return;
  }
}

function parseRelation(
  cursor: TokenCursor,
  markers: MarkerIndexes,
  bound: Map<string, BoundTerm>,
  isStop: () => boolean,
): void {
  if (cursor.isSymbol('(')) {
    parseTupleRelation(cursor, markers, bound);
    return;
  }
  const column = cursor.takeName();
  if (column === undefined) return;
  if (cursor.takeSymbol('=')) {
    bound.set(column, takeTerm(cursor, markers, isStop));
  } else if (cursor.takeWord('in')) {
    if (cursor.isSymbol('(')) {
      const terms = takeTermList(cursor, markers);
      if (terms) bound.set(column, { kind: 'list', terms });
      return;
    }
    const term = takeTerm(cursor, markers, isStop);
    bound.set(column, term.kind === 'marker' ? { ...term, kind: 'listMarker' } : term);
  }
}

/**
 * (a, b) = (x, y) binds each, (a, b) IN ((x, y), …) each to a list. Where the tuples are bound as a whole the columns are
 * known, and their terms are not. A tuple compared in another way binds none.
 */
function parseTupleRelation(cursor: TokenCursor, markers: MarkerIndexes, bound: Map<string, BoundTerm>): void {
  cursor.at++;
  const names: string[] = [];
  do {
    const name = cursor.takeName();
    if (name === undefined) return;
    names.push(name);
  } while (cursor.takeSymbol(','));
  if (!cursor.takeSymbol(')')) return;
  const isIn = cursor.takeWord('in');
  if (!isIn && !cursor.takeSymbol('=')) return;
  for (const name of names) bound.set(name, { kind: 'expression', text: '(…)' });
  const tuples = isIn ? takeTuples(cursor, markers) : [takeTermList(cursor, markers)];
  if (tuples === undefined || tuples.some((terms) => terms?.length !== names.length)) return;
  for (const [index, name] of names.entries()) {
    const terms = tuples.map((tuple) => tuple![index]!);
    bound.set(name, isIn ? { kind: 'list', terms } : terms[0]!);
  }
}

/** ((x, y), (x, y), …); undefined for anything else. */
function takeTuples(cursor: TokenCursor, markers: MarkerIndexes): (BoundTerm[] | undefined)[] | undefined {
  if (!cursor.takeSymbol('(')) return undefined;
  const tuples: (BoundTerm[] | undefined)[] = [];
  do {
    if (!cursor.isSymbol('(')) return undefined;
    tuples.push(takeTermList(cursor, markers));
  } while (cursor.takeSymbol(','));
  return tuples;
}

/** (term, term, …); undefined when it does not end. */
function takeTermList(cursor: TokenCursor, markers: MarkerIndexes): BoundTerm[] | undefined {
  if (!cursor.takeSymbol('(')) return undefined;
  const terms: BoundTerm[] = [];
  if (cursor.takeSymbol(')')) return terms;
  do terms.push(takeTerm(cursor, markers, () => cursor.isSymbol(',')));
  while (cursor.takeSymbol(','));
  return cursor.takeSymbol(')') ? terms : undefined;
}

/** Reads a term up to a stop outside brackets. */
export function takeTerm(cursor: TokenCursor, markers: MarkerIndexes, isStop: () => boolean): BoundTerm {
  const { tokens } = cursor;
  skipCast(cursor);
  const start = cursor.at;
  cursor.skipTo(isStop);
  if (cursor.at === start) return { kind: 'expression', text: '' };
  const text = tokens.text.slice(tokens.starts[start], tokens.ends[cursor.at - 1]);
  const kind = tokens.kinds[start];
  if (cursor.at - start === 1) {
    if (kind === TokenKind.Marker) return { kind: 'marker', index: markers.get(start)! };
    if (kind === TokenKind.NamedMarker) {
      return { kind: 'marker', index: markers.get(start)!, name: markerName(text) };
    }
    return { kind: 'literal', text };
  }
  const isSigned = cursor.at - start === 2 && text.startsWith('-') && tokens.kinds[start + 1] === TokenKind.Number;
  return isSigned ? { kind: 'literal', text: text.replace(/^-\s+/, '-') } : { kind: 'expression', text };
}

/** Moves over the type of `(type)term`, where the term is a single word, sign or marker: it says nothing new. */
function skipCast(cursor: TokenCursor): void {
  if (!cursor.isSymbol('(')) return;
  const start = cursor.at;
  do cursor.at++;
  while (isTypePart(cursor));
  const isCast = cursor.at > start + 1 && cursor.takeSymbol(')');
  const { kind } = cursor;
  const isTerm = kind === TokenKind.Symbol ? cursor.isSymbol('-') : kind !== 0 && !cursor.isAtEnd;
  // Behind `(a)` in brackets nothing follows but a sign that joins terms, or a word of the statement.
  if (!isCast || !isTerm || kind === TokenKind.Word || kind === TokenKind.QuotedName) cursor.at = start;
}

/** Names, <, >, the comma between and the number of a vector's dimensions. */
function isTypePart(cursor: TokenCursor): boolean {
  const { kind } = cursor;
  if (kind === TokenKind.Word || kind === TokenKind.QuotedName || kind === TokenKind.Number) return true;
  return ['<', '>', ',', '.'].some((symbol) => cursor.isSymbol(symbol));
}

/** The name of a `:name` marker as the server has it. */
export function markerName(text: string): string {
  const name = text.slice(1);
  return nameOf(name.startsWith('"') ? TokenKind.QuotedName : TokenKind.Word, name);
}
