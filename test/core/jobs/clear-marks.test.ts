import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { clearDefinitionMarks, clearMarks, placesOfTokens } from '#core/jobs/clear-marks.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { encodeBuckets, rangesOf } from '#core/ledger/mark-places.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { listMarksOf } from '#core/ledger/suspects.ts';
import type { LedgerStore } from '#core/ports.ts';
import { BUCKET_COUNT, bucketRange } from '#core/token/buckets.ts';
import { joinRanges, subtractRanges } from '#core/token/range-sets.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { type TokenRange, WHOLE_RING } from '#core/token/token-range.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const START = Date.UTC(2026, 0, 1);
const iso = (seconds: number) => new Date(START + seconds * 1000).toISOString();
let store: LedgerStore;
let ledger: Ledger;

beforeEach(() => {
  store = createMemoryLedgerStore();
  ledger = createLedger(store);
});

function mark(change: Partial<SuspectRecord> = {}): SuspectRecord {
  return { version: 1, keyspace: 'ks', table: 't', range: null, reason: 'lost', by: 'p', at: iso(-60), ...change };
}

function bucketsOf(...numbers: number[]): string {
  const bits = new Uint8Array(BUCKET_COUNT / 8);
  for (const bucket of numbers) bits[bucket >> 3]! |= 1 << (bucket & 7);
  return encodeBuckets(bits);
}

const clear = (equal: readonly TokenRange[], nowSeconds = 100) =>
  clearMarks({ keyspace: 'ks', table: 't', since: new Date(START), equal }, store, {
    nowMillis: () => START + nowSeconds * 1000,
  });

test('what was looked at as a whole is cleared, and a mark that was made since the comparison began stays', async () => {
  await ledger.addSuspect('whole', mark());
  await ledger.addSuspect('buckets', mark({ buckets: bucketsOf(5, 6) }));
  await ledger.addSuspect('later', mark({ at: iso(1) }));
  await ledger.addSuspect('nearly', mark({ at: iso(-0.2) }));
  await ledger.addSuspect('other', mark({ table: 'u' }));
  const left = await clear([WHOLE_RING]);
  expect(left.map(({ at }) => at).sort()).toEqual([iso(-0.2), iso(1)]);
  expect((await ledger.listSuspects()).map(({ id }) => id).sort()).toEqual(['later', 'nearly', 'other']);
});

test('a mark shrinks to the places that were not looked at', async () => {
  await ledger.addSuspect('buckets', mark({ buckets: bucketsOf(5, 6, 900) }));
  await ledger.addSuspect('tokens', mark({ tokens: ['10', '20', '-30'] }));
  await ledger.addSuspect('range', mark({ range: { start: '0', end: '100' } }));
  await clear(joinRanges([bucketRange(5), bucketRange(6), { start: 9n, end: 50n }]));
  const left = new Map((await ledger.listSuspects()).map((record) => [record.id, record]));
  expect(rangesOf(left.get('buckets')!)).toEqual([bucketRange(900)]);
  expect(left.get('tokens')!.tokens).toEqual(['-30']);
  const range = rangesOf(left.get('range')!);
  expect(
    subtractRanges(
      [
        { start: 0n, end: 9n },
        { start: 50n, end: 100n },
      ],
      range,
    ),
  ).toEqual([]);
  expect(left.get('range')).toMatchObject({ at: iso(-60), reason: 'lost' });
});

test('a mark that its writer makes again while it is being cleared stays whole', async () => {
  await ledger.addSuspect('m', mark({ buckets: bucketsOf(5) }));
  const again = mark({ buckets: bucketsOf(5, 7), at: iso(30) });
  let isMade = false;
  const racing: LedgerStore = {
    ...store,
    async put(key, value, version) {
      if (!isMade) {
        isMade = true;
        await ledger.addSuspect('m', again);
      }
      return store.put(key, value, version);
    },
  };
  const looked = { keyspace: 'ks', table: 't', since: new Date(START), equal: [WHOLE_RING] };
  const left = await clearMarks(looked, racing, { nowMillis: () => START + 100_000 });
  expect(left).toMatchObject([{ at: iso(30) }]);
  expect(await ledger.listSuspects()).toMatchObject([again]);
});

test('a cleared mark is kept while its writer may still write it, and removed later', async () => {
  await ledger.addSuspect('m', mark());
  await clear([WHOLE_RING]);
  expect(await clear([WHOLE_RING])).toEqual([]);
  expect(await listMarksOf(store, 'ks', 't')).toHaveLength(1);
  await clear([], 3 * 3600);
  expect(await listMarksOf(store, 'ks', 't')).toEqual([]);
});

test('no place that was not looked at is ever taken from a mark, and one that was looked at as a whole is gone', async () => {
  const edge = fc.constantFrom(MIN_TOKEN, MAX_TOKEN, 0n, 1n, 5n, 1n << 47n, 1n << 48n, (1n << 48n) + 7n, -(1n << 62n));
  const range = fc.record({ start: edge, end: edge });
  const place = fc.oneof(
    fc.constant({}),
    range.map(({ start, end }) => ({ range: { start: String(start), end: String(end) } })),
    fc.uniqueArray(edge, { minLength: 1, maxLength: 5 }).map((tokens) => ({ tokens: tokens.map(String) })),
    fc
      .uniqueArray(fc.constantFrom(0, 1, 32767, 32768, 32769, 65535), { minLength: 1 })
      .map((buckets) => ({ buckets: bucketsOf(...buckets) })),
  );
  await fc.assert(
    fc.asyncProperty(place, fc.array(range, { maxLength: 4 }), async (where, covered) => {
      store = createMemoryLedgerStore();
      ledger = createLedger(store);
      const made = mark(where);
      await ledger.addSuspect('m', made);
      const equal = joinRanges(covered);
      await clear(equal);
      const rest = subtractRanges(rangesOf(made), equal);
      const [left] = await ledger.listSuspects();
      if (rest.length === 0) expect(left).toBeUndefined();
      else expect(subtractRanges(rest, rangesOf(left!))).toEqual([]);
    }),
    { numRuns: 100 },
  );
});

test('partitions are named one by one while they are few, else by the parts of the ring that they are in', () => {
  expect(placesOfTokens([7n, -7n])).toEqual({ range: null, tokens: ['7', '-7'] });
  const many = Array.from({ length: 2000 }, (_, i) => BigInt(i) * (1n << 40n));
  const places = placesOfTokens(many);
  expect(places.tokens).toBeUndefined();
  const uncovered = subtractRanges(
    joinRanges(many.map((end) => ({ start: end - 1n, end }))),
    rangesOf({ ...places, range: null }),
  );
  expect(uncovered).toEqual([]);
});

test('marks of definitions are taken away where they are older than the comparison of the schemas', async () => {
  const definition = { table: '*', code: 'definition' } as const;
  await ledger.addSuspect('before', mark(definition));
  await ledger.addSuspect('meanwhile', mark({ ...definition, at: iso(1) }));
  await ledger.addSuspect('again', mark(definition));
  await ledger.addSuspect('table', mark());
  const interrupted: LedgerStore = {
    ...store,
    async put(key, value, version) {
      // Another definition under the same name, while it is being taken away.
      if (key.includes('again')) await ledger.addSuspect('again', mark({ ...definition, at: iso(2) }));
      return store.put(key, value, version);
    },
  };
  const clock = { nowMillis: () => START + 5_000 };
  expect(await clearDefinitionMarks('ks', new Date(START), interrupted, clock)).toBe(1);
  expect((await ledger.listSuspects()).map(({ id }) => id).sort()).toEqual(['again', 'meanwhile', 'table']);
  expect(await store.has('suspects/ks.*/before.json')).toBe(false);
});
