import { expect, test } from 'vitest';
import { AdaptiveLimit } from '#core/jobs/adaptive-limit.ts';

test('a stall that fails all requests in flight halves the limit once', () => {
  const limit = new AdaptiveLimit(128, 128, 1 << 20);
  const rounds = Array.from({ length: 128 }, () => limit.round);
  for (const round of rounds) limit.overloaded(round);
  expect(limit.limit).toBe(64);
});

test('what is sent after a halving and fails halves again, down to one', () => {
  const limit = new AdaptiveLimit(16, 128, 1 << 20);
  const limits = Array.from({ length: 6 }, () => {
    limit.overloaded(limit.round);
    return limit.limit;
  });
  expect(limits).toEqual([8, 4, 2, 1, 1, 1]);
});

test('a round without trouble adds one, up to the most', () => {
  const limit = new AdaptiveLimit(2, 3, 1 << 20);
  limit.succeeded();
  expect(limit.limit).toBe(2);
  for (let answer = 0; answer < 20; answer++) limit.succeeded();
  expect(limit.limit).toBe(3);
});
