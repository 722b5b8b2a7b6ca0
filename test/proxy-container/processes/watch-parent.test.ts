import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { watchParent } from '../../../proxy-container/src/processes/watch-parent.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('the end of a launcher that was killed is noticed once', () => {
  let parent = 4711;
  const onGone = vi.fn();
  watchParent({ RINGSHIFT_PARENT: '4711' }, () => parent, onGone);
  vi.advanceTimersByTime(10_000);
  expect(onGone).not.toHaveBeenCalled();
  parent = 1;
  vi.advanceTimersByTime(10_000);
  expect(onGone).toHaveBeenCalledTimes(1);
});

test('a proxy that was started directly has nobody to watch', () => {
  const onGone = vi.fn();
  watchParent({}, () => 1, onGone);
  expect(vi.getTimerCount()).toBe(0);
});

test('processes that the proxy starts do not take its launcher for their parent', () => {
  const env: Record<string, string | undefined> = { RINGSHIFT_PARENT: '4711', HOME: '/' };
  watchParent(
    env,
    () => 4711,
    () => undefined,
  );
  expect(env).toEqual({ HOME: '/' });
});
