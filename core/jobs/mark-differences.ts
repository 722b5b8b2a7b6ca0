/** What a validation finds to differ is marked like any other doubt, so that it is looked at again place by place. */

import type { Ledger } from '../ledger/ledger.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { Clock } from '../ports.ts';
import { placesOfTokens } from './clear-marks.ts';
import type { ValidationItem } from './validation-plan.ts';

/** @param part counts the calls of the range that have found something */
const idOf = (runId: string, index: number, part: number) => `${runId}-${index}-${part}`;

/** The range of the run that has made the mark; undefined for marks of others. */
export function indexOfFoundMark(id: string, runId: string): number | undefined {
  const [, index] = id.startsWith(`${runId}-`) ? (/^(\d+)-\d+$/.exec(id.slice(runId.length + 1)) ?? []) : [];
  return index === undefined ? undefined : Number(index);
}

/** Counters are brought together in another way than what has write times, and gates name the remedy by the code. */
const FOUND = {
  rows: { code: 'validation', reason: 'partitions that differ' },
  counters: { code: 'counter', reason: 'counters that differ' },
} as const satisfies Record<string, { readonly code: ReasonCode; readonly reason: string }>;

/**
 * Marks partitions that differ, before the range is said to be done.
 * @param tokens null: more than were listed, so all of the range
 */
export async function markDifferences(
  item: ValidationItem,
  part: number,
  tokens: readonly bigint[] | null,
  what: keyof typeof FOUND,
  ports: { readonly ledger: Ledger; readonly clock: Clock },
): Promise<void> {
  const { runId, index, keyspace, table, start, end } = item;
  await ports.ledger.addSuspect(idOf(runId, index, part), {
    ...{ version: 1, keyspace, table, lacking: null, by: `validation ${runId}` },
    ...(tokens === null ? { range: { start, end } } : placesOfTokens(tokens)),
    ...FOUND[what],
    at: new Date(ports.clock.nowMillis()).toISOString(),
  });
}
