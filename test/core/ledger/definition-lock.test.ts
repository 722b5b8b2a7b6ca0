import { expect, test } from 'vitest';
import { takeDefinitionLock } from '#core/ledger/definition-lock.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

function world() {
  const store = createMemoryLedgerStore();
  let nowMs = Date.parse('2026-01-01T00:00:00Z');
  const ports = {
    clock: { nowMillis: () => nowMs },
    sleep: async (ms: number) => {
      nowMs += ms;
    },
  };
  return { store, take: (by: string, withinMs = 1000) => takeDefinitionLock(store, by, withinMs, ports), ports };
}

test('one has it, the other is told who, and gets it when it is given back', async () => {
  const { take } = world();
  const first = await take('a');
  await expect(take('b')).rejects.toThrow('the proxy a changes it');
  await first.release();
  const second = await take('b');
  expect(await second.renew()).toBe(true);
});

test('a holder that died is waited for until its lease ends, and finds out when it comes back', async () => {
  const { take } = world();
  const dead = await take('a');
  const next = await take('b', 60_000);
  expect(await dead.renew()).toBe(false);
  await dead.release();
  await expect(take('c')).rejects.toThrow('the proxy b');
  await next.release();
});

test('a lock that lapses while it is given back stays with whoever has taken it', async () => {
  const { store, ports, take } = world();
  const first = await takeDefinitionLock(
    {
      ...store,
      async remove(key, version) {
        await take('b', 60_000);
        return store.remove(key, version);
      },
    },
    'a',
    1000,
    ports,
  );
  await first.release();
  await expect(take('c')).rejects.toThrow('the proxy b');
});
