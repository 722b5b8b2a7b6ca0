import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { type ClocksOfCluster, ClockWatch } from '../../../proxy-container/src/writes/clock-watch.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { MockCluster } from '../../support/mock-cluster.ts';

/** The time at the zero of `performance.now`. */
const EPOCH_MS = 1_800_000_000_000;

let running: TestProxy | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

/** By node: how far its clock is ahead of the right time; undefined: it fails. */
type Clocks = Record<string, number | 'hangs' | undefined>;

function clusterOf(name: 'origin' | 'target', clocks: Clocks, asked: string[] = []): ClocksOfCluster {
  return {
    cluster: {
      name,
      get hosts() {
        return Object.keys(clocks);
      },
    },
    host: Object.keys(clocks)[0],
    clockOf: async (host) => {
      asked.push(host);
      const skewMs = clocks[host];
      if (skewMs === 'hangs') return new Promise(() => undefined);
      if (skewMs === undefined) throw new Error('away');
      return { epochMs: EPOCH_MS + skewMs, uncertaintyMs: 0 };
    },
  };
}

function watchOf(...controls: ClocksOfCluster[]) {
  /** The machine's own clock, which somebody sets. */
  const own = { aheadMs: 0 };
  const timestamps = new TimestampGenerator(() => EPOCH_MS + own.aheadMs + performance.now());
  const logger = createLogger('test', 'silent');
  return { watch: new ClockWatch({ warnSkewMs: 50, timestamps, logger, controls: () => controls }), timestamps, own };
}

const rounded = (skews: Readonly<Partial<Record<string, number>>>) =>
  Object.fromEntries(Object.entries(skews).map(([name, skewMs]) => [name, Math.round(skewMs!)]));

test('every node is asked: the one that differs most is shown, the fastest one leads, the slowest one is waited for', async () => {
  const { watch, timestamps } = watchOf(
    clusterOf('origin', { a: 1, b: 700, c: -20 }),
    clusterOf('target', { d: -900, e: 10 }),
  );
  await watch.measure();
  expect(rounded(watch.skewMs)).toEqual({ origin: 700, target: -900 });
  expect(timestamps.offsetMicros / 1000).toBeCloseTo(700, 0);
  expect(watch.behindMs('target')).toBeCloseTo(1600, 0);
  expect(watch.behindMs('origin')).toBeCloseTo(720, 0);
});

test('a look waits for one node of each cluster, however slow, and not for the others', async () => {
  const slow = clusterOf('target', { b: 300 });
  const { promise, resolve } = Promise.withResolvers<void>();
  const { watch } = watchOf(clusterOf('origin', { a: 0, c: 'hangs' }), {
    ...slow,
    clockOf: (host) => promise.then(() => slow.clockOf(host)),
  });
  let isOver = false;
  const looked = watch.measure().then(() => {
    isOver = true;
  });
  await sleep(2_500);
  expect(isOver).toBe(false);
  resolve();
  await looked;
  expect(rounded(watch.skewMs)).toEqual({ origin: 0, target: 300 });
});

test('a stop ends a look that waits', async () => {
  const { watch } = watchOf(clusterOf('origin', { a: 'hangs' }));
  const looked = watch.measure();
  await watch.stop();
  await looked;
});

test('of a large cluster some nodes are asked at the start, and then one now and then, until it was the turn of all', async () => {
  const clocks: Clocks = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`n${index}`, 0]));
  const asked: string[] = [];
  const { watch } = watchOf(clusterOf('origin', clocks, asked));
  await watch.measure();
  expect(asked).toHaveLength(9);
  clocks['n11'] = 800;
  for (let look = 0; look < 12; look++) await watch.measure();
  // The node of the control connection each time, and another one in four.
  expect(asked).toHaveLength(9 + 12 + 3);
  expect(new Set(asked).size).toBe(12);
  expect(rounded(watch.skewMs)).toEqual({ origin: 800 });
});

test('what is gone or does not answer says nothing any more', async () => {
  const clocks: Clocks = { a: 0, b: 600, c: 700 };
  const { watch } = watchOf(clusterOf('origin', clocks));
  await watch.measure();
  delete clocks['c'];
  clocks['b'] = undefined;
  for (let look = 0; look < 8; look++) await watch.measure();
  expect(rounded(watch.skewMs)).toEqual({ origin: 0 });
  clocks['a'] = undefined;
  await watch.measure();
  expect(rounded(watch.skewMs)).toEqual({});
});

test('lives are counted by the clocks of the clusters: a wrong one here is told from one wrong node', async () => {
  const one = watchOf(clusterOf('origin', { a: 3, b: 3_600_000 }), clusterOf('target', { d: 20 }));
  await one.watch.measure();
  expect(one.timestamps.clusterEpochMs).toBe(EPOCH_MS + 20);
  const all = watchOf(clusterOf('origin', { a: -3_600_000, b: -3_600_010 }));
  await all.watch.measure();
  expect(all.timestamps.clusterEpochMs).toBe(EPOCH_MS - 3_600_000);
  // Of two that differ, the one that agrees with what was taken for the time until now.
  const two = watchOf(clusterOf('origin', { a: 3_600_000 }), clusterOf('target', { b: 7 }));
  await two.watch.measure();
  expect(two.timestamps.clusterEpochMs).toBe(EPOCH_MS + 7);
});

test('setting the clock of this machine changes nothing of the time of the clusters, whoever has been asked since', async () => {
  const clocks: Clocks = { a: 0, b: 5, c: 10 };
  const { watch, timestamps, own } = watchOf(clusterOf('origin', clocks));
  await watch.measure();
  own.aheadMs = -3_600_000;
  expect(timestamps.clusterEpochMs).toBe(EPOCH_MS + 5);
  expect(rounded(watch.skewMs)).toEqual({ origin: 3_600_010 });
  await watch.measure();
  expect(timestamps.clusterEpochMs).toBe(EPOCH_MS + 5);
  clocks['a'] = 'hangs';
  await watch.measure();
  expect(timestamps.clusterEpochMs).toBe(EPOCH_MS + 5);
});

test('a node that no control connection is with makes the proxy unready when its clock is wrong', async () => {
  const second = new MockCluster();
  second.clockOffsetMs = 5_000;
  running = await startTestProxy({}, { secondOriginNode: second });
  const { adminUrl } = running;
  await eventually(async () => {
    const response = await fetch(`${adminUrl}/health/ready`);
    expect(response.status).toBe(503);
    expect(await response.text()).toMatch(/the clock of the origin differs by [45]\d\d\d ms/);
  });
});
