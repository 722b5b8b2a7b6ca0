import { decodeInt, encodeInt } from '../cql/value-codec.ts';
import type { BoundValue } from '../model/cql-request.ts';
import { TokenCursor } from './token-cursor.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** A statement's text and the values of its markers, by position. */
export interface TextAndValues {
  readonly text: string;
  readonly values: readonly BoundValue[];
}

/** What is left of the lives of a write's cells, by the time at which it is sent again. */
export interface RemainingLife {
  /** Since the write. */
  readonly elapsedSeconds: number;
  /** Of cells whose statement names no TTL: what is left of the table's default; undefined: they do not expire. */
  readonly withoutTtlSeconds: (table: { readonly keyspace?: string; readonly table: string }) => number | undefined;
}

/** One mutation of a text, as token indexes. */
interface Mutation {
  readonly kind: 'insert' | 'update';
  readonly start: number;
  /** Exclusive; the semicolon behind it is not its own. */
  readonly end: number;
}

/**
 * The same statement some time later, for servers that count TTLs from their own clock only (before protocol v5): each
 * TTL is what is left of it, at least one second, since a write that has expired must still cover what it replaced. Where
 * the table's default would give it a new life, the TTL is named.
 */
export function shortenTtl(statement: TextAndValues, life: RemainingLife): TextAndValues {
  const { text } = statement;
  const tokens = tokenize(text);
  const values = [...statement.values];
  const left = (ttlSeconds: number) => Math.max(1, ttlSeconds - life.elapsedSeconds);
  let rewritten = '';
  let copied = 0;
  const put = (from: number, to: number, replacement: string) => {
    rewritten += text.slice(copied, from) + replacement;
    copied = to;
  };
  const cursor = new TokenCursor(tokens);
  let marker = -1;
  let scanned = 0;
  const markerAt = (index: number): number => {
    for (; scanned <= index; scanned++) if (isMarker(tokens.kinds[scanned])) marker++;
    return marker;
  };
  for (const { kind, start, end } of mutationsOf(cursor)) {
    cursor.at = start + (kind === 'insert' ? 2 : 1);
    const table = cursor.takeTable();
    const remaining = table && life.withoutTtlSeconds(table);
    const find = (word: string) => {
      for (cursor.at = start; cursor.at < end; cursor.at++) if (cursor.isWord(word)) return cursor.at;
      return undefined;
    };
    const using = find('using');
    const term = using === undefined ? undefined : ttlTermAt(cursor, using, end);
    if (term !== undefined) {
      if (isMarker(tokens.kinds[term])) {
        const index = markerAt(term);
        const value = values[index];
        if (value?.length === 4 && decodeInt(value) > 0) values[index] = encodeInt(left(decodeInt(value)));
        // Left unset by the client, which is the table's default.
        if (value === undefined && remaining !== undefined) values[index] = encodeInt(Math.max(1, remaining));
      } else {
        const seconds = Number(cursor.textAt(term));
        if (seconds > 0) put(tokens.starts[term]!, tokens.ends[term]!, String(left(seconds)));
      }
    } else if (remaining !== undefined) {
      const ttl = `TTL ${Math.max(1, remaining)}`;
      const set = kind === 'update' ? find('set') : undefined;
      if (using !== undefined) put(tokens.ends[using]!, tokens.ends[using]!, ` ${ttl} AND`);
      else if (set !== undefined) put(tokens.starts[set]!, tokens.starts[set]!, `USING ${ttl} `);
      else if (kind === 'insert') put(tokens.ends[end - 1]!, tokens.ends[end - 1]!, ` USING ${ttl}`);
    }
  }
  return { text: rewritten + text.slice(copied), values };
}

/** The INSERTs and UPDATEs of a text; the words are reserved, so that bare ones begin a statement wherever they stand. */
function mutationsOf(cursor: TokenCursor): Mutation[] {
  const starts: { kind: Mutation['kind'] | undefined; at: number }[] = [];
  for (cursor.at = 0; cursor.at < cursor.end; cursor.at++) {
    if (cursor.isWord('insert')) starts.push({ kind: 'insert', at: cursor.at });
    else if (cursor.isWord('update')) starts.push({ kind: 'update', at: cursor.at });
    else if (cursor.isWord('delete') || cursor.isWord('apply')) starts.push({ kind: undefined, at: cursor.at });
  }
  return starts.flatMap(({ kind, at }, index) => {
    let end = starts[index + 1]?.at ?? cursor.end;
    for (cursor.at = end - 1; cursor.at > at && cursor.isSymbol(';'); cursor.at--) end--;
    return kind === undefined ? [] : [{ kind, start: at, end }];
  });
}

/** The token of the TTL's value behind USING; undefined when it names none. */
function ttlTermAt(cursor: TokenCursor, using: number, end: number): number | undefined {
  for (cursor.at = using + 1; cursor.at < end; cursor.at++) {
    if (cursor.isWord('set') || cursor.isWord('where')) return undefined;
    const isBehind = cursor.isWord('using', -1) || cursor.isWord('and', -1);
    if (isBehind && cursor.isWord('ttl')) return cursor.at + 1 < end ? cursor.at + 1 : undefined;
  }
  return undefined;
}

function isMarker(kind: number | undefined): boolean {
  return kind === TokenKind.Marker || kind === TokenKind.NamedMarker;
}
