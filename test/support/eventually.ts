import { vi } from 'vitest';

/**
 * Waits until an assertion holds, for as long as a machine with other work on it may need: how fast something happens is
 * no part of what is tested.
 */
export function eventually<T>(assertion: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(assertion, { timeout: 20_000, interval: 10 });
}
