import { LedgerConflictError } from '#core/errors.ts';
import type { LedgerStore } from '#core/ports.ts';

/** A ledger store in memory with true compare-and-set. */
export function createMemoryLedgerStore(): LedgerStore {
  const records = new Map<string, { value: string; version: string }>();
  let counter = 0;
  return {
    async get(key) {
      return records.get(key);
    },
    async put(key, value, expectedVersion) {
      if (expectedVersion !== undefined && (records.get(key)?.version ?? null) !== expectedVersion) {
        throw new LedgerConflictError(`the ledger's record ${key} was changed by another`);
      }
      const version = String(++counter);
      records.set(key, { value, version });
      return version;
    },
    async *list(prefix) {
      yield* [...records.keys()].filter((key) => key.startsWith(prefix)).sort();
    },
    async remove(key) {
      records.delete(key);
    },
  };
}
