import { ClusterUnreachableError } from '#core/errors.ts';
import { type Connection, type ConnectionOptions, openConnection } from './connection.ts';
import { type NodeName, nameNode } from './connection-errors.ts';

/** Requests on one connection before another one is opened beside it. */
const BUSY_IN_FLIGHT = 64;
const MIN_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;

/** Connections to one node: opened when needed, at most `size`, and again after a failure. */
export class NodePool {
  readonly #options: ConnectionOptions;
  readonly #size: number;
  #connections: Connection[] = [];
  #opening: Promise<Connection> | undefined;
  #downUntilMillis = 0;
  #backoffMs = MIN_BACKOFF_MS;
  #isClosed = false;

  constructor(options: ConnectionOptions, size: number, first?: Connection) {
    this.#options = options;
    this.#size = size;
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
   * @param onSent called when a connection is there; what fails before has certainly not been applied
   * @throws ClusterUnreachableError, RequestTimeoutError, AuthenticationFailedError
   */
  async request(opcode: number, body: Buffer, onSent: () => void): Promise<{ frame: Buffer; node: NodeName }> {
    const connection = await this.#connection();
    onSent();
    return { frame: await connection.request(opcode, body), node: connection.node };
  }

  close(): void {
    this.#isClosed = true;
    for (const connection of this.#connections) connection.close();
    this.#connections = [];
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
    if (best.inFlight >= BUSY_IN_FLIGHT && this.#connections.length < this.#size) {
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
