import { AuthenticationFailedError, MigrationError } from '#core/errors.ts';
import { openSession, type SessionIdentity } from './handshake.ts';
import { PoolWaiters, within } from './pool-waiters.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

/** A further connection is opened when the least busy one has this many requests in flight. */
const GROW_AT = 192;
/** Nodes of a large cluster that one pool keeps connections to. */
const MAX_NODES = 16;
/** What is under way on a connection to a node that is no more may take so long. */
const RETIRE_MS = 30_000;
const RETIRE_POLL_MS = 250;
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;

export interface PoolOptions {
  readonly identity: SessionIdentity;
  readonly maxConnections: () => number;
  readonly handshakeTimeoutMs: number;
  /** Connects to the next node that is worth trying, one with few connections if it can be. */
  readonly connect: (exceptHost?: string, connectionsOf?: (host: string) => number) => Promise<UpstreamConnection>;
  /** Connects to this node and takes the connection to where it can carry requests. */
  readonly openTo: (host: string) => Promise<UpstreamConnection>;
  /** A node took the connection and could not serve it. */
  readonly noteFailure: (host: string) => void;
  /** A node that is worth trying and not among those. */
  readonly uncovered: (covered: ReadonlySet<string>) => string | undefined;
}

/**
 * A few multiplexed connections to one cluster, shared by all clients of the same identity (user, keyspace, protocol
 * version, STARTUP options): one to each node, so that all of them take their share, and more where those are busy.
 * Reconnects with back-off for as long as somebody uses it.
 */
export class UpstreamPool {
  readonly identity: SessionIdentity;
  readonly #options: PoolOptions;
  readonly #connections: UpstreamConnection[] = [];
  readonly #waiters = new PoolWaiters();
  /** Connections being opened to another node than the one named. */
  readonly #elsewhere = new Map<string, Promise<UpstreamConnection>>();
  #openingCount = 0;
  #failures = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #users = 0;
  /** Where the search for the least busy connection begins, so that equally busy ones take turns. */
  #turn = 0;
  #isSpreading = false;
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

  /** What the last attempt to connect threw; undefined: it did not fail. */
  get lastError(): unknown {
    return this.#lastError;
  }

  addUser(): void {
    this.#users++;
  }

  removeUser(): void {
    this.#users--;
  }

  /** The least busy live connection, or undefined when there is none now. */
  pick(): UpstreamConnection | undefined {
    const connections = this.#connections;
    const count = connections.length;
    let at = this.#turn < count ? this.#turn : 0;
    this.#turn = at + 1;
    let best: UpstreamConnection | undefined;
    for (let left = count; left > 0; left--) {
      const connection = connections[at]!;
      if (best === undefined || connection.inFlightCount < best.inFlightCount) best = connection;
      if (++at === count) at = 0;
    }
    if (
      (best === undefined || best.inFlightCount >= GROW_AT) &&
      this.#openingCount === 0 &&
      this.#retryTimer === undefined &&
      count < this.#options.maxConnections()
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
    // A login that was refused is not accepted by waiting.
    const isRefused = this.#lastError instanceof AuthenticationFailedError && this.#openingCount === 0;
    if ((failFast || isRefused) && this.#lastError !== undefined) return Promise.reject(this.#lastError);
    return this.#waiters.wait(timeoutMs, () => this.#lastError);
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

  /**
   * Takes in a connection whose handshake was done elsewhere (a verified login). False: there is no need of it.
   * @param onLost called when it is gone
   */
  adopt(connection: UpstreamConnection, onLost?: () => void): boolean {
    const connections = this.#connections;
    const isNeeded = !connections.some(
      ({ host, inFlightCount }) => host === connection.host && inFlightCount < GROW_AT,
    );
    if (this.#isClosed || !isNeeded || connections.length >= this.#options.maxConnections()) return false;
    this.#add(connection, onLost);
    return true;
  }

  /** Opens a connection to a node that this pool has none to, one at a time; a pool that nobody uses is left alone. */
  spread(): void {
    const isWanted = this.#users > 0 && this.#connections.length > 0 && this.#openingCount === 0;
    if (!isWanted || this.#isClosed || this.#isSpreading) return;
    const covered = new Set(this.#connections.map(({ host }) => host));
    const host = covered.size >= MAX_NODES ? undefined : this.#options.uncovered(covered);
    if (host !== undefined) void this.#spreadTo(host);
  }

  /** A node is no more: its connections take no further requests, and close when those under way have ended. */
  retire(host: string): void {
    for (const connection of this.#connections.filter((one) => one.host === host)) {
      this.#remove(connection);
      connection.onClosed = undefined;
      closeWhenIdle(connection);
    }
  }

  close(reason: unknown = new Error('the pool is closed')): void {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    for (const connection of [...this.#connections]) connection.close();
    this.#waiters.reject(reason);
  }

  async #open(): Promise<void> {
    this.#openingCount++;
    let connection: UpstreamConnection | undefined;
    try {
      connection = await this.#options.connect(undefined, (host) => this.#connectionsTo(host));
      await openSession(connection, this.identity, this.#options.handshakeTimeoutMs);
      this.#failures = 0;
      this.#lastError = undefined;
      if (this.#isClosed) connection.close();
      else this.#add(connection);
    } catch (error) {
      connection?.close();
      if (connection && error instanceof MigrationError && error.retryable) this.#options.noteFailure(connection.host);
      this.#lastError = error;
      this.#failures++;
      this.#waiters.reject(error);
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

  async #spreadTo(host: string): Promise<void> {
    this.#isSpreading = true;
    try {
      const connection = await this.#options.openTo(host);
      if (this.#isClosed) connection.close();
      else this.#add(connection);
    } catch {
      // The other nodes carry on; this one is tried again when its time has come.
      return;
    } finally {
      this.#isSpreading = false;
    }
    this.spread();
  }

  #connectionsTo(host: string): number {
    let count = 0;
    for (const connection of this.#connections) if (connection.host === host) count++;
    return count;
  }

  #remove(connection: UpstreamConnection): void {
    const index = this.#connections.indexOf(connection);
    if (index >= 0) this.#connections.splice(index, 1);
    if (this.#connections.length === 0) this.#retryLater();
  }

  #add(connection: UpstreamConnection, onLost?: () => void): void {
    if (connection.isClosed) {
      this.#retryLater();
      onLost?.();
      return;
    }
    this.#connections.push(connection);
    connection.onClosed = () => {
      this.#remove(connection);
      onLost?.();
    };
    this.#waiters.resolve(connection);
  }

  #retryLater(): void {
    if (this.#isClosed || this.#retryTimer !== undefined) return;
    const delayMs = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(this.#failures, 10));
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      const isWanted = this.#users > 0 || this.#waiters.areThere;
      if (!this.#isClosed && isWanted && this.#connections.length === 0) void this.#open();
    }, delayMs).unref();
  }
}

function closeWhenIdle(connection: UpstreamConnection): void {
  const deadlineMs = performance.now() + RETIRE_MS;
  const timer = setInterval(() => {
    if (connection.inFlightCount > 0 && performance.now() < deadlineMs) return;
    clearInterval(timer);
    connection.close();
  }, RETIRE_POLL_MS);
  timer.unref();
}
