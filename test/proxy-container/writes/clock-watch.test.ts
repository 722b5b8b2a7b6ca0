import { afterEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { type ClocksOfCluster, ClockWatch } from '../../../proxy-container/src/writes/clock-watch.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { MockCluster } from '../../support/mock-cluster.ts';

const NOW_MS = 1_800_000_000_000;

let running: TestProxy | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

/** By node; undefined: it does not answer. */
type Clocks = Record<string, number | undefined>;

function clusterOf(name: 'origin' | 'target', clocks: Clocks, asked: string[] = []): ClocksOfCluster {
  return {
    cluster: {
      name,
      get hosts() {
        return Object.keys(clocks);
      },
    },
    host: Object.keys(clocks)[0],
    clockSkew: async (host) => {
      asked.push(host);
      const skewMs = clocks[host];
      if (skewMs === undefined) throw new Error('away');
      return { middleMs: skewMs, leastMs: skewMs };
    },
  };
}

function watchOf(...controls: ClocksOfCluster[]): { watch: ClockWatch; timestamps: TimestampGenerator } {
  const timestamps = new TimestampGenerator(() => NOW_MS);
  const logger = createLogger('test', 'silent');
  return { watch: new ClockWatch({ warnSkewMs: 50, timestamps, logger, controls: () => controls }), timestamps };
}

test('every node is asked: the one that differs most is shown, the fastest one leads, the slowest one is waited for', async () => {
  const { watch, timestamps } = watchOf(
    clusterOf('origin', { a: 1, b: 700, c: -20 }),
    clusterOf('target', { d: -900, e: 10 }),
  );
  await watch.measure();
  expect(watch.skewMs).toEqual({ origin: 700, target: -900 });
  expect(timestamps.next()).toBe((NOW_MS + 700) * 1000);
  expect(watch.behindMs('target')).toBe(1600);
  expect(watch.behindMs('origin')).toBe(720);
});

test('of a large cluster some nodes are asked each time, and all of them in turn', async () => {
  const clocks: Clocks = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`n${index}`, 0]));
  const asked: string[] = [];
  const { watch } = watchOf(clusterOf('origin', clocks, asked));
  await watch.measure();
  expect(asked.length).toBeLessThan(12);
  clocks['n29'] = 800;
  for (let look = 0; look < 4; look++) await watch.measure();
  expect(new Set(asked).size).toBe(30);
  expect(watch.skewMs).toEqual({ origin: 800 });
});

test('what is gone or does not answer says nothing any more', async () => {
  const clocks: Clocks = { a: 0, b: 600, c: 700 };
  const { watch } = watchOf(clusterOf('origin', clocks));
  await watch.measure();
  delete clocks['c'];
  clocks['b'] = undefined;
  await watch.measure();
  expect(watch.skewMs).toEqual({ origin: 0 });
  clocks['a'] = undefined;
  await watch.measure();
  expect(watch.skewMs).toEqual({});
});

test('lives are counted by the clocks of the clusters: a wrong one here is told from one wrong node', async () => {
  const one = watchOf(clusterOf('origin', { a: 3, b: 3_600_000 }), clusterOf('target', { d: 20 }));
  await one.watch.measure();
  expect(one.timestamps.clusterSkewMs).toBe(3);
  const all = watchOf(clusterOf('origin', { a: -3_600_000, b: -3_600_010 }));
  await all.watch.measure();
  expect(all.timestamps.clusterSkewMs).toBe(-3_600_000);
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
