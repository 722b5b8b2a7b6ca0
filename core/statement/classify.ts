import { findFunctions } from './functions.ts';
import { newParts, type Parts, parseDelete, parseInsert, parseSelect, parseUpdate, parseUsing } from './mutation.ts';
import type { Statement, StatementKind } from './statement.ts';
import { type MarkerIndexes, markerName } from './terms.ts';
import { TokenCursor } from './token-cursor.ts';
import { newTokenBudget, type TokenBudget, TokenKind, tokenize } from './tokenizer.ts';

/**
 * Says what a CQL text is. A text that is not fully understood as a SELECT, INSERT, UPDATE, DELETE or BATCH keeps its
 * kind when its first word leaves no doubt, and is `other` when it does; a read is never called a write, nor the reverse.
 * @param budget shared by the texts of one request
 * @throws StatementTooLargeError
 */
export function classify(text: string, budget: TokenBudget = newTokenBudget()): Statement {
  const tokens = tokenize(text, budget);
  const markers = new Map<number, number>();
  const markerNames: (string | undefined)[] = [];
  for (let index = 0; index < tokens.count; index++) {
    const kind = tokens.kinds[index];
    if (kind !== TokenKind.Marker && kind !== TokenKind.NamedMarker) continue;
    markers.set(index, markerNames.length);
    const isNamed = kind === TokenKind.NamedMarker;
    markerNames.push(isNamed ? markerName(text.slice(tokens.starts[index], tokens.ends[index])) : undefined);
  }
  const cursor = new TokenCursor(tokens);
  while (cursor.takeSymbol(';')) {
    // Empty statements in front are nothing.
  }
  const found = tokens.isBroken ? ofBroken(cursor) : classifyAt(cursor, markers);
  return { ...found, markerCount: markerNames.length, markerNames };
}

/** Every server refuses it; should one read it otherwise after all, a SELECT still goes to one cluster only. */
function ofBroken(cursor: TokenCursor): Statement {
  return of('other', undefined, { isRead: cursor.isWord('select') });
}

function classifyAt(cursor: TokenCursor, markers: MarkerIndexes): Statement {
  const word = cursor.kind === TokenKind.Word ? cursor.textAt(cursor.at).toLowerCase() : '';
  switch (word) {
    case 'select': {
      cursor.at++;
      const parts = newParts();
      parseSelect(cursor, markers, parts);
      return of('select', parts, { isRead: true });
    }
    case 'insert':
    case 'update':
    case 'delete':
      return classifyMutation(cursor, markers);
    case 'begin':
      return classifyBatch(cursor, markers);
    case 'use': {
      cursor.at++;
      const keyspace = cursor.takeName();
      return of('use', keyspace === undefined ? undefined : { ...newParts(), keyspace });
    }
    case 'truncate': {
      cursor.at++;
      if (cursor.isWord('table') || cursor.isWord('columnfamily')) {
        const isName = cursor.at + 1 >= cursor.end || cursor.isSymbol('.', 1) || cursor.isSymbol(';', 1);
        if (!isName) cursor.at++;
      }
      return of('truncate', { ...newParts(), ...cursor.takeTable() });
    }
    case 'create':
    case 'alter':
    case 'drop':
      return classifyDefinition(cursor);
    case 'grant':
    case 'revoke':
    case 'add':
      return of('role');
    case 'list':
      return of('role', undefined, { isRead: true });
    case 'describe':
    case 'desc':
      return of('other', undefined, { isRead: true });
    default:
      return of('other');
  }
}

const ROLE_WORDS = ['role', 'user', 'identity'];

function classifyDefinition(cursor: TokenCursor): Statement {
  cursor.at++;
  if (ROLE_WORDS.some((word) => cursor.isWord(word))) return of('role');
  const isTable = cursor.takeWord('table') || cursor.takeWord('columnfamily');
  const isKeyspace = !isTable && (cursor.takeWord('keyspace') || cursor.takeWord('schema'));
  if (!isTable && !isKeyspace) return of('ddl');
  if (cursor.takeWord('if')) {
    cursor.takeWord('not');
    cursor.takeWord('exists');
  }
  const name = cursor.takeTable();
  if (name === undefined) return of('ddl');
  return of('ddl', { ...newParts(), ...(isKeyspace ? { keyspace: name.table } : name) });
}

function classifyMutation(cursor: TokenCursor, markers: MarkerIndexes): Statement {
  const start = cursor.at;
  const parts = newParts();
  const kind = cursor.isWord('insert') ? 'insert' : cursor.isWord('update') ? 'update' : 'delete';
  const parse = { insert: parseInsert, update: parseUpdate, delete: parseDelete }[kind];
  cursor.at++;
  const isUnderstood = parse(cursor, markers, parts);
  if (!isUnderstood) {
    // The first word is reserved, so it is this mutation or nothing at all. An IF anywhere outside brackets counts.
    cursor.at = start;
    cursor.skipTo(() => cursor.isWord('if'));
    parts.isLwt ||= cursor.isWord('if');
  }
  return of(kind, parts, { isUnderstood, ...findFunctions(cursor.tokens, start, cursor.end) });
}

/** BEGIN [UNLOGGED | COUNTER] BATCH [USING TIMESTAMP …] (mutation [;])… APPLY BATCH */
function classifyBatch(cursor: TokenCursor, markers: MarkerIndexes): Statement {
  cursor.at++;
  const batchKind = cursor.takeWord('unlogged') ? 'unlogged' : cursor.takeWord('counter') ? 'counter' : 'logged';
  if (!cursor.takeWord('batch')) return of('other');
  const parts = newParts();
  if (cursor.isWord('using')) {
    const header = new TokenCursor(cursor.tokens, cursor.at, endOfBatchHeader(cursor));
    parseUsing(header, markers, parts);
    cursor.at = header.end;
  }
  const children: Statement[] = [];
  while (!cursor.isAtEnd && !cursor.isWord('apply')) {
    if (cursor.takeSymbol(';')) continue;
    if (!isMutationWord(cursor)) return of('other');
    const start = cursor.at++;
    cursor.skipTo(() => isMutationWord(cursor) || cursor.isWord('apply') || cursor.isSymbol(';'));
    if (cursor.depthChange() < 0) return of('other');
    children.push(classifyMutation(new TokenCursor(cursor.tokens, start, cursor.at), markers));
  }
  if (!cursor.takeWord('apply') || !cursor.takeWord('batch')) return of('other');
  return {
    ...of('batch', parts),
    batchKind,
    children,
    isUnderstood: children.every((child) => child.isUnderstood),
    isLwt: children.some((child) => child.isLwt),
    nonDeterministic: children.flatMap((child) => child.nonDeterministic),
    unknownFunctions: children.flatMap((child) => child.unknownFunctions),
  };
}

function endOfBatchHeader(cursor: TokenCursor): number {
  const probe = new TokenCursor(cursor.tokens, cursor.at, cursor.end);
  probe.skipTo(() => isMutationWord(probe) || probe.isWord('apply') || probe.isSymbol(';'));
  return probe.at;
}

function isMutationWord(cursor: TokenCursor): boolean {
  return cursor.isWord('insert') || cursor.isWord('update') || cursor.isWord('delete');
}

function of(kind: StatementKind, parts: Parts = newParts(), more: Partial<Statement> = {}): Statement {
  return {
    kind,
    isRead: false,
    isUnderstood: true,
    nonDeterministic: [],
    unknownFunctions: [],
    markerCount: 0,
    markerNames: [],
    children: [],
    ...parts,
    ...more,
  };
}
