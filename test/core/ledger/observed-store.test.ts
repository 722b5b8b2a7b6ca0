import { expect, test } from 'vitest';
import { LedgerConflictError, LedgerUnavailableError } from '#core/errors.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { type DoneOperation, withObserver } from '#core/ledger/observed-store.ts';
import type { LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

/** A store whose every operation takes two milliseconds of a clock that nothing else moves. */
function observed(changes: Partial<LedgerStore> = {}) {
  let nowMs = 0;
  const done: DoneOperation[] = [];
  const store = withObserver(
    { ...createMemoryLedgerStore(), ...changes },
    {
      now: () => (nowMs += 1),
      onDone: (operation) => done.push(operation),
    },
  );
  const told = () => done.splice(0).map(({ operation, key, outcome }) => `${operation} ${key} ${outcome}`);
  return { store, done, told };
}

test('every operation is told once, with its key, outcome and duration, and does what it did', async () => {
  const { store, done, told } = observed();
  const version = await store.put('a/1', '{}', null);
  expect(done[0]).toEqual({ operation: 'put', key: 'a/1', outcome: 'ok', durationMs: 1 });
  expect(await store.get('a/1')).toEqual({ value: '{}', version });
  expect(await store.has('a/2')).toBe(false);
  expect(await collect(store.list('a/'))).toEqual(['a/1']);
  expect(await collect(store.entries('a/'))).toEqual([{ key: 'a/1', value: '{}', version }]);
  await store.remove('a/1', version);
  expect(told()).toEqual(['put a/1 ok', 'get a/1 ok', 'has a/2 ok', 'list a/ ok', 'entries a/ ok', 'remove a/1 ok']);
});

test('a conflict is told apart from a store that is away, and both are thrown on', async () => {
  const away = () => Promise.reject(new LedgerUnavailableError('away'));
  const { store, told } = observed({ get: away });
  await store.put('a', '{}', null);
  await expect(store.put('a', '{}', null)).rejects.toThrow(LedgerConflictError);
  await expect(store.get('a')).rejects.toThrow(LedgerUnavailableError);
  expect(told()).toEqual(['put a ok', 'put a conflict', 'get a error']);
});

test('a list is told when it breaks, and when nobody reads on; the time between its records is not its own', async () => {
  let isReturned = false;
  async function* three() {
    try {
      for (const key of ['a', 'b', 'c']) yield key;
    } finally {
      isReturned = true;
    }
  }
  const { store, done } = observed({
    list: three,
    entries: () => ({
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new LedgerUnavailableError('away')) }),
    }),
  });
  for await (const key of store.list('')) if (key === 'b') break;
  expect(isReturned).toBe(true);
  await expect(collect(store.entries('x/'))).rejects.toThrow('away');
  expect(done).toEqual([
    { operation: 'list', key: '', outcome: 'ok', durationMs: 2 },
    { operation: 'entries', key: 'x/', outcome: 'error', durationMs: 1 },
  ]);
});

test('a ledger works over it', async () => {
  const { store, told } = observed();
  const ledger = createLedger(store);
  await ledger.initPhase('origin-only', 'me', new Date());
  expect(await ledger.readPhase()).toMatchObject({ active: { phase: 'origin-only' } });
  expect(told()).toContain('get phase.json ok');
});

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
