import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LedgerConflictError } from '#core/errors.ts';
import { createLedgerBatch } from '#core/ledger/ledger-batch.ts';
import { probeStore } from '#core/ledger/probe-store.ts';
import type { LedgerStore } from '#core/ports.ts';

export const keysOf = async (store: LedgerStore, prefix: string) => {
  const keys: string[] = [];
  for await (const key of store.list(prefix)) keys.push(key);
  return keys;
};

export const probePorts = {
  nowMillis: Date.now,
  newId: randomUUID,
  sleep: (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    }),
};

/** What every store of the ledger does alike. `open` gives an empty one, each time over the same records. */
export function itKeepsTheLedgersContract(name: string, open: () => Promise<LedgerStore> | LedgerStore): void {
  describe(`the ledger in ${name}`, () => {
    let store: LedgerStore;
    beforeAll(async () => {
      store = await open();
    });
    afterAll(() => store?.close());

    test('gives back what was put, with a version that changes', async () => {
      expect(await store.get('a/none.json')).toBeUndefined();
      expect(await store.has('a/none.json')).toBe(false);
      const first = await store.put('a/one.json', '{"n":1,"t":"ä\\u0000☃"}');
      expect(await store.get('a/one.json')).toEqual({ value: '{"n":1,"t":"ä\\u0000☃"}', version: first });
      expect(await store.has('a/one.json')).toBe(true);
      const second = await store.put('a/one.json', '{"n":2}');
      expect(second).not.toBe(first);
      expect((await store.get('a/one.json'))?.value).toBe('{"n":2}');
    });

    test('a conditional change fails when the record is another one, or there, or gone', async () => {
      const version = await store.put('cas/b.json', '1', null);
      await expect(store.put('cas/b.json', '2', null)).rejects.toBeInstanceOf(LedgerConflictError);
      const next = await store.put('cas/b.json', '2', version);
      await expect(store.put('cas/b.json', '3', version)).rejects.toBeInstanceOf(LedgerConflictError);
      await expect(store.remove('cas/b.json', version)).rejects.toBeInstanceOf(LedgerConflictError);
      expect((await store.get('cas/b.json'))?.value).toBe('2');
      await store.remove('cas/b.json', next);
      expect(await store.get('cas/b.json')).toBeUndefined();
      await expect(store.put('cas/b.json', '4', next)).rejects.toBeInstanceOf(LedgerConflictError);
      await expect(store.remove('cas/b.json', next)).rejects.toBeInstanceOf(LedgerConflictError);
      await store.remove('cas/b.json');
      await store.put('cas/b.json', '5', null);
      expect((await store.get('cas/b.json'))?.value).toBe('5');
    });

    test('lists keys and records by prefix, ascending, also with odd names', async () => {
      const keys = [
        'list.json',
        'list/a.json',
        'list/b%2A.json',
        'list/ks.*/c.json',
        'list/z/1.json',
        'ranges/r1/1.json',
      ];
      for (const key of [...keys, 'ranges/r1/0.json', 'ranges/r10/0.json', 'suspects/ks.t/x.json']) {
        await store.put(key, JSON.stringify({ key }));
      }
      expect(await keysOf(store, 'list')).toEqual(keys.slice(0, 5));
      expect(await keysOf(store, 'list/')).toEqual(keys.slice(1, 5));
      expect(await keysOf(store, 'list/b')).toEqual(['list/b%2A.json']);
      expect(await keysOf(store, 'ranges/r1/')).toEqual(['ranges/r1/0.json', 'ranges/r1/1.json']);
      expect(await keysOf(store, 'ranges/')).toEqual(['ranges/r1/0.json', 'ranges/r1/1.json', 'ranges/r10/0.json']);
      expect(await keysOf(store, 'suspects/')).toEqual(['suspects/ks.t/x.json']);
      expect(await keysOf(store, 'nothing/')).toEqual([]);
      const entries: string[] = [];
      for await (const { key, value, version } of store.entries('list/')) {
        expect(version).not.toBe('');
        entries.push(JSON.parse(value).key);
        expect(entries.at(-1)).toBe(key);
      }
      expect(entries).toEqual(keys.slice(1, 5));
      await store.remove('list/a.json');
      expect(await keysOf(store, 'list/')).toEqual(keys.slice(2, 5));
      const all = await keysOf(store, '');
      expect(all).toEqual([...all].sort());
      expect(all).toEqual(expect.arrayContaining(['list.json', 'list/z/1.json', 'ranges/r10/0.json']));
    });

    test('of many that count together none is lost', { timeout: 120_000 }, async () => {
      const writers = 20;
      const add = async (): Promise<void> => {
        for (;;) {
          const found = await store.get('count.json');
          const next = String(Number(found?.value ?? 0) + 1);
          try {
            await store.put('count.json', next, found?.version ?? null);
            return;
          } catch (error) {
            if (!(error instanceof LedgerConflictError)) throw error;
          }
        }
      };
      await Promise.all(Array.from({ length: writers }, add));
      expect((await store.get('count.json'))?.value).toBe(String(writers));
    });

    test('a batch makes its changes, several of one key in their order, and stops at a conflict', async () => {
      const batch = createLedgerBatch(store);
      for (let index = 0; index < 40; index++)
        batch.put(`batch/${String(index).padStart(3, '0')}.json`, `${index}`, null);
      batch.put('batch/000.json', '100');
      batch.remove('batch/001.json');
      expect(batch.size).toBe(42);
      expect(await batch.commit()).toEqual({ applied: 42, conflicts: [] });
      expect(batch.size).toBe(0);
      expect(await keysOf(store, 'batch/')).toHaveLength(39);
      expect((await store.get('batch/000.json'))?.value).toBe('100');
      batch.put('batch/002.json', 'again', null);
      batch.put('batch/002.json', 'behind it');
      expect(await batch.commit()).toEqual({ applied: 0, conflicts: ['batch/002.json'] });
      expect((await store.get('batch/002.json'))?.value).toBe('2');
    });

    test('is probed by a record that is written, read and removed', async () => {
      expect(await probeStore(store, probePorts)).toMatchObject({ isHealthy: true });
      expect(await keysOf(store, 'probe/')).toEqual([]);
    });
  });
}
