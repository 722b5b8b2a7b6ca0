import { StatementTooLargeError } from '#core/errors.ts';

/**
 * Cuts CQL text into tokens in one pass (Lexer.g of Cassandra 5.0). Comments and white space yield none. Nothing is
 * copied: a token is a kind and two offsets.
 */
export const TokenKind = {
  /** A bare name or keyword. */
  Word: 1,
  /** A "quoted" name. */
  QuotedName: 2,
  /** 'text' or $$text$$. */
  String: 3,
  /** Integer, float, duration, 0x blob. */
  Number: 4,
  Uuid: 5,
  /** ? */
  Marker: 6,
  /** :name or :"name", colon included. */
  NamedMarker: 7,
  /** A punctuation character, or one of += -= <= >= != */
  Symbol: 8,
} as const;
export type TokenKind = (typeof TokenKind)[keyof typeof TokenKind];

/** The tokens of one text, as parallel arrays. */
export interface Tokens {
  readonly text: string;
  readonly kinds: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly count: number;
  /** The text ends inside a string, a quoted name or a comment. Any server refuses it. */
  readonly isBroken: boolean;
}

const CODE = {
  quote: 39,
  doubleQuote: 34,
  dollar: 36,
  slash: 47,
  star: 42,
  minus: 45,
  colon: 58,
  question: 63,
  equals: 61,
  plus: 43,
  less: 60,
  greater: 62,
  bang: 33,
  dot: 46,
  newline: 10,
  carriageReturn: 13,
} as const;

const UUID_BYTES = 36;

/**
 * Cassandra takes no mutation above 16 MiB (half of a commit-log segment), and a blob's literal is twice as long as the
 * blob. Long literals cost little: what costs is the number of tokens.
 */
const MAX_TEXT_LENGTH = 32 * 1024 * 1024;
/** Some 3,000 rows of six columns in one text, where a server's default refuses batches above 50 KiB. */
const MAX_TOKENS = 131_072;

/** What may still be taken apart; one for all texts of a request. */
export interface TokenBudget {
  tokens: number;
}

export function newTokenBudget(): TokenBudget {
  return { tokens: MAX_TOKENS };
}

/** @throws StatementTooLargeError: a text that would take the whole process's time and memory is not taken apart */
export function tokenize(text: string, budget: TokenBudget = newTokenBudget()): Tokens {
  if (text.length > MAX_TEXT_LENGTH) {
    throw new StatementTooLargeError(
      `A statement of ${text.length} characters is too long (the limit is ${MAX_TEXT_LENGTH}); bind its values`,
    );
  }
  const kinds: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  const brackets: number[] = [];
  let isBroken = false;
  let at = 0;

  const add = (kind: TokenKind, end: number): void => {
    if (--budget.tokens < 0) {
      throw new StatementTooLargeError(
        `A request of more than ${MAX_TOKENS} words and signs is too large; bind its values`,
      );
    }
    kinds.push(kind);
    starts.push(at);
    ends.push(end);
    at = end;
  };

  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code <= 32 || code === 0xfeff || code === 0xa0) {
      at++;
    } else if (isLetter(code)) {
      if (isUuidAt(text, at)) add(TokenKind.Uuid, at + UUID_BYTES);
      else add(TokenKind.Word, endOfWord(text, at + 1));
    } else if (isDigit(code)) {
      if (isUuidAt(text, at)) add(TokenKind.Uuid, at + UUID_BYTES);
      else add(TokenKind.Number, endOfNumber(text, at));
    } else if (code === CODE.quote || code === CODE.doubleQuote) {
      const end = endOfQuoted(text, at, code);
      isBroken ||= end < 0;
      add(code === CODE.quote ? TokenKind.String : TokenKind.QuotedName, end < 0 ? text.length : end);
    } else if (code === CODE.dollar && text.charCodeAt(at + 1) === CODE.dollar) {
      const end = text.indexOf('$$', at + 2);
      isBroken ||= end < 0;
      add(TokenKind.String, end < 0 ? text.length : end + 2);
    } else if (isLineComment(text, at, code)) {
      at = endOfLine(text, at);
    } else if (code === CODE.slash && text.charCodeAt(at + 1) === CODE.star) {
      const end = text.indexOf('*/', at + 2);
      isBroken ||= end < 0;
      at = end < 0 ? text.length : end + 2;
    } else if (code === CODE.question) {
      add(TokenKind.Marker, at + 1);
    } else if (code === CODE.colon) {
      const end = isKeySeparator(kinds, text, starts, brackets) ? at + 1 : endOfMarkerName(text, at + 1);
      if (end < 0) isBroken = true;
      add(end === at + 1 ? TokenKind.Symbol : TokenKind.NamedMarker, end < 0 ? text.length : end);
    } else {
      if (code === 40 || code === 91 || code === 123) brackets.push(code);
      else if (code === 41 || code === 93 || code === 125) brackets.pop();
      const isPair = text.charCodeAt(at + 1) === CODE.equals && isComparing(code);
      add(TokenKind.Symbol, at + (isPair ? 2 : 1));
    }
  }
  return { text, kinds, starts, ends, count: kinds.length, isBroken };
}

function isLetter(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90);
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isHex(code: number): boolean {
  return isDigit(code) || (code >= 97 && code <= 102) || (code >= 65 && code <= 70);
}

function isComparing(code: number): boolean {
  return code === CODE.plus || code === CODE.minus || code === CODE.less || code === CODE.greater || code === CODE.bang;
}

function endOfWord(text: string, start: number): number {
  let end = start;
  for (; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (!isLetter(code) && !isDigit(code) && code !== 95) break;
  }
  return end;
}

/** Digits with letters (durations, 0x…), one fraction, one exponent with its sign. */
function endOfNumber(text: string, start: number): number {
  let end = endOfWord(text, start);
  if (text.charCodeAt(end) === CODE.dot && isDigit(text.charCodeAt(end + 1))) end = endOfWord(text, end + 1);
  const last = text.charCodeAt(end - 1) | 32;
  const sign = text.charCodeAt(end);
  const isExponent = last === 101 && text.charCodeAt(start + 1) !== 120 && text.charCodeAt(start + 1) !== 88;
  if (isExponent && (sign === CODE.plus || sign === CODE.minus) && isDigit(text.charCodeAt(end + 1))) {
    end = endOfWord(text, end + 1);
  }
  return end;
}

function isUuidAt(text: string, start: number): boolean {
  if (text.charCodeAt(start + 8) !== CODE.minus || text.charCodeAt(start + 13) !== CODE.minus) return false;
  for (let index = 0; index < UUID_BYTES; index++) {
    const code = text.charCodeAt(start + index);
    const isDash = index === 8 || index === 13 || index === 18 || index === 23;
    if (isDash ? code !== CODE.minus : !isHex(code)) return false;
  }
  return true;
}

/** Behind the closing quote, two of them in a row being one of the text; -1 when it is missing. */
function endOfQuoted(text: string, start: number, quote: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text.charCodeAt(at) !== quote) continue;
    if (text.charCodeAt(at + 1) !== quote) return at + 1;
    at++;
  }
  return -1;
}

function isLineComment(text: string, at: number, code: number): boolean {
  return (code === CODE.minus || code === CODE.slash) && text.charCodeAt(at + 1) === code;
}

function endOfLine(text: string, start: number): number {
  let end = start;
  while (end < text.length) {
    const code = text.charCodeAt(end);
    if (code === CODE.newline || code === CODE.carriageReturn) break;
    end++;
  }
  return end;
}

/** Behind the name of a marker; the start itself when there is none, -1 when a quoted one does not end. */
function endOfMarkerName(text: string, start: number): number {
  const code = text.charCodeAt(start);
  if (code === CODE.doubleQuote) return endOfQuoted(text, start, code);
  return isLetter(code) ? endOfWord(text, start + 1) : start;
}

/** In `{key: value}` the colon behind the key is none of a marker, though `{:key : :value}` may follow. */
function isKeySeparator(
  kinds: readonly number[],
  text: string,
  starts: readonly number[],
  brackets: readonly number[],
): boolean {
  if (brackets[brackets.length - 1] !== 123) return false;
  const last = kinds.length - 1;
  if (kinds[last] !== TokenKind.Symbol) return true;
  const code = text.charCodeAt(starts[last]!);
  return code === 41 || code === 93 || code === 125;
}
