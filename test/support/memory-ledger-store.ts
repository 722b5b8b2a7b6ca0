import { LedgerConflictError } from '#core/errors.ts';
import type { LedgerStore } from '#core/ports.ts';

/** A ledger store in memory with true compare-and-set. */
export function createMemoryLedgerStore(): LedgerStore {
  const records = new Map<string, { value: string; version: string }>();
  let counter = 0;
  const conflict = (key: string) => new LedgerConflictError(`the ledger's record ${key} was changed by another`);
  return {
    async get(key) {
      return records.get(key);
    },
    async has(key) {
      return records.has(key);
    },
    async put(key, value, expectedVersion) {
      if (expectedVersion !== undefined && (records.get(key)?.version ?? null) !== expectedVersion) {
        throw conflict(key);
      }
      const version = String(++counter);
      records.set(key, { value, version });
      return version;
    },
    async *list(prefix) {
      yield* [...records.keys()].filter((key) => key.startsWith(prefix)).sort();
    },
    async *entries(prefix) {
      for (const key of [...records.keys()].filter((one) => one.startsWith(prefix)).sort()) {
        const found = records.get(key);
        if (found) yield { key, ...found };
      }
    },
    async remove(key, expectedVersion) {
      if (expectedVersion !== undefined && records.get(key)?.version !== expectedVersion) throw conflict(key);
      records.delete(key);
    },
    async close() {},
  };
}
