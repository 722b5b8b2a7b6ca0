import { ClusterUnreachableError } from '#core/errors.ts';
import { type Connection, type ConnectionOptions, openConnection } from './connection.ts';
import { type NodeName, nameNode } from './connection-errors.ts';

/** Requests on one connection before another one is opened beside it. */
const BUSY_IN_FLIGHT = 64;
const MIN_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;

interface PoolBounds {
  /** Connections at most. */
  readonly size: number;
  /** How long a request waits while every connection has as many in flight as it may. */
  readonly maxWaitMs: number;
}

/** Connections to one node: opened when needed, at most `size`, and again after a failure. */
export class NodePool {
  readonly #options: ConnectionOptions;
  readonly #bounds: PoolBounds;
  /** Who waits for room, in the order in which they came. */
  readonly #waiting = new Set<() => void>();
  #connections: Connection[] = [];
  #opening: Promise<Connection> | undefined;
  #downUntilMillis = 0;
  #backoffMs = MIN_BACKOFF_MS;
  #isClosed = false;

  constructor(options: ConnectionOptions, bounds: PoolBounds, first?: Connection) {
    this.#options = options;
    this.#bounds = bounds;
    if (first) this.#connections.push(first);
  }

  get name(): string {
    return nameNode(this.#options.node);
  }

  /** False while the node is left alone after a failure to connect. */
  get isAvailable(): boolean {
    return this.#hasOpen() || performance.now() >= this.#downUntilMillis;
  }

  /**
   * The reply frame of one request.
   * @param onSent called when a connection has room; what fails before has certainly not been applied
   * @throws ClusterUnreachableError, RequestTimeoutError, AuthenticationFailedError
   */
  async request(opcode: number, body: Buffer, onSent: () => void): Promise<{ frame: Buffer; node: NodeName }> {
    const deadline = performance.now() + this.#bounds.maxWaitMs;
    let connection = await this.#connection();
    while (!connection.hasRoom) {
      await this.#turn(deadline - performance.now());
      connection = await this.#connection();
    }
    onSent();
    try {
      return { frame: await connection.request(opcode, body), node: connection.node };
    } finally {
      this.#wakeNext();
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const connection of this.#connections) connection.close();
    this.#connections = [];
    this.#wakeAll();
  }

  /** Resolves when there may be room. @throws ClusterUnreachableError when the time is over */
  #turn(withinMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(wake);
        const { size, maxWaitMs } = this.#bounds;
        const message = `${this.name} has no room for a request within ${maxWaitMs} ms (maxWaitMs) on ${size} connections (connectionsPerHost)`;
        reject(new ClusterUnreachableError(message, { context: { ...this.#options.node } }));
      }, withinMs);
      this.#waiting.add(wake);
    });
  }

  #wakeNext(): void {
    const [next] = this.#waiting;
    next?.();
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #hasOpen(): boolean {
    return this.#connections.some((connection) => connection.isOpen);
  }

  async #connection(): Promise<Connection> {
    this.#connections = this.#connections.filter((connection) => connection.isOpen);
    let best: Connection | undefined;
    for (const connection of this.#connections) {
      if (best === undefined || connection.inFlight < best.inFlight) best = connection;
    }
    if (best === undefined) return this.#open();
    if (best.inFlight >= BUSY_IN_FLIGHT && this.#connections.length < this.#bounds.size) {
      // The extra one is for later requests; this one does not wait for it.
      this.#open().catch(() => undefined);
    }
    return best;
  }

  /** One at a time: whoever comes meanwhile waits for the same one. */
  #open(): Promise<Connection> {
    if (this.#isClosed) return Promise.reject(new ClusterUnreachableError(`the session with ${this.name} is closed`));
    this.#opening ??= openConnection(this.#options)
      .then(
        (connection) => {
          if (this.#isClosed) connection.close();
          this.#connections.push(connection);
          this.#backoffMs = MIN_BACKOFF_MS;
          this.#wakeAll();
          return connection;
        },
        (error: unknown) => {
          this.#downUntilMillis = performance.now() + this.#backoffMs;
          this.#backoffMs = Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS);
          throw error;
        },
      )
      .finally(() => {
        this.#opening = undefined;
      });
    return this.#opening;
  }
}
