import { parseWhere } from './relations.ts';
import type { BoundTerm, ColumnOperation } from './statement.ts';
import { type MarkerIndexes, takeTerm, takeTermList } from './terms.ts';
import { nameOf, type TokenCursor } from './token-cursor.ts';
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
