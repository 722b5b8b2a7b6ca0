import { ObjectStoreError } from '#core/errors.ts';
import type { ObjectStore } from '#core/ports.ts';

/** A bucket in memory. */
export function createMemoryObjectStore(objects: Map<string, Uint8Array> = new Map()): ObjectStore {
  return {
    name: 'memory://bucket',
    async *list(prefix) {
      for (const [key, body] of [...objects].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (key.startsWith(prefix)) yield { key, byteLength: body.length };
      }
    },
    async open(key) {
      const body = objects.get(key);
      if (!body) throw new ObjectStoreError(`memory://bucket/${key} does not exist`);
      return { name: key, byteLength: body.length, read: async (start, end) => body.slice(start, end) };
    },
    async get(key) {
      return objects.get(key);
    },
    async put(key, body) {
      objects.set(key, typeof body === 'string' ? new TextEncoder().encode(body) : body);
    },
    async remove(key) {
      objects.delete(key);
    },
  };
}
