import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import { takeRange } from '#core/jobs/load-tickets.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const RUN = 'r1';

/** A plan of tables with so many ranges each. */
function planOf(counts: readonly number[]): LoadItem[] {
  const tables = counts.flatMap((count, i) => Array.from({ length: count }, () => `t${i}`));
  return tables.map((table, index) => ({
    ...{ runId: RUN, index, keyspace: 'ks', table, start: String(index), end: String(index + 1), bytes: 1 },
    ...{ tableKey: 'k', listAttemptBase: 0 },
  }));
}

async function worldOf(counts: readonly number[], store: LedgerStore = createMemoryLedgerStore()) {
  const items = planOf(counts);
  const objects = createMemoryObjectStore();
  await objects.put(`runs/${RUN}/plan.json`, JSON.stringify(items));
  const ledger = createLedger(store);
  const order = (table: string, place: number | undefined) =>
    ledger.setTable('ks', table, 'loading', { now: new Date(0), by: 'x', facts: { order: place } });
  return { items, ports: { ledger, objects }, order };
}

test('the table of the smallest order comes first, and a change between two tickets takes effect', async () => {
  const { items, ports, order } = await worldOf([2, 3, 2]);
  await order('t2', 1);
  const taken: string[] = [];
  for (const ticket of items) {
    taken.push((await takeRange(ticket, ports)).table);
    if (taken.length === 3) await order('t1', 0);
    if (taken.length === 4) await order('t1', undefined);
  }
  expect(taken).toEqual(['t2', 't2', 't0', 't1', 't0', 't1', 't1']);
});

test('a ticket that has taken a range keeps it: the next call, and one that is repeated', async () => {
  const { items, ports, order } = await worldOf([2, 2]);
  await order('t1', 1);
  const item = await takeRange(items[0]!, ports);
  expect(item).toMatchObject({ ticket: 0, table: 't1' });
  await order('t0', 0);
  expect(await takeRange(items[0]!, ports)).toEqual(item);
  const later = { ...item, checkpoint: '5' };
  expect(await takeRange(later, ports)).toBe(later);
});

test('counters keep their ranges', async () => {
  const { items, ports, order } = await worldOf([1, 1]);
  await order('t1', 1);
  const ticket = { ...items[0]!, counters: true };
  expect(await takeRange(ticket, ports)).toBe(ticket);
});

test('no range is taken twice or never, whatever calls die, come at once or are repeated', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
      fc.infiniteStream(fc.integer({ min: 0, max: 19 })),
      async (counts, stream) => {
        const memory = createMemoryLedgerStore();
        const draw = () => stream.next().value as number;
        /** Other calls go on in between; before or after it is done, a call may die. */
        const step = async <T>(work: () => Promise<T>): Promise<T> => {
          const fate = draw();
          for (let turns = draw() % 4; turns > 0; turns--) await Promise.resolve();
          if (fate === 0) throw new Error('died before');
          const result = await work();
          if (fate === 1) throw new Error('died after');
          return result;
        };
        const store: LedgerStore = {
          ...memory,
          get: (key) => step(() => memory.get(key)),
          put: (key, value, version) => step(() => memory.put(key, value, version)),
        };
        const { items } = await worldOf(counts);
        const { ports, order } = await worldOf(counts, memory);
        const shaky = { ...ports, ledger: createLedger(store) };
        const take = async (ticket: LoadItem): Promise<LoadItem> => {
          for (;;) {
            try {
              return await takeRange(ticket, shaky);
            } catch (error) {
              expect((error as Error).message).toMatch(/^died/);
              await order(`t${draw() % counts.length}`, draw());
            }
          }
        };
        // Each ticket in two calls at once, as when a call is repeated while the first still runs.
        const pairs = await Promise.all(items.map((ticket) => Promise.all([take(ticket), take(ticket)])));
        for (const [one, other] of pairs) expect(other).toEqual(one);
        expect(pairs.map(([one]) => one.index).sort((a, b) => a - b)).toEqual(items.map(({ index }) => index));
        for (const [i, ticket] of items.entries()) expect(await takeRange(ticket, ports)).toEqual(pairs[i]![0]);
      },
    ),
    { numRuns: 200 },
  );
});
