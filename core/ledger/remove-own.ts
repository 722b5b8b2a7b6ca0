import { LedgerConflictError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';

/**
 * Removes a record as whoever asks has written or read it. One that is gone, or that another has written since, is left: it is
 * not the asker's any more.
 * @returns false: it was left
 * @throws LedgerUnavailableError
 */
export async function removeOwn(store: LedgerStore, key: string, version: string): Promise<boolean> {
  try {
    await store.remove(key, version);
    return true;
  } catch (error) {
    if (error instanceof LedgerConflictError) return false;
    throw error;
  }
}
