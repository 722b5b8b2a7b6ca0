import { beforeEach, expect, test } from 'vitest';
import { GateClosedError } from '#core/errors.ts';
import { type ClaimedRange, claimRange } from '#core/ledger/range-claim.ts';
import type { LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

let store: LedgerStore;
let nowMillis: number;

beforeEach(() => {
  store = createMemoryLedgerStore();
  nowMillis = Date.UTC(2027, 0, 1);
});

const ports = (whileWaiting = async () => {}) => ({
  clock: { nowMillis: () => nowMillis },
  sleep: async (ms: number) => {
    nowMillis += ms;
    await whileWaiting();
  },
});
const range = (start: number, end: number, runId = 'r'): ClaimedRange => ({
  runId,
  keyspace: 'ks',
  table: 't',
  start: String(start),
  end: String(end),
});

test('ranges that overlap exclude each other, however they were cut; others do not', async () => {
  const held = await claimRange(range(-100, 100), store, ports());
  const busy = ports(() => held.renew());
  for (const other of [range(50, 150, 'q'), range(-200, -99), range(-5, 5), range(-200, 200)]) {
    await expect(claimRange(other, store, busy)).rejects.toBeInstanceOf(GateClosedError);
  }
  const before = nowMillis;
  await claimRange(range(100, 150), store, busy);
  await claimRange(range(-200, -100), store, busy);
  await claimRange({ ...range(-100, 100), table: 'u' }, store, busy);
  expect(nowMillis).toBe(before);
  await held.release();
  expect((await claimRange(range(-50, 50), store, busy)).isTakenOver).toBe(false);
});

test('the holder of a lapsed claim learns that another cut of its range was taken', async () => {
  const slow = await claimRange(range(0, 100), store, ports());
  const taken = await claimRange(range(50, 150), store, ports());
  expect(taken.isTakenOver).toBe(true);
  expect(slow.isSure).toBe(false);
  await expect(slow.renew()).rejects.toBeInstanceOf(GateClosedError);
  await slow.release();
  nowMillis += 20_000;
  await taken.renew();
  await taken.release();
  // What was taken away holds nobody up, also where it lies itself.
  const before = nowMillis;
  await claimRange(range(0, 60), store, ports());
  expect(nowMillis).toBe(before);
});

test('of two calls that come at the same moment at most one gets the range', async () => {
  const results = await Promise.allSettled([
    claimRange(range(0, 100), store, ports()),
    claimRange(range(50, 150), store, ports()),
  ]);
  expect(results.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(1);
});

test('renewals from several places at once are one', async () => {
  const claim = await claimRange(range(0, 100), store, ports());
  nowMillis += 30_000;
  await Promise.all([claim.renew(), claim.renew(), claim.renew()]);
  expect(claim.isSure).toBe(true);
});

test('a claim that lapses while it is given back stays with the call that has taken it', async () => {
  let taken = false;
  const interrupted: LedgerStore = {
    ...store,
    async remove(key, version) {
      // Whatever was read before.
      nowMillis += 120_000;
      await claimRange(range(0, 100, 'q'), store, ports());
      taken = true;
      return store.remove(key, version);
    },
  };
  const slow = await claimRange(range(0, 100), interrupted, ports());
  await slow.release();
  expect(taken).toBe(true);
  const held: unknown[] = [];
  for await (const { value } of store.entries('claims/')) held.push(JSON.parse(value));
  expect(held).toMatchObject([{ runId: 'q' }]);
});
