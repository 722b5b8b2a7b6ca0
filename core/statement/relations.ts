import type { BoundTerm } from './statement.ts';
import { type MarkerIndexes, takeTerm, takeTermList } from './terms.ts';
import type { TokenCursor } from './token-cursor.ts';

const WHERE_ENDS = ['if', 'order', 'group', 'per', 'limit', 'allow', 'with', 'using'] as const;

function isWhereEnd(cursor: TokenCursor): boolean {
  return cursor.isSymbol(';') || WHERE_ENDS.some((word) => cursor.isWord(word));
}

/** Relations joined by AND; those that are not `=` or IN are passed over. */
export function parseWhere(cursor: TokenCursor, markers: MarkerIndexes, bound: Map<string, BoundTerm>): void {
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
