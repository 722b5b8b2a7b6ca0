import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { Mark } from '#core/ledger/mark.ts';
import { rangesOf } from '#core/ledger/mark-places.ts';
import type { Clock } from '#core/ports.ts';
import { contains } from '#core/token/token-range.ts';
import { SuspectMarks } from '../../../proxy-container/src/journal/suspect-marks.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

let directory: string;
let ledger: Ledger;
let isAway: boolean;
/** What the ledger is told waits for it; undefined: for nothing. */
let answers: Promise<void> | undefined;
let opened: SuspectMarks[];
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringshift-suspects-'));
  isAway = false;
  answers = undefined;
  opened = [];
  const store = createMemoryLedgerStore();
  ledger = createLedger({
    ...store,
    put: async (...what) => {
      if (isAway) throw new Error('away');
      await answers;
      return store.put(...what);
    },
  });
});

afterEach(() => {
  vi.useRealTimers();
  for (const marks of opened) marks.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A process; one that was opened before it counts as killed. */
async function open(instance = 'proxy-1', clock: Clock = { nowMillis: Date.now }): Promise<SuspectMarks> {
  const marks = new SuspectMarks({ ledger, instance, directory, clock, logger });
  opened.push(marks);
  await marks.restore();
  return marks;
}

const loss = (change: Partial<Mark> = {}): Mark => ({
  keyspace: 'shop',
  table: 'orders',
  tokens: null,
  code: 'journal-full',
  reason: 'the journal is full',
  lacking: 'target',
  ...change,
});

const suspects = () => ledger.listSuspects();

describe('suspect marks', () => {
  it('are of every table that the ledger knows where nobody can say which, also after a kill', async () => {
    const now = new Date();
    for (const table of ['orders', 'items']) await ledger.setTable('shop', table, 'loaded', { now, by: 'test' });
    isAway = true;
    (await open()).markEverything();
    isAway = false;
    await (await open()).flush();
    expect((await suspects()).map(({ table }) => table).sort()).toEqual(['items', 'orders']);
  });

  it('of partitions are of these partitions after a kill, and no others, by the clock that a proxy has', async () => {
    const timestamps = new TimestampGenerator();
    const clock = { nowMillis: () => timestamps.clusterMillis() };
    await ledger.setTable('shop', 'items', 'loaded', { now: new Date(), by: 'test' });
    isAway = true;
    const tokens = [-5n, 7n];
    (await open('proxy-1', clock)).mark(loss({ tokens }));
    isAway = false;
    await (await open('proxy-1', clock)).flush();
    expect(await suspects()).toMatchObject([{ table: 'orders', code: 'journal-full', tokens: ['-5', '7'] }]);
  });

  it("that were being told when their process gave up are the next one's, whenever the ledger answers", async () => {
    const before = await open();
    before.mark(loss({ table: 'items' }));
    await before.flush();
    const { promise, resolve } = Promise.withResolvers<void>();
    answers = promise;
    before.mark(loss());
    const telling = before.flush();
    before.close();
    // Not the one that the ledger had.
    const next = await open();
    expect(next.pendingCount).toBe(1);
    resolve();
    await telling;
    expect((await open()).pendingCount).toBe(1);
  });

  it('are in the ledger with their partitions, and make the table suspect', async () => {
    const marks = await open();
    marks.mark(loss({ tokens: [42n, -7n] }));
    marks.mark(loss({ tokens: [42n] }));
    expect(marks.pendingCount).toBe(1);
    await marks.flush();
    expect(marks.pendingCount).toBe(0);
    expect(await suspects()).toMatchObject([
      {
        keyspace: 'shop',
        table: 'orders',
        tokens: ['42', '-7'],
        code: 'journal-full',
        lacking: 'target',
        by: 'proxy-1',
      },
    ]);
    expect((await ledger.readTable('shop', 'orders'))?.state).toBe('suspect');
    expect(marks.count).toBe(2);
  });

  it('are one record for each table, reason and cluster that lacks', async () => {
    const marks = await open();
    marks.mark(loss({ tokens: [1n] }));
    marks.mark(loss({ tokens: [2n], lacking: 'origin' }));
    marks.mark(loss({ tokens: [3n], code: 'counter' }));
    marks.mark(loss({ tokens: [4n], table: 'items' }));
    await marks.flush();
    marks.mark(loss({ tokens: [5n] }));
    await marks.flush();
    const tokens = (await suspects()).map((one) => one.tokens?.join()).sort();
    expect(tokens).toEqual(['1,5', '2', '3', '4']);
  });

  it('stand for the whole table as soon as one partition is not known', async () => {
    const marks = await open();
    marks.mark(loss({ tokens: [1n] }));
    marks.mark(loss());
    marks.mark(loss({ tokens: [2n] }));
    await marks.flush();
    const [mark] = await suspects();
    expect([mark?.tokens, mark?.buckets, mark?.range]).toEqual([undefined, undefined, null]);
  });

  it('name 64 partitions, and parts of the ring for all others', async () => {
    const marks = await open();
    const tokens = Array.from({ length: 300 }, (_, index) => BigInt.asIntN(64, BigInt(index) * 0x9e3779b97f4a7c15n));
    for (const token of tokens) marks.mark(loss({ tokens: [token] }));
    await marks.flush();
    const [mark] = await suspects();
    expect(mark?.tokens).toHaveLength(64);
    const ranges = rangesOf(mark!);
    expect(tokens.every((token) => ranges.some((range) => contains(range, token)))).toBe(true);
    expect(ranges.length).toBeLessThanOrEqual(300);
  });

  it('of a killed process are told by the next one, with the time of now', async () => {
    isAway = true;
    const first = await open();
    first.mark(loss({ tokens: [42n] }));
    first.mark(loss({ table: 'items' }));
    const killedAt = Date.now();
    isAway = false;
    const next = await open();
    expect(next.pendingCount).toBe(2);
    await next.flush();
    const found = await suspects();
    expect(found.map(({ table, tokens }) => [table, tokens]).sort()).toEqual([
      ['items', undefined],
      ['orders', ['42']],
    ]);
    expect(found.every(({ at }) => Date.parse(at) >= killedAt)).toBe(true);
  });

  it('that the ledger has are not told again after a drain', async () => {
    const first = await open();
    first.mark(loss({ tokens: [42n] }));
    await first.flush();
    first.close();
    const next = await open();
    expect(next.pendingCount).toBe(0);
  });

  it('that the ledger does not take stay over a drain', async () => {
    isAway = true;
    const first = await open();
    first.mark(loss({ tokens: [42n] }));
    await first.flush();
    expect(first.pendingCount).toBe(1);
    first.close();
    expect((await open()).pendingCount).toBe(1);
  });

  it('wait in bounded space while the ledger is away, for more tables than there is room', async () => {
    isAway = true;
    const first = await open();
    for (let table = 0; table < 1000; table++) first.mark(loss({ table: `t${table}`, tokens: [BigInt(table)] }));
    const waiting = first.pendingCount;
    expect(waiting).toBeLessThan(700);
    isAway = false;
    await first.flush();
    const found = await suspects();
    for (let table = 0; table < 1000; table++) expect(found.some((mark) => mark.table === `t${table}`)).toBe(true);
    expect(found.some(({ table, tokens }) => table === 't0' && tokens?.join() === '0')).toBe(true);
  });

  it('of a killed process that had no room for their tables stand for all that the ledger knows of the keyspace', async () => {
    await ledger.setTable('shop', 'known', 'loaded', { now: new Date(), by: 'test' });
    await ledger.setTable('other', 'known', 'loaded', { now: new Date(), by: 'test' });
    isAway = true;
    const first = await open();
    for (let table = 0; table < 1000; table++) first.mark(loss({ table: `t${table}` }));
    isAway = false;
    const next = await open();
    expect(next.pendingCount).toBe(first.pendingCount);
    await next.flush();
    const known = (await suspects()).filter(({ table }) => table === 'known');
    expect(known.map(({ keyspace }) => keyspace)).toEqual(['shop']);
  });

  it('stand for every table that the ledger knows when not even the keyspaces have room', async () => {
    await ledger.setTable('other', 'known', 'loaded', { now: new Date(), by: 'test' });
    isAway = true;
    const first = await open();
    for (let keyspace = 0; keyspace < 700; keyspace++) first.mark(loss({ keyspace: `ks${keyspace}` }));
    isAway = false;
    const next = await open();
    await next.flush();
    expect(next.pendingCount).toBe(0);
    expect((await suspects()).some(({ keyspace, table }) => keyspace === 'other' && table === 'known')).toBe(true);
  });

  it('are in memory where the disk takes nothing', async () => {
    rmSync(directory, { recursive: true });
    mkdirSync(join(directory, 'marks.bits'), { recursive: true });
    const marks = await open();
    marks.mark(loss({ tokens: [42n] }));
    await marks.flush();
    expect(await suspects()).toMatchObject([{ tokens: ['42'] }]);
  });

  it('of the same place go to the ledger again with their later time', async () => {
    const marks = await open();
    marks.mark(loss({ tokens: [42n] }));
    await marks.flush();
    const [first] = await suspects();
    await vi.waitUntil(() => Date.now() > Date.parse(first!.at));
    marks.mark(loss({ tokens: [42n] }));
    expect(marks.pendingCount).toBe(1);
    await marks.flush();
    const [again] = await suspects();
    expect(again?.id).toBe(first?.id);
    expect(again?.from).toBe(first?.from);
    expect(Date.parse(again!.at)).toBeGreaterThan(Date.parse(first!.at));
  });

  it('open another record when their time is over, and longer ones while marking goes on', async () => {
    vi.useFakeTimers();
    const marks = await open();
    const count = async () => (await suspects()).length;
    marks.mark(loss({ tokens: [1n] }));
    await vi.advanceTimersByTimeAsync(61_000);
    marks.mark(loss({ tokens: [2n] }));
    await vi.advanceTimersByTimeAsync(61_000);
    expect(await count()).toBe(2);
    marks.mark(loss({ tokens: [3n] }));
    await vi.advanceTimersByTimeAsync(1_000);
    expect((await suspects()).map(({ tokens }) => tokens?.join()).sort()).toEqual(['1', '2,3']);
    await vi.advanceTimersByTimeAsync(60_000);
    marks.mark(loss({ tokens: [4n] }));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await count()).toBe(3);
    vi.useRealTimers();
    // What is told and over does not wait for another process.
    expect((await open()).pendingCount).toBe(1);
  });

  it('do not become many while the ledger is away for hours', async () => {
    vi.useFakeTimers();
    isAway = true;
    const marks = await open();
    for (let minute = 0; minute < 180; minute++) {
      marks.mark(loss({ tokens: [BigInt(minute)] }));
      await vi.advanceTimersByTimeAsync(60_000);
    }
    expect(marks.pendingCount).toBeLessThanOrEqual(2);
    isAway = false;
    await vi.advanceTimersByTimeAsync(3_000);
    expect(marks.pendingCount).toBe(0);
    const ranges = (await suspects()).flatMap((mark) => [...rangesOf(mark)]);
    for (let minute = 0; minute < 180; minute++) {
      expect(ranges.some((range) => contains(range, BigInt(minute)))).toBe(true);
    }
  });

  it('say since when the ledger has all of them', async () => {
    vi.useFakeTimers({ now: 1_790_000_000_000 });
    const marks = await open();
    expect(marks.settledAtMs).toBe(Date.now());
    isAway = true;
    marks.mark(loss());
    const markedMs = Date.now();
    await vi.advanceTimersByTimeAsync(60_000);
    marks.mark(loss());
    expect(marks.settledAtMs).toBe(markedMs);
    isAway = false;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(marks.settledAtMs).toBe(Date.now());
  });

  it('of names that no table has are none', async () => {
    const marks = await open();
    marks.mark(loss({ table: 'x'.repeat(300) }));
    marks.mark(loss({ table: 'a/../b' }));
    expect([marks.count, marks.pendingCount]).toEqual([0, 0]);
  });

  it('of TRUNCATE and of definitions tell loads that older snapshots bring back what is gone', async () => {
    await ledger.setTable('shop', 'orders', 'loading', { now: new Date(), by: 'test', runId: 'run-1' });
    await ledger.setTable('shop', 'items', 'loaded', { now: new Date(), by: 'test', runId: 'run-0' });
    const marks = await open();
    marks.mark(loss({ code: 'truncate', reason: 'TRUNCATE', lacking: null }));
    marks.mark(loss({ table: 'items', code: 'definition', reason: 'its definition changed', lacking: null }));
    marks.mark(loss({ table: 'others' }));
    await marks.flush();
    const orders = await ledger.readTable('shop', 'orders');
    expect(orders).toMatchObject({ state: 'suspect', runId: 'run-1', remigrate: { why: 'TRUNCATE', by: 'proxy-1' } });
    expect(orders?.truncatedAt).toBe(orders?.remigrate?.at);
    const items = await ledger.readTable('shop', 'items');
    expect([typeof items?.definedAt, items?.remigrate]).toEqual(['string', undefined]);
    const others = await ledger.readTable('shop', 'others');
    expect([others?.truncatedAt, others?.definedAt]).toEqual([undefined, undefined]);
  });
});
