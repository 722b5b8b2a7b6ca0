import { expect, test } from 'vitest';
import { collectSlowFacts } from '#core/jobs/gate-facts.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { openGates } from '../../support/open-gates.ts';

test.each([
  { counts: 'roughly', isExact: undefined, looks: 3, pauses: 2 },
  { counts: 'exactly', isExact: true, looks: 1, pauses: 0 },
])('a queue that counts $counts is looked at $looks times', async ({ isExact, looks, pauses }) => {
  let waiting = 0;
  const sleptMs: number[] = [];
  const queue = {
    ...(isExact === undefined ? {} : { isExact }),
    send: async () => [],
    depth: async () => ({ waiting: waiting++, inFlight: 0, deadLetters: 0 }),
  };
  const facts = await collectSlowFacts('target-primary', {
    ledger: createLedger(createMemoryLedgerStore()),
    now: () => new Date(0),
    sleep: async (ms) => void sleptMs.push(ms),
    gates: { ...openGates, queue },
  });
  expect(facts.queue.map((look) => 'waiting' in look && look.waiting)).toEqual([0, 1, 2].slice(0, looks));
  expect(sleptMs).toHaveLength(pauses);
  // Between two looks the hosts of the queue hear of each other.
  for (const ms of sleptMs) expect(ms).toBeGreaterThan(1000);
});
