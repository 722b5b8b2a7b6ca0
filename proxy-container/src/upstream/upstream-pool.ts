import { ClusterUnreachableError, describeError } from '#core/errors.ts';
import { openSession, type SessionIdentity } from './handshake.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

/** A further connection is opened when the least busy one has this many requests in flight. */
const GROW_AT = 192;
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;

export interface PoolOptions {
  readonly identity: SessionIdentity;
  readonly maxConnections: number;
  readonly handshakeTimeoutMs: number;
  /** Connects to the next node that is worth trying. */
  readonly connect: (exceptHost?: string) => Promise<UpstreamConnection>;
}

interface Waiter {
  resolve(connection: UpstreamConnection): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
}

/**
 * A few multiplexed connections to one cluster, shared by all clients of the same identity (user, keyspace, protocol
 * version, STARTUP options). Reconnects with back-off for as long as somebody uses it.
 */
export class UpstreamPool {
  readonly identity: SessionIdentity;
  readonly #options: PoolOptions;
  readonly #connections: UpstreamConnection[] = [];
  readonly #waiters = new Set<Waiter>();
  /** Connections being opened to another node than the one named. */
  readonly #elsewhere = new Map<string, Promise<UpstreamConnection>>();
  #openingCount = 0;
  #failures = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #users = 0;
  #isClosed = false;
  #lastError: unknown;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.identity = options.identity;
  }

  get connections(): readonly UpstreamConnection[] {
    return this.#connections;
  }

  get userCount(): number {
    return this.#users;
  }

  get lastError(): string | undefined {
    return this.#lastError === undefined ? undefined : describeError(this.#lastError);
  }

  addUser(): void {
    this.#users++;
  }

  removeUser(): void {
    this.#users--;
  }

  /** The least busy live connection, or undefined when there is none now. */
  pick(): UpstreamConnection | undefined {
    let best: UpstreamConnection | undefined;
    for (const connection of this.#connections) {
      if (best === undefined || connection.inFlightCount < best.inFlightCount) best = connection;
    }
    if (
      (best === undefined || best.inFlightCount >= GROW_AT) &&
      this.#openingCount === 0 &&
      this.#retryTimer === undefined &&
      this.#connections.length < this.#options.maxConnections
    ) {
      void this.#open();
    }
    return best;
  }

  /**
   * The same, waiting for a connection; with `failFast` only where the last attempt to connect did not fail.
   * @throws what the last attempt to connect threw, after `timeoutMs` or at once when the cluster refused the identity
   */
  acquire(timeoutMs: number, failFast = false): Promise<UpstreamConnection> {
    const connection = this.pick();
    if (connection) return Promise.resolve(connection);
    if (failFast && this.#lastError !== undefined) return Promise.reject(this.#lastError);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        timer: setTimeout(() => {
          this.#waiters.delete(waiter);
          reject(this.#lastError ?? new Error(`no connection within ${timeoutMs} ms`));
        }, timeoutMs),
      };
      this.#waiters.add(waiter);
    });
  }

  /**
   * A connection to another node than this one, opened when there is none yet.
   * @throws ClusterUnreachableError, also after `timeoutMs`, and what the handshake throws
   */
  acquireElsewhere(host: string, timeoutMs: number): Promise<UpstreamConnection> {
    let best: UpstreamConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.host === host) continue;
      if (best === undefined || connection.inFlightCount < best.inFlightCount) best = connection;
    }
    if (best) return Promise.resolve(best);
    let opening = this.#elsewhere.get(host);
    if (!opening) {
      opening = this.#openElsewhere(host).finally(() => this.#elsewhere.delete(host));
      this.#elsewhere.set(host, opening);
    }
    return within(opening, timeoutMs);
  }

  /** Takes in a connection whose handshake was done elsewhere (a verified login). False: there is no room. */
  adopt(connection: UpstreamConnection): boolean {
    if (this.#isClosed || this.#connections.length >= this.#options.maxConnections) return false;
    this.#add(connection);
    return true;
  }

  close(reason: unknown = new Error('the pool is closed')): void {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    for (const connection of [...this.#connections]) connection.close();
    this.#fail(reason);
  }

  async #open(): Promise<void> {
    this.#openingCount++;
    let connection: UpstreamConnection | undefined;
    try {
      connection = await this.#options.connect();
      await openSession(connection, this.identity, this.#options.handshakeTimeoutMs);
      this.#failures = 0;
      this.#lastError = undefined;
      if (this.#isClosed) connection.close();
      else this.#add(connection);
    } catch (error) {
      connection?.close();
      this.#lastError = error;
      this.#failures++;
      this.#fail(error);
      this.#retryLater();
    } finally {
      this.#openingCount--;
    }
  }

  async #openElsewhere(host: string): Promise<UpstreamConnection> {
    const connection = await this.#options.connect(host);
    try {
      await openSession(connection, this.identity, this.#options.handshakeTimeoutMs);
    } catch (error) {
      connection.close();
      throw error;
    }
    // Beyond the usual number, because all of those may be to the one node that can't answer.
    if (this.#isClosed) connection.close();
    else this.#add(connection);
    return connection;
  }

  #add(connection: UpstreamConnection): void {
    if (connection.isClosed) {
      this.#retryLater();
      return;
    }
    this.#connections.push(connection);
    connection.onClosed = () => {
      const index = this.#connections.indexOf(connection);
      if (index >= 0) this.#connections.splice(index, 1);
      if (this.#connections.length === 0) this.#retryLater();
    };
    for (const waiter of this.#waiters) {
      clearTimeout(waiter.timer);
      waiter.resolve(connection);
    }
    this.#waiters.clear();
  }

  #fail(error: unknown): void {
    for (const waiter of this.#waiters) {
      clearTimeout(waiter.timer);
      waiter.reject(error);
    }
    this.#waiters.clear();
  }

  #retryLater(): void {
    if (this.#isClosed || this.#retryTimer !== undefined) return;
    const delayMs = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(this.#failures, 10));
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      const isWanted = this.#users > 0 || this.#waiters.size > 0;
      if (!this.#isClosed && isWanted && this.#connections.length === 0) void this.#open();
    }, delayMs).unref();
  }
}

/** Who waits gives up; what is being opened serves the next one. */
async function within<T>(pending: Promise<T>, timeoutMs: number): Promise<T> {
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
