import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { decodeBigint, decodeText, encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { ClusterUnreachableError, RequestTimeoutError, ServerError } from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES, parseFilterRules } from '#core/filter/filter-rules.ts';
import { repairPartitions } from '#core/jobs/repair-partitions.ts';
import { type ReplayOptions, type ReplayPorts, replayMessages } from '#core/jobs/replay.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { type CopyMessage, decodeMessage, encodeMessage } from '#core/model/message.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';
import { MemoryCluster } from '../../support/memory-cluster.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { CLOSED_BREAKER, delivered, messageOf } from '../../support/messages.ts';

const NOW = 1_800_000_000;
const text = { kind: 'native', name: 'text' } as const;
const schema: TableSchema = {
  keyspace: 'ks',
  table: 't',
  partitionKey: [{ name: 'k', type: text }],
  clustering: [{ name: 'c', type: { kind: 'native', name: 'int' }, reversed: false }],
  staticColumns: [],
  regularColumns: [{ name: 'v', type: text }],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
};

let origin: MemoryCluster;
let target: MemoryCluster;
let nowMillis: number;
let ports: ReplayPorts;
const options: ReplayOptions = {
  copy: {
    filter: createFilter(NO_FILTER_RULES),
    settleMs: 1000,
    originConsistency: Consistency.LOCAL_QUORUM,
    targetConsistency: Consistency.LOCAL_QUORUM,
    originWriteConsistency: Consistency.LOCAL_QUORUM,
    targetWriteConsistency: Consistency.LOCAL_QUORUM,
  },
};

beforeEach(() => {
  origin = new MemoryCluster(schema);
  target = new MemoryCluster(schema);
  nowMillis = NOW * 1000;
  ports = {
    openSession: async (cluster) => (cluster === 'origin' ? origin : target),
    breaker: CLOSED_BREAKER,
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => nowMillis },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async (ms) => {
      nowMillis += ms;
    },
  };
});

const micros = (secondsAgo: number): bigint => BigInt(NOW - secondsAgo) * 1_000_000n;
const tokenOfKey = (key: string): bigint => tokenOf(encodeText(key));

function put(cluster: MemoryCluster, key: string, v: string, secondsAgo: number, c = 0): void {
  const values = [encodeText(key), encodeInt(c), encodeText(v)];
  cluster.apply('INSERT INTO ks.t (k, c, v) VALUES (?, ?, ?)', values, { timestampMicros: micros(secondsAgo) });
}

function copyOf(keys: readonly string[], change: Partial<CopyMessage> = {}): string {
  return encodeMessage({
    kind: 'copy',
    id: 'c1',
    keyspace: 'ks',
    table: 't',
    tokens: keys.map(tokenOfKey),
    lacking: 'target',
    code: 'unknown-outcome',
    attempts: 1,
    enqueuedAt: new Date(NOW * 1000).toISOString(),
    instance: 'p1',
    ...change,
  });
}

const replay = async (body: string, change: Partial<ReplayOptions> = {}) =>
  (await replayMessages([delivered(body)], ports, { ...options, ...change }))[0]!;

test('only the places that are named are read and made the same', async () => {
  for (const key of ['a', 'b', 'c']) put(origin, key, key, 60);
  const read: bigint[] = [];
  const { query } = origin;
  origin.query = async (request, values = [], ...others) => {
    if (request === origin.table.scanText) {
      const [start, end] = values.map((value) => decodeBigint(value as Uint8Array));
      expect(end! - start!).toBe(1n);
      read.push(end!);
    }
    return query.call(origin, request, values, ...others);
  };
  const outcome = await replay(copyOf(['a', 'b'], { tokens: [MIN_TOKEN, tokenOfKey('a'), tokenOfKey('b')] }));
  expect(outcome).toMatchObject({ remove: true, resend: [], bury: [], counts: { copied: 3 } });
  expect(read.sort()).toEqual([tokenOfKey('a'), tokenOfKey('b')].sort());
  const rowsOf = async (key: string) => (await target.query(target.table.partitionText, [encodeText(key)])).rows.length;
  expect([await rowsOf('a'), await rowsOf('b'), await rowsOf('c')]).toEqual([1, 1, 0]);
});

test('places that are the same cost one query of each cluster, and only wide ones are looked up by their keys', async () => {
  for (const cluster of [origin, target]) {
    for (const key of ['a', 'b', 'c']) put(cluster, key, 'x', 60);
    for (let c = 0; c < 250; c++) put(cluster, 'wide', 'x', 60, c);
  }
  let asked: string[] = [];
  for (const cluster of [origin, target]) {
    cluster.onRequest = (request) => {
      if (!request.includes('system')) asked.push(request);
    };
  }
  expect((await replay(copyOf(['a', 'b', 'c', 'gone']))).counts.copied).toBe(4);
  expect(asked).toHaveLength(8);
  asked = [];
  put(origin, 'wide', 'y', 50, 249);
  expect((await replay(copyOf(['wide']))).counts.copied).toBe(1);
  expect(asked.filter((one) => one.startsWith('SELECT DISTINCT'))).toHaveLength(2);
  expect(target.contents()).toEqual(origin.contents());
});

test('what was written hours ahead of the clock is copied at its own time, and no such cell is deleted', async () => {
  put(origin, 'a', 'ahead', -7200);
  put(target, 'b', 'not there', -7200);
  const outcome = await replay(copyOf(['a', 'b']));
  expect(outcome.resend).toHaveLength(1);
  const rowOf = async (cluster: MemoryCluster, key: string) =>
    (await cluster.query(cluster.table.partitionText, [encodeText(key)])).rows;
  expect(await rowOf(target, 'a')).toEqual(await rowOf(origin, 'a'));
  expect(await rowOf(target, 'a')).toHaveLength(1);
  expect(await rowOf(target, 'b')).toHaveLength(1);
});

test('of several partitions with one token all are made the same', async () => {
  for (const key of ['a', 'b', 'c']) put(origin, key, key, 60);
  put(target, 'b', 'b', 60);
  put(target, 'd', 'stray', 60);
  for (const cluster of [origin, target]) {
    const { query } = cluster;
    // As if all keys had the token that is asked for.
    cluster.query = (request, values = [], ...others) => {
      const isScan = request === cluster.table.scanText;
      return query.call(cluster, request, isScan ? [MIN_TOKEN, MAX_TOKEN].map(encodeBigint) : values, ...others);
    };
  }
  expect((await replay(copyOf(['a']))).counts).toMatchObject({ copied: 1, refused: 0 });
  expect(target.contents()).toEqual(origin.contents());
});

test('what differs in one of two readings only is a write on its way, and is left alone', async () => {
  put(origin, 'a', 'missed', 60);
  // Its time is the client's own, long ago: nothing but a second reading tells that it is on its way.
  const arrivals = [() => put(target, 'a', 'x', 50, 1), () => put(origin, 'a', 'x', 50, 1)];
  const { sleep } = ports;
  ports = {
    ...ports,
    sleep: async (ms) => {
      arrivals.shift()?.();
      await sleep(ms);
    },
  };
  expect((await replay(copyOf(['a']))).counts.copied).toBe(1);
  expect(arrivals).toEqual([]);
  expect(target.written.filter((one) => one.startsWith('DELETE'))).toEqual([]);
  expect(target.contents()).toEqual(origin.contents());
});

test('what is begun when the time is over is ended, and the rest comes again as a smaller message', async () => {
  const keys = Array.from({ length: 450 }, (_, index) => `k${index}`);
  for (const key of keys) put(origin, key, 'x', 60);
  origin.onRequest = () => {
    nowMillis += 5;
  };
  const { counts, ...outcome } = await replay(copyOf(keys), { deadlineMillis: nowMillis + 500 });
  expect(outcome).toMatchObject({ remove: true, bury: [], targetAnswered: true });
  expect(counts).toMatchObject({ refused: 0, dead: 0 });
  expect(counts.copied).toBeGreaterThan(0);
  expect(counts.away).toBeGreaterThan(0);
  expect(counts.copied + counts.away).toBe(450);
  const again = decodeMessage(outcome.resend[0]!.body) as CopyMessage;
  expect(again).toMatchObject({ kind: 'copy', attempts: 1 });
  const left = new Set(again.tokens);
  expect(keys.filter((key) => !left.has(tokenOfKey(key)))).toHaveLength(counts.copied);
  expect((target.contents() as unknown[]).length).toBe(counts.copied);
  expect(await ports.ledger.listSuspects()).toEqual([]);
});

test('thousands of places end within calls that each have less time than the message takes', async () => {
  const keys = Array.from({ length: 300 }, (_, index) => `k${index}`);
  for (const key of keys) put(origin, key, 'x', 60);
  origin.onRequest = () => {
    nowMillis += 5;
  };
  let body: string | undefined = copyOf(keys, { code: 'crash-window' });
  let calls = 0;
  for (; body !== undefined && calls < 20; calls++) {
    // As the platform does: told to begin nothing more first, and to stop soon after.
    const stop = new AbortController();
    const [deadlineMillis, endMillis] = [nowMillis + 15_500, nowMillis + 17_000];
    target.onRequest = () => {
      if (nowMillis >= endMillis) stop.abort(new Error('the time is over'));
    };
    const [outcome] = await replayMessages([delivered(body)], ports, { ...options, deadlineMillis }, stop.signal);
    expect(outcome!.counts.copied).toBeGreaterThan(0);
    body = outcome!.resend[0]?.body;
  }
  expect(calls).toBeGreaterThan(1);
  expect(body).toBeUndefined();
  expect(target.contents()).toEqual(origin.contents());
});

test('a place that is never answered keeps no other one from its end', async () => {
  const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
  for (const key of keys) put(origin, key, 'x', 60);
  let isHanging = false;
  const { query } = origin;
  origin.query = async (request, values = [], ...others) => {
    isHanging = request === origin.table.partitionText && decodeText(values[0] as Uint8Array) === 'k7';
    if (isHanging) throw new RequestTimeoutError('no answer');
    return query.call(origin, request, values, ...others);
  };
  const outcome = await replay(copyOf(keys));
  expect(outcome).toMatchObject({ remove: true, counts: { copied: 39, away: 1 }, reason: 'no answer' });
  expect(decodeMessage(outcome.resend[0]!.body)).toMatchObject({ tokens: [tokenOfKey('k7')], attempts: 1 });
});

test('a cluster that falls silent is not asked for every place', async () => {
  const keys = Array.from({ length: 300 }, (_, index) => `k${index}`);
  let asked = 0;
  origin.onRequest = (request) => {
    if (request.includes('system')) return;
    asked++;
    throw new RequestTimeoutError('no answer');
  };
  expect(await replay(copyOf(keys))).toMatchObject({ remove: false, resend: [], counts: { away: 300 } });
  expect(asked).toBeLessThan(50);
});

test('places of several crashes wait once for the writes that may be under way', async () => {
  // Those who sleep at the same time wake at the same time.
  ports = {
    ...ports,
    sleep: async (ms) => {
      const until = nowMillis + ms;
      await new Promise(setImmediate);
      nowMillis = Math.max(nowMillis, until);
    },
  };
  const bodies = ['a', 'b', 'c', 'd', 'e', 'f'].map((key, index) =>
    copyOf([key], {
      id: `c${index}`,
      code: 'crash-window',
      enqueuedAt: new Date(NOW * 1000 - 60_000 + index * 1000).toISOString(),
    }),
  );
  const outcomes = await replayMessages(
    bodies.map((body, index) => delivered(body, `m${index}`)),
    ports,
    options,
  );
  expect(outcomes.every(({ counts }) => counts.copied === 1)).toBe(true);
  const waitedMs = nowMillis - NOW * 1000;
  expect(waitedMs).toBeGreaterThanOrEqual(15_000);
  expect(waitedMs).toBeLessThan(2 * 15_000);
});

test('a partition that differs in more rows than one round holds becomes the same all the same', async () => {
  for (let c = 0; c < 300; c++) put(origin, 'wide', 'x', 60, c);
  const results = await repairPartitions(
    origin.table,
    [[encodeText('wide')]],
    { origin, target, clock: ports.clock, sleep: ports.sleep },
    { ...options.copy, authority: 'origin', compareWriteTime: true, readsTwice: true, maxRows: 40 },
  );
  expect(results).toEqual([{ isSame: true, statements: 300 }]);
  expect(target.contents()).toEqual(origin.contents());
});

test('a cluster that is away keeps the message, and the breaker hears of it', async () => {
  const heard: string[] = [];
  const noteAway = async (cluster: string) => void heard.push(cluster);
  ports = {
    ...ports,
    breaker: { ...CLOSED_BREAKER, noteAway },
    openSession: async (cluster) => {
      if (cluster === 'target') throw new ClusterUnreachableError('gone');
      return origin;
    },
  };
  expect(await replay(copyOf(['a']))).toMatchObject({ remove: false, resend: [], counts: { away: 1 } });
  expect(heard).toEqual(['target']);
});

test('places that stay different are tried again after longer and longer, and marked in the end', async () => {
  put(origin, 'a', 'x', 60);
  put(origin, 'b', 'x', 60);
  put(target, 'b', 'x', 60);
  target.onRequest = (request) => {
    if (request.startsWith('UPDATE')) throw new ServerError("no '(secret)'", 0x2200, false);
  };
  const first = await replay(copyOf(['a', 'b']));
  // The one that is the same has nothing to do with it.
  expect(first).toMatchObject({ remove: true, counts: { refused: 1, copied: 1 }, reason: "no '…'" });
  expect(first.resend[0]!.delaySeconds).toBe(60);
  const again = decodeMessage(first.resend[0]!.body);
  expect(again).toMatchObject({ attempts: 2, tokens: [tokenOfKey('a')] });
  const last = await replay(copyOf(['a'], { attempts: 3 }));
  expect(last).toMatchObject({ remove: true, resend: [], bury: [], counts: { dead: 1, refused: 0 } });
  const tokens = [String(tokenOfKey('a'))];
  expect(await ports.ledger.listSuspects()).toMatchObject([
    { table: 't', tokens, lacking: 'target', code: 'unknown-outcome' },
  ]);
  expect(await ports.ledger.readTable('ks', 't')).toMatchObject({ state: 'suspect' });
});

test('what the filter keeps on the origin is not copied', async () => {
  put(origin, 'a', 'x', 60);
  const filter = createFilter(parseFilterRules('{"tables": {"exclude": ["ks.t"]}}', 'rules'));
  const outcome = await replay(copyOf(['a']), { copy: { ...options.copy, filter } });
  expect(outcome).toMatchObject({ remove: true, resend: [], counts: { copied: 1 } });
  expect(target.contents()).toEqual([]);
});

function failedWrite(key: string, v: string, secondsAgo: number): FailedWrite {
  return {
    id: `${key}-${v}`,
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table: 't', tokens: [tokenOfKey(key)] }],
    consistency: 6,
    timestampMicros: micros(secondsAgo),
    writtenAtSeconds: NOW - secondsAgo,
    expiresAtSeconds: null,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [
      { text: 'INSERT INTO t (k, c, v) VALUES (?, ?, ?)', values: [encodeText(key), encodeInt(0), encodeText(v)] },
    ],
    idempotent: true,
    attempts: 1,
  };
}

const inAnyOrder = (all: readonly number[]) =>
  fc.array(fc.nat(), { minLength: all.length, maxLength: all.length }).map((keys) =>
    all
      .map((one, at) => ({ one, key: keys[at]! }))
      .sort((a, b) => a.key - b.key)
      .map(({ one }) => one),
  );

test('a deletion that was lost in a crash is not undone by an older write that is replayed after its place was compared', async () => {
  await fc.assert(
    fc.asyncProperty(inAnyOrder([0, 1, 2, 0, 1, 2]), async (order) => {
      origin = new MemoryCluster(schema);
      target = new MemoryCluster(schema);
      const store = createMemoryLedgerStore();
      nowMillis = NOW * 1000;
      ports = { ...ports, ledger: createLedger(store) };
      // A failed write, a deletion of which only the place is known, and a failed write after the crash.
      put(origin, 'a', 'older', 60);
      const key = [encodeText('a'), encodeInt(0)];
      origin.apply('DELETE FROM ks.t WHERE k = ? AND c = ?', key, { timestampMicros: micros(50) });
      put(origin, 'b', 'newer', -5);
      const bodies = [
        messageOf(failedWrite('a', 'older', 60)),
        copyOf(['a'], { code: 'crash-window' }),
        messageOf(failedWrite('b', 'newer', -5)),
      ];
      let waiting = order.map((index) => bodies[index]!);
      for (let round = 0; waiting.length > 0 && round < 20; round++) {
        const next: string[] = [];
        for (const body of waiting) next.push(...(await replay(body)).resend.map((one) => one.body));
        waiting = next;
      }
      expect(waiting).toEqual([]);
      expect(target.contents()).toEqual(origin.contents());
      // The newer one is applied as it is.
      expect(target.written.some((one) => one.startsWith('INSERT'))).toBe(true);
    }),
    { numRuns: 60 },
  );
});
