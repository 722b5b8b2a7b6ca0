/** Suspect marks as they are stored, and how they are changed while their writers may write them again. */

import { LedgerConflictError, LedgerUnavailableError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';
import { parseRecord, type SuspectRecord, suspectRecordSchema } from './records.ts';

export type NamedSuspect = SuspectRecord & { readonly id: string };

const MAX_CONFLICTS = 20;

const prefixOf = (keyspace: string, table: string) => `suspects/${keyspace}.${table}/`;

export const suspectKey = (keyspace: string, table: string, id: string) =>
  `${prefixOf(keyspace, table)}${encodeURIComponent(id)}.json`;

/** A stored mark with its id. @throws LedgerUnavailableError when the text is none */
export function parseSuspect(key: string, text: string): NamedSuspect {
  const id = decodeURIComponent(key.slice(key.lastIndexOf('/') + 1, -'.json'.length));
  return { ...parseRecord(suspectRecordSchema, key, text), id };
}

/** The marks of one table, also those that are cleared. */
export async function listMarksOf(store: LedgerStore, keyspace: string, table: string): Promise<NamedSuspect[]> {
  const found: NamedSuspect[] = [];
  for await (const { key, value } of store.entries(prefixOf(keyspace, table))) found.push(parseSuspect(key, value));
  return found;
}

/** Removes a mark that is cleared, unless it is written again meanwhile. */
export async function removeCleared(store: LedgerStore, { keyspace, table, id }: NamedSuspect): Promise<void> {
  const key = suspectKey(keyspace, table, id);
  const found = await store.get(key);
  if (found === undefined || parseSuspect(key, found.value).clearedAt === undefined) return;
  try {
    await store.remove(key, found.version);
  } catch (error) {
    // It counts no more in any case, and some endpoint of S3 may not remove under a condition.
    if (!(error instanceof LedgerConflictError || error instanceof LedgerUnavailableError)) throw error;
  }
}

/**
 * Writes what `change` makes of the mark, by compare-and-set: it is asked again when somebody has written the mark
 * meanwhile. undefined leaves it as it is.
 */
export async function changeSuspect(
  store: LedgerStore,
  { keyspace, table, id }: NamedSuspect,
  change: (record: NamedSuspect) => SuspectRecord | undefined,
): Promise<void> {
  const key = suspectKey(keyspace, table, id);
  for (let attempt = 1; ; attempt++) {
    const found = await store.get(key);
    const next = found && change(parseSuspect(key, found.value));
    if (found === undefined || next === undefined) return;
    const { id: _, ...record } = next as NamedSuspect;
    try {
      await store.put(key, JSON.stringify(record), found.version);
      return;
    } catch (error) {
      if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
    }
  }
}
