import type { BoundTerm } from './statement.ts';
import { nameOf, type TokenCursor } from './token-cursor.ts';
import { TokenKind } from './tokenizer.ts';

/** Index of the marker that a token is, by token index. */
export type MarkerIndexes = ReadonlyMap<number, number>;

/** (term, term, …); undefined when it does not end. */
export function takeTermList(cursor: TokenCursor, markers: MarkerIndexes): BoundTerm[] | undefined {
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
