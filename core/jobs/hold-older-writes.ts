/** Failed writes that wait in the queue while places are compared of which newer writes are lost. */

import { compareBefore } from '../ledger/copied-tables.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { primaryOf, shadowOf } from '../ledger/phase-change.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import { openBreakers, readReplayState } from '../ledger/replay-state.ts';
import type { CopyMessage } from '../model/message.ts';
import type { Clock } from '../ports.ts';

/** Of marks that stand for a write, perhaps a deletion, that no message has. */
const OF_LOST_WRITES: ReadonlySet<ReasonCode> = new Set([
  ...(['journal-full', 'too-large', 'list', 'unknown-outcome', 'partial', 'conditional-missing', 'function'] as const),
  ...(['truncate', 'crash-window', 'vanished', 'torn', 'dead-letter', 'forbidden', 'other'] as const),
]);

/** One call of the replay lasts no longer, and says when it begins. Milliseconds. */
const LONGEST_CALL_MS = 20 * 60_000;

/**
 * Has failed writes of these tables compared, and not applied, that are older than a mark of a lost write: comparing shows
 * no tombstone of a lost deletion, so that one that is applied after the mark was taken away would bring back its row.
 * @returns how long to wait until that is so for the replay that is at work. Milliseconds
 * @throws LedgerUnavailableError, LedgerConflictError
 */
export async function holdOlderWrites(
  keyspace: string,
  tables: ReadonlySet<string>,
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
): Promise<number> {
  const phase = (await ledger.readPhase())?.active.phase;
  const shadow = phase && shadowOf(phase);
  if (shadow === undefined) return 0;
  const lastLoss = new Map<string, number>();
  for (const { keyspace: its, table, code, lacking, at } of await ledger.listSuspects()) {
    if (its !== keyspace || !tables.has(table) || !OF_LOST_WRITES.has(code ?? 'other')) continue;
    if ((lacking ?? shadow) === shadow) lastLoss.set(table, Math.max(lastLoss.get(table) ?? 0, Date.parse(at)));
  }
  let waitMs = 0;
  for (const [table, lostAt] of lastLoss) {
    const held = await compareBefore(ledger.store, shadow, { keyspace, table }, lostAt, clock.nowMillis());
    waitMs = Math.max(waitMs, held);
  }
  return waitMs > 0 && (await isReplaying(ledger, clock)) ? waitMs : 0;
}

/**
 * Has failed writes compared, and not applied, that are older than lost writes of which these messages have the places. Of
 * all messages together, so that one wait serves them.
 * @returns how long to wait until that is so for every call of the replay. Milliseconds
 * @throws LedgerUnavailableError, LedgerConflictError
 */
export async function holdOlderThan(
  messages: readonly CopyMessage[],
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
): Promise<number> {
  const lost = messages.filter(({ code }) => code === 'crash-window');
  if (lost.length === 0) return 0;
  const phase = (await ledger.readPhase())?.active.phase;
  const shadow = primaryOf(phase ?? 'origin-only') === 'origin' ? 'target' : 'origin';
  let waitMs = 0;
  for (const ofTable of Map.groupBy(lost, ({ keyspace, table }) => JSON.stringify([keyspace, table])).values()) {
    const lostBefore = Math.max(...ofTable.map(({ enqueuedAt }) => Date.parse(enqueuedAt)));
    const held = await compareBefore(ledger.store, shadow, ofTable[0]!, lostBefore, clock.nowMillis());
    waitMs = Math.max(waitMs, held);
  }
  return waitMs;
}

async function isReplaying({ store }: Ledger, clock: Clock): Promise<boolean> {
  const state = await readReplayState(store);
  if (openBreakers(state).length > 0) return true;
  return state.lag !== null && clock.nowMillis() - Date.parse(state.lag.at) < LONGEST_CALL_MS;
}
