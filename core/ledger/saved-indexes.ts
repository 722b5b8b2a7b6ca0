/** `indexes/<keyspace>.<table>.json`: definitions of indexes that a load has dropped, or is about to, and owes back. */

import { z } from 'zod';
import { LedgerConflictError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';
import type { Ledger } from './ledger.ts';
import { parseRecord } from './records.ts';

const isoTime = z.iso.datetime();

const savedIndex = z.object({
  name: z.string().min(1),
  kind: z.string(),
  options: z.record(z.string(), z.string()),
  /** The exact text that creates it again, for people as well. */
  statement: z.string().min(1),
  /** `owed`: dropped or about to be; `building`: created again; `built`: on every node of the local data centre, equal to what was saved. */
  state: z.enum(['owed', 'building', 'built', 'failed']),
  /** When it was created again. */
  createdAt: isoTime.nullable(),
  error: z.string().nullable(),
  /** Since when creating it has failed for reasons that may pass. Absent in older records. */
  failingSince: isoTime.nullable().optional(),
});
export type SavedIndex = z.output<typeof savedIndex>;

export const savedIndexesSchema = z.object({
  version: z.literal(1),
  /** Names on the target. */
  keyspace: z.string(),
  table: z.string(),
  /** The only load that may drop them, and the one that owes them back. */
  runId: z.string().min(1),
  /** `dropping` until every drop is through: what is on the target may still vanish. */
  state: z.enum(['dropping', 'dropped', 'restoring', 'restored']),
  updatedAt: isoTime,
  /** When a record was taken over whose drops were not through: one that was on its way may still happen for a while. */
  claimedAt: isoTime.nullable().optional(),
  indexes: z.array(savedIndex),
});
export type SavedIndexes = z.output<typeof savedIndexesSchema>;

const PREFIX = 'indexes/';
const MAX_CONFLICTS = 20;
const keyOf = (keyspace: string, table: string) => `${PREFIX}${keyspace}.${table}.json`;

/**
 * Reads, changes and writes the record of one table by compare-and-set; again after a conflict. `change` throws to
 * refuse, and gives undefined for no change.
 * @throws LedgerConflictError, LedgerUnavailableError and what `change` throws
 */
export async function changeSavedIndexes(
  store: LedgerStore,
  keyspace: string,
  table: string,
  change: (found: SavedIndexes | undefined) => SavedIndexes | undefined,
): Promise<SavedIndexes | undefined> {
  const key = keyOf(keyspace, table);
  for (let attempt = 1; ; attempt++) {
    const entry = await store.get(key);
    const found = entry && parseRecord(savedIndexesSchema, key, entry.value);
    const next = change(found);
    if (next === undefined) return found;
    try {
      await store.put(key, JSON.stringify(next), entry?.version ?? null);
      return next;
    } catch (error) {
      if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
    }
  }
}

/** All tables whose indexes were ever dropped, those that have them back included. */
export async function listSavedIndexes(store: LedgerStore): Promise<readonly SavedIndexes[]> {
  const records: SavedIndexes[] = [];
  for await (const key of store.list(PREFIX)) {
    const entry = await store.get(key);
    if (entry) records.push(parseRecord(savedIndexesSchema, key, entry.value));
  }
  return records;
}

/** Tables whose dropped indexes no run brings back any more: its load has ended. */
export async function listOwedIndexes(ledger: Pick<Ledger, 'store' | 'readRun'>): Promise<readonly SavedIndexes[]> {
  const owed: SavedIndexes[] = [];
  for (const record of await listSavedIndexes(ledger.store)) {
    if (record.state === 'restored') continue;
    if ((await ledger.readRun(record.runId))?.state !== 'running') owed.push(record);
  }
  return owed;
}
