import type { Statement } from '#core/statement/statement.ts';
import type { Counters } from '../counters/counters.ts';
import type { TableCounters } from '../counters/table-counters.ts';
import type { ClientRequest, RequestStatement } from './client-request.ts';
import type { PreparedEntry } from './prepared-statements.ts';

/** Counts a write that the primary took for each statement's table. */
export function countWrites(counters: Counters, request: ClientRequest): void {
  for (const one of request.statements) {
    if (one.statement.kind !== 'batch') tableOf(counters, one, request.keyspace).writes++;
    else for (const child of one.statement.children) childTable(counters, child, one, request.keyspace).writes++;
  }
}

/** The counters of the first table that a request writes: of what belongs to the request as a whole. */
export function firstTable(counters: Counters, request: ClientRequest): TableCounters {
  const first = request.statements[0];
  if (first === undefined) return counters.table(undefined, undefined);
  if (first.statement.kind !== 'batch') return tableOf(counters, first, request.keyspace);
  const child = first.statement.children[0] ?? first.statement;
  return childTable(counters, child, first, request.keyspace);
}

/** The counters of every table that a request writes, each once. */
export function tablesWritten(counters: Counters, request: ClientRequest): Set<TableCounters> {
  const tables = new Set<TableCounters>();
  for (const one of request.statements) {
    if (one.statement.kind !== 'batch') tables.add(tableOf(counters, one, request.keyspace));
    else for (const child of one.statement.children) tables.add(childTable(counters, child, one, request.keyspace));
  }
  return tables;
}

function tableOf(counters: Counters, { statement, entry }: RequestStatement, keyspace: string | undefined) {
  if (entry === undefined) return counters.table(statement.keyspace ?? keyspace, statement.table);
  return tableOfPrepared(counters, entry, keyspace);
}

/** Kept with a prepared statement, so that the usual write looks nothing up. */
export function tableOfPrepared(counters: Counters, entry: PreparedEntry, keyspace: string | undefined): TableCounters {
  const { statement } = entry;
  entry.tableCounters ??= counters.table(statement.keyspace ?? entry.keyspace ?? keyspace, statement.table);
  return entry.tableCounters;
}

function childTable(
  counters: Counters,
  child: Statement,
  { entry }: RequestStatement,
  keyspace: string | undefined,
): TableCounters {
  return counters.table(child.keyspace ?? entry?.keyspace ?? keyspace, child.table);
}
