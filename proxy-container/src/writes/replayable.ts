import type { ReasonCode } from '#core/ledger/reasons.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import type { Statement } from '#core/statement/statement.ts';
import { isCounterSuspect, listOperationsOf } from '#core/statement/statement.ts';

/**
 * What becomes of a failed write. `replay`: it is sent again with its own write time. `readBack`: the lists in it would be
 * doubled by that, so what the other cluster has is copied instead. Else why neither is safe.
 */
export type Treatment = 'replay' | 'readBack' | { readonly code: ReasonCode; readonly obstacle: string };

/** What a counter lost by a failed write can't be given back by another attempt. */
export const COUNTER: Treatment = { code: 'counter', obstacle: 'a counter was incremented' };

/**
 * The treatment of one statement. Without facts of the table everything that could be a counter or a list counts as one:
 * a table that is marked for nothing is copied once more, a doubled element stays.
 */
export function treatmentOf(statement: Statement, facts: TableFacts | undefined): Treatment {
  if (statement.unknownFunctions.length > 0) {
    return { code: 'function', obstacle: 'a function of the statement gives another result each time' };
  }
  if (statement.batchKind === 'counter') return COUNTER;
  if (facts ? facts.isCounter : isCounterSuspect(statement)) return COUNTER;
  if (facts) return writesList(statement, facts) ? 'readBack' : 'replay';
  if (listOperationsOf(statement).length === 0) return 'replay';
  return { code: 'list', obstacle: 'a list was written, whose elements would be doubled' };
}

function writesList(statement: Statement, facts: TableFacts): boolean {
  if (facts.lists.size === 0) return false;
  // The document, or the part that is not understood, may name any column.
  if (!statement.isUnderstood || (statement.isJson && statement.kind === 'insert')) return true;
  const columns = [...statement.columns, ...statement.operations.map(({ column }) => column)];
  return columns.some((column) => facts.lists.has(column)) && !isPlainDeletion(statement, facts);
}

/** DELETE of whole columns is a tombstone, which two attempts make equally. */
function isPlainDeletion(statement: Statement, facts: TableFacts): boolean {
  return statement.kind === 'delete' && !statement.operations.some(({ column }) => facts.lists.has(column));
}
