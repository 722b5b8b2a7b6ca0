import { literalValue } from './statement.ts';
import { TokenCursor } from './token-cursor.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** The replication map of a CREATE or ALTER KEYSPACE. */
export interface KeyspaceReplication {
  /** Where the map stands in the text, braces included: [start, end). */
  readonly start: number;
  readonly end: number;
  /** Keys and values, without quotes. */
  readonly options: ReadonlyMap<string, string>;
}

/** Finds it; undefined for any other statement, for one without a map and for a map that is not understood. */
export function findReplication(text: string): KeyspaceReplication | undefined {
  const tokens = tokenize(text);
  const cursor = new TokenCursor(tokens);
  while (cursor.takeSymbol(';')) {
    // Empty statements in front are nothing.
  }
  if (!cursor.takeWord('create') && !cursor.takeWord('alter')) return undefined;
  if (!cursor.takeWord('keyspace') && !cursor.takeWord('schema')) return undefined;
  while (!cursor.isAtEnd && !(cursor.isWord('replication') && cursor.isSymbol('=', 1) && cursor.isSymbol('{', 2))) {
    cursor.at++;
  }
  if (cursor.isAtEnd) return undefined;
  cursor.at += 2;
  const start = tokens.starts[cursor.at]!;
  cursor.at++;
  const options = new Map<string, string>();
  while (!cursor.isSymbol('}')) {
    const key = takeConstant(cursor);
    if (key === undefined || !cursor.takeSymbol(':')) return undefined;
    const value = takeConstant(cursor);
    if (value === undefined) return undefined;
    options.set(key, value);
    if (!cursor.takeSymbol(',') && !cursor.isSymbol('}')) return undefined;
  }
  return { start, end: tokens.ends[cursor.at]!, options };
}

/** The data centres that a NetworkTopologyStrategy names; none for any other class. */
export function datacentersOf({ options }: KeyspaceReplication): readonly string[] {
  if (!/(^|\.)NetworkTopologyStrategy$/.test(options.get('class') ?? '')) return [];
  return [...options.keys()].filter((key) => key !== 'class' && key !== 'replication_factor');
}

/** The statement with another map in its place; as it is where it has none. */
export function withReplication(text: string, replication: string): string {
  const found = findReplication(text);
  return found ? text.slice(0, found.start) + replication.trim() + text.slice(found.end) : text;
}

function takeConstant(cursor: TokenCursor): string | undefined {
  if (cursor.kind !== TokenKind.String && cursor.kind !== TokenKind.Number) return undefined;
  return literalValue(cursor.textAt(cursor.at++));
}
