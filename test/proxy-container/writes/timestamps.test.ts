import { expect, test, vi } from 'vitest';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';

test('after a restart write times go on behind the last one, though the clock was set back meanwhile', () => {
  const before = new TimestampGenerator(() => 1_800_000_000_000);
  before.next();
  const last = before.next();
  expect(before.lastMicros).toBe(last);
  const after = new TimestampGenerator(() => 1_800_000_000_000 - 3_600_000);
  after.seed(last);
  expect(after.next()).toBe(last + 1);
  after.seed(1);
  expect(after.next()).toBe(last + 2);
});

test('a clock that is right is not held back by what was given out before', () => {
  const generator = new TimestampGenerator(() => 1_800_000_000_000);
  generator.seed(1_700_000_000_000_000);
  expect(generator.next()).toBe(1_800_000_000_000_000);
});

test('TTLs count by the time of the clusters, which goes on though the own clock is set', () => {
  const passed = vi.spyOn(performance, 'now').mockReturnValue(50);
  const own = { millis: 1_000_000_500 };
  const timestamps = new TimestampGenerator(() => own.millis);
  expect(timestamps.nowInSeconds()).toBe(1_000_000);
  timestamps.clusterEpochMs = timestamps.ownEpochMs - 60_000;
  expect(timestamps.nowInSeconds()).toBe(999_940);
  own.millis -= 3_600_000;
  expect(timestamps.nowInSeconds()).toBe(999_940);
  expect(timestamps.clusterMillis(performance.now() + 7000) - timestamps.clusterMillis()).toBeCloseTo(7000, -2);
  passed.mockReturnValue(2050.25);
  expect(timestamps.nowInSeconds()).toBe(999_942);
  expect(timestamps.clusterMillis()).toBe(999_942_500);
  passed.mockRestore();
});
