import { expect, test } from 'vitest';
import { noteShadowFailures, readShadowFailures } from '#core/ledger/shadow-failures.ts';
import { ShadowFailureWatch } from '../../../proxy-container/src/phase/shadow-failure-watch.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const at = (seconds: number) => new Date(Date.parse('2026-01-01T00:00:00.000Z') + seconds * 1000);
const text = (seconds: number) => at(seconds).toISOString();

test('a copy that failed since the last look is one to the shadow of the phase, or of the phase before', () => {
  const watch = new ShadowFailureWatch();
  expect(watch.look(0, 'dual-async', at(0))).toEqual({});
  expect(watch.look(3, 'dual-sync', at(1))).toEqual({ target: text(1) });
  expect(watch.look(3, 'target-primary', at(2))).toEqual({ target: text(1) });
  expect(watch.look(4, 'target-primary', at(3))).toEqual({ target: text(1), origin: text(3) });
  expect(watch.look(5, 'target-only', at(4))).toEqual({ target: text(1), origin: text(4) });
});

test('the ledger keeps the last failure of all instances, and is written only where that is much later', async () => {
  const store = createMemoryLedgerStore();
  await noteShadowFailures({ target: text(100) }, store);
  const { version } = (await store.get('shadow-failures.json'))!;
  await noteShadowFailures({ target: text(109) }, store);
  await noteShadowFailures({ target: text(0) }, store);
  expect((await store.get('shadow-failures.json'))!.version).toBe(version);
  await noteShadowFailures({ target: text(111), origin: text(5) }, store);
  expect(await readShadowFailures(store)).toEqual({ target: text(111), origin: text(5) });
});
