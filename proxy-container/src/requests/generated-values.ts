import { randomBytes } from 'node:crypto';
import type { ValueInsertion } from '#core/cql/request-edit.ts';
import type { RequestLayout } from '#core/cql/request-layout.ts';
import { replaceFunctions } from '#core/statement/functions.ts';
import { evaluateCall, type ValueSource } from '#core/statement/generated-value.ts';
import type { RequestStatement } from './client-request.ts';

/** What stands for functions that give another value each time, by index of the statement. */
export interface GeneratedValues {
  readonly texts: ReadonlyMap<number, string> | undefined;
  readonly values: ReadonlyMap<number, ValueInsertion[]> | undefined;
}

const VALUE_SOURCE: ValueSource = { nowMillis: Date.now, randomBytes: () => randomBytes(16) };

/** Evaluates functions such as now() once: as literals in a text, as hidden values of a prepared statement. undefined: there are none. */
export function generateValues(
  statements: readonly RequestStatement[],
  layout: RequestLayout,
): GeneratedValues | undefined {
  let texts: Map<number, string> | undefined;
  let values: Map<number, ValueInsertion[]> | undefined;
  for (const [index, { statement, entry }] of statements.entries()) {
    if (statement.nonDeterministic.length === 0) continue;
    if (entry === undefined) {
      const text = layout.statements[index]!.text ?? '';
      texts ??= new Map();
      texts.set(index, replaceFunctions(text, (call) => evaluateCall(call, VALUE_SOURCE).literal).text);
    } else if (entry.inserted.length > 0) {
      values ??= new Map();
      values.set(
        index,
        entry.inserted.map(({ position, name, call }) => ({
          position,
          ...(name === undefined ? {} : { name }),
          value: evaluateCall(call, VALUE_SOURCE).bytes,
        })),
      );
    }
  }
  return texts || values ? { texts, values } : undefined;
}
