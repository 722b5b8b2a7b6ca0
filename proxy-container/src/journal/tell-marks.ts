import type { Ledger } from '#core/ledger/ledger.ts';
import { type SuspectRecord, type TableRecord, WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { Clock } from '#core/ports.ts';
import type { MarkedPlace } from './marked-place.ts';

/** Brings a place to the ledger, or what has been added to it. @throws LedgerUnavailableError */
export async function tellPlace(ledger: Ledger, instance: string, place: MarkedPlace): Promise<void> {
  const record = place.recordBy(instance);
  const { keyspace, table, code } = place.identity;
  const id = place.idOf(instance);
  // A definition belongs to the keyspace; anything else is of tables that had no room.
  if (table === WHOLE_KEYSPACE && code !== 'definition') {
    const tables = new Set(place.tables);
    for (const known of await ledger.listTables()) if (known.keyspace === keyspace) tables.add(known.table);
    for (const name of tables) await tellTable(ledger, id, { ...record, table: name });
  } else await tellTable(ledger, id, record);
}

/** Marks every table that the ledger knows. @throws LedgerUnavailableError */
export async function tellEverything(ledger: Ledger, instance: string, clock: Clock): Promise<void> {
  const reason = `proxy ${instance} could not keep which tables may differ`;
  const at = new Date(clock.nowMillis()).toISOString();
  for (const { keyspace, table } of await ledger.listTables()) {
    const record = { version: 1, keyspace, table, range: null, reason, code: 'torn', by: instance, at } as const;
    await tellTable(ledger, `${instance}-everything`, record);
  }
}

async function tellTable(ledger: Ledger, id: string, record: SuspectRecord): Promise<void> {
  const { keyspace, table, by, reason } = record;
  await ledger.addSuspect(id, record);
  if (table === WHOLE_KEYSPACE) return;
  await ledger.decideTable(keyspace, table, (found) => ({
    state: 'suspect',
    now: new Date(record.at),
    by,
    reason,
    facts: signalsOf(record, found),
  }));
}

/**
 * What TRUNCATE and changes of a definition mean for loads: a snapshot from before brings back what is gone, so none may be
 * loaded, and a load that had begun from one can't be finished.
 */
function signalsOf({ code, at, reason, by }: SuspectRecord, found: TableRecord | undefined): Partial<TableRecord> {
  if (code !== 'truncate' && code !== 'definition') return {};
  const facts = code === 'truncate' ? { truncatedAt: at } : { definedAt: at };
  return found?.state === 'loading' ? { ...facts, remigrate: { at, why: reason, by } } : facts;
}
