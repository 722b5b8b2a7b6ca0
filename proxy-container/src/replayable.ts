import type { TableFacts } from '#core/model/table-facts.ts';
import type { Statement } from '#core/statement/statement.ts';
import { isCounterSuspect, listOperationsOf } from '#core/statement/statement.ts';

/**
 * Why a write may not be sent a second time, or undefined when it may. Without facts of the table everything that could
 * be a counter or a list counts as one: a table that is marked for nothing is copied once more, a doubled element stays.
 */
export function whyNotReplayable(statement: Statement, facts: TableFacts | undefined): string | undefined {
  if (statement.unknownFunctions.length > 0) return 'a function of the statement gives another result each time';
  if (statement.batchKind === 'counter') return 'a counter was incremented';
  if (facts ? facts.isCounter : isCounterSuspect(statement)) return 'a counter was incremented';
  const touched = facts ? listColumns(statement, facts) : listOperationsOf(statement).length > 0;
  return touched ? 'a list was written, whose elements would be doubled' : undefined;
}

function listColumns(statement: Statement, facts: TableFacts): boolean {
  if (facts.lists.size === 0) return false;
  // The document may name any column.
  if (statement.isJson && statement.kind === 'insert') return true;
  const columns = [...statement.columns, ...statement.operations.map(({ column }) => column)];
  return columns.some((column) => facts.lists.has(column)) && !isPlainDeletion(statement, facts);
}

/** DELETE of whole columns is a tombstone, which two attempts make equally. */
function isPlainDeletion(statement: Statement, facts: TableFacts): boolean {
  return statement.kind === 'delete' && !statement.operations.some(({ column }) => facts.lists.has(column));
}
