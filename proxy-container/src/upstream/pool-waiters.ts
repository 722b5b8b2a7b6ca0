import { ClusterUnreachableError } from '#core/errors.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

interface Waiter {
  resolve(connection: UpstreamConnection): void;
  reject(error: unknown): void;
  readonly timer: NodeJS.Timeout;
}

/** Those who wait for a connection of a pool, each for so long. */
export class PoolWaiters {
  readonly #waiters = new Set<Waiter>();

  get areThere(): boolean {
    return this.#waiters.size > 0;
  }

  /** @throws what `reasonOf` gives, or an Error, when the time is over */
  wait(timeoutMs: number, reasonOf: () => unknown): Promise<UpstreamConnection> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        timer: setTimeout(() => {
          this.#waiters.delete(waiter);
          reject(reasonOf() ?? new Error(`no connection within ${timeoutMs} ms`));
        }, timeoutMs),
      };
      this.#waiters.add(waiter);
    });
  }

  /** Gives the same connection to all of them. */
  resolve(connection: UpstreamConnection): void {
    for (const waiter of this.#takeAll()) waiter.resolve(connection);
  }

  reject(error: unknown): void {
    for (const waiter of this.#takeAll()) waiter.reject(error);
  }

  #takeAll(): Waiter[] {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { timer } of waiters) clearTimeout(timer);
    return waiters;
  }
}

/** Who waits gives up; what is being opened serves the next one. @throws ClusterUnreachableError when the time is over */
export async function within<T>(pending: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = (): void => reject(new ClusterUnreachableError(`no connection within ${Math.round(timeoutMs)} ms`));
    timer = setTimeout(fail, timeoutMs);
  });
  try {
    return await Promise.race([pending, late]);
  } finally {
    clearTimeout(timer);
  }
}
