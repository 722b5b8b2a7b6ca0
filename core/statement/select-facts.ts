import { natureOf } from './functions.ts';
import { TokenCursor } from './token-cursor.ts';
import { TokenKind, type Tokens, tokenize } from './tokenizer.ts';

/** What the text of a SELECT says about comparing its rows on two clusters that should hold the same. */
export interface SelectFacts {
  /** Why its results may differ where the data do not; undefined: they may not. */
  readonly obstacle: SelectObstacle | undefined;
  /** Its rows come in an order that it asks for. */
  readonly isOrdered: boolean;
  /** It takes the first rows only, which in a scan are those of the first tokens. */
  readonly isLimited: boolean;
}

/**
 * `function`: now(), uuid() and their kin. `writeTime`: WRITETIME and TTL, of which the one is not readable alike
 * everywhere and the other changes by itself. `unknownFunction`: somebody's own. `json`: texts, whose form is the
 * server's. `ann`: approximate by nature.
 */
export type SelectObstacle = 'function' | 'writeTime' | 'unknownFunction' | 'json' | 'ann';

const WRITE_TIMES = new Set(['writetime', 'maxwritetime', 'minwritetime', 'ttl']);
const AGGREGATES = new Set(['count', 'min', 'max', 'sum', 'avg']);
/** Words before a parenthesis that are no function. */
const NOT_FUNCTIONS = new Set('select distinct where and in not like contains key between limit by'.split(' '));

/** Reads a text that is known to be a SELECT. @throws StatementTooLargeError */
export function selectFacts(text: string): SelectFacts {
  const tokens = tokenize(text);
  const cursor = new TokenCursor(tokens);
  let obstacle: SelectObstacle | undefined;
  let isOrdered = false;
  let isLimited = false;
  for (; cursor.at < tokens.count; cursor.at++) {
    if (cursor.isWord('json') && isFirstWord(cursor)) obstacle ??= 'json';
    else if (cursor.isWord('order') && cursor.isWord('by', 1)) isOrdered = true;
    else if (cursor.isWord('limit')) isLimited = true;
    else if (cursor.isWord('ann') && cursor.isWord('of', 1)) obstacle ??= 'ann';
    obstacle ??= obstacleOf(functionNameAt(tokens, cursor));
  }
  return { obstacle, isOrdered, isLimited };
}

/** A column may be called json. */
function isFirstWord(cursor: TokenCursor): boolean {
  return cursor.isWord('select', -1) && !cursor.isSymbol(',', 1) && !cursor.isWord('from', 1);
}

function functionNameAt(tokens: Tokens, cursor: TokenCursor): string | undefined {
  if (!cursor.isSymbol('(', 1)) return undefined;
  if (cursor.kind === TokenKind.Word) return cursor.textAt(cursor.at).toLowerCase();
  // Only functions of users have names that must be quoted.
  return tokens.kinds[cursor.at] === TokenKind.QuotedName ? '' : undefined;
}

function obstacleOf(name: string | undefined): SelectObstacle | undefined {
  if (name === undefined || NOT_FUNCTIONS.has(name) || AGGREGATES.has(name)) return undefined;
  if (WRITE_TIMES.has(name)) return 'writeTime';
  const nature = natureOf(name);
  if (nature === 'deterministic') return undefined;
  return nature === 'generator' ? 'function' : 'unknownFunction';
}
