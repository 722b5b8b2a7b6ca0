import { decodeInt, encodeInt } from '../cql/value-codec.ts';
import type { BoundValue } from '../model/cql-request.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** A statement's text and the values of its markers, by position. */
export interface TextAndValues {
  readonly text: string;
  readonly values: readonly BoundValue[];
}

/**
 * The same statement some time later, for servers that count TTLs from their own clock only (before protocol v5): each
 * TTL is what is left of it, at least one second, since a write that has expired must still cover what it replaced.
 */
export function shortenTtl(statement: TextAndValues, elapsedSeconds: number): TextAndValues {
  const { text, values } = statement;
  const tokens = tokenize(text);
  const left = (ttlSeconds: number) => Math.max(1, ttlSeconds - elapsedSeconds);
  const isWord = (at: number, ...words: string[]) =>
    tokens.kinds[at] === TokenKind.Word && words.includes(text.slice(tokens.starts[at], tokens.ends[at]).toLowerCase());
  const changed = [...values];
  let rewritten = '';
  let copied = 0;
  let marker = -1;
  for (let at = 0; at < tokens.count; at++) {
    const kind = tokens.kinds[at];
    const isMarker = kind === TokenKind.Marker || kind === TokenKind.NamedMarker;
    if (isMarker) marker++;
    if (at < 2 || !isWord(at - 1, 'ttl') || !isWord(at - 2, 'using', 'and')) continue;
    const value = changed[marker];
    if (isMarker && value?.length === 4 && decodeInt(value) > 0) changed[marker] = encodeInt(left(decodeInt(value)));
    const number = kind === TokenKind.Number ? Number(text.slice(tokens.starts[at], tokens.ends[at])) : 0;
    if (number > 0) {
      rewritten += text.slice(copied, tokens.starts[at]) + left(number);
      copied = tokens.ends[at]!;
    }
  }
  return { text: rewritten + text.slice(copied), values: changed };
}
