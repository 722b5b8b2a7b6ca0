import type { Ledger } from '#core/ledger/ledger.ts';
import type { ReasonCode } from '#core/ledger/reasons.ts';
import { type TableRecord, WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { MarkedPlace } from './marked-place.ts';

/** Brings a place to the ledger, or what has been added to it. @throws LedgerUnavailableError */
export async function tellPlace(ledger: Ledger, instance: string, place: MarkedPlace): Promise<void> {
  const { keyspace, table, code } = place.identity;
  const record = place.recordBy(instance);
  await ledger.addSuspect(place.idOf(instance), record);
  if (table === WHOLE_KEYSPACE) return;
  await ledger.decideTable(keyspace, table, (found) => ({
    state: 'suspect',
    now: new Date(record.at),
    by: instance,
    reason: record.reason,
    facts: signalsOf(code, record, found),
  }));
}

/** Marks every table that the ledger knows. @throws LedgerUnavailableError */
export async function tellEverything(ledger: Ledger, instance: string): Promise<void> {
  const reason = `proxy ${instance} could not keep which tables may differ`;
  const now = new Date();
  const at = now.toISOString();
  for (const { keyspace, table } of await ledger.listTables()) {
    const record = { version: 1, keyspace, table, range: null, reason, code: 'torn', by: instance, at } as const;
    await ledger.addSuspect(`${instance}-everything`, record);
    await ledger.setTable(keyspace, table, 'suspect', { now, by: instance, reason });
  }
}

/**
 * What TRUNCATE and changes of a definition mean for loads: a snapshot from before brings back what is gone, so none may be
 * loaded, and a load that had begun from one can't be finished.
 */
function signalsOf(
  code: ReasonCode,
  { at, reason, by }: { readonly at: string; readonly reason: string; readonly by: string },
  found: TableRecord | undefined,
): Partial<TableRecord> {
  if (code !== 'truncate' && code !== 'definition') return {};
  const facts = code === 'truncate' ? { truncatedAt: at } : { definedAt: at };
  return found?.state === 'loading' ? { ...facts, remigrate: { at, why: reason, by } } : facts;
}
