import { expect, test } from 'vitest';
import { withAuthor } from '#core/ledger/authored-store.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

test('every record says who wrote it last, when and why, and is read as before', async () => {
  let count = 0;
  const memory = createMemoryLedgerStore();
  const store = withAuthor(
    memory,
    { by: 'kim@host', why: 'ringshift phase set' },
    { now: () => new Date('2026-01-02T03:04:05.000Z'), newId: () => `change-${++count}` },
  );
  const ledger = createLedger(store);
  await ledger.initPhase('origin-only', 'p1', new Date('2026-01-01T00:00:00.000Z'));
  await ledger.changePhase((record) => ({ ...record, lastEpoch: 7 }));
  expect(JSON.parse((await memory.get('phase.json'))!.value)._change).toEqual({
    id: 'change-2',
    by: 'kim@host',
    at: '2026-01-02T03:04:05.000Z',
    why: 'ringshift phase set',
  });
  expect((await ledger.readPhase())?.lastEpoch).toBe(7);
  await store.put('count.json', '5');
  expect((await memory.get('count.json'))?.value).toBe('5');
});
