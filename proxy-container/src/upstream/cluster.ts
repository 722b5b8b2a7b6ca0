import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { ClusterUnreachableError, describeError } from '#core/errors.ts';
import type { Counters } from '../counters.ts';
import type { Flusher } from '../frame-writer.ts';
import type { Credentials, SessionIdentity } from './handshake.ts';
import { type UpstreamAddress, UpstreamConnection } from './upstream-connection.ts';
import { UpstreamPool } from './upstream-pool.ts';

interface Node {
  readonly host: string;
  failures: number;
  /** Not tried before this time unless all others failed too; milliseconds of performance.now(). */
  retryAtMs: number;
}

const NODE_BACKOFF_MS = 500;
const MAX_NODE_BACKOFF_MS = 10_000;
const IDLE_SWEEP_MS = 30_000;

export type ClusterName = 'origin' | 'target';

/** One of the two clusters as the proxy's data path sees it: its nodes and its pools. */
export class Cluster {
  readonly name: ClusterName;
  readonly config: ResolvedCluster;
  readonly counters: Counters;
  readonly #flusher: Flusher;
  readonly #tls: UpstreamAddress['tls'];
  readonly #pools = new Map<string, UpstreamPool>();
  readonly #sweeper: NodeJS.Timeout;
  #nodes: Node[];
  #nextNode = 0;

  constructor(name: ClusterName, config: ResolvedCluster, flusher: Flusher, counters: Counters) {
    this.name = name;
    this.config = config;
    this.#flusher = flusher;
    this.counters = counters;
    this.#nodes = config.contactPoints.map((host) => ({ host, failures: 0, retryAtMs: 0 }));
    this.#tls = config.tls.enabled ? tlsOf(config) : undefined;
    this.#sweeper = setInterval(() => this.#closeIdlePools(), IDLE_SWEEP_MS);
    this.#sweeper.unref();
  }

  /** Node addresses that were discovered; contact points stay. */
  setDiscovered(hosts: readonly string[]): void {
    const known = new Set(this.#nodes.map((node) => node.host));
    for (const host of hosts) if (!known.has(host)) this.#nodes.push({ host, failures: 0, retryAtMs: 0 });
  }

  get hosts(): readonly string[] {
    return this.#nodes.map((node) => node.host);
  }

  /** Whether a connection was made lately or is there now. */
  get connectionCount(): number {
    let count = 0;
    for (const pool of this.#pools.values()) count += pool.connections.length;
    return count;
  }

  get inFlightCount(): number {
    let count = 0;
    for (const pool of this.#pools.values())
      for (const connection of pool.connections) count += connection.inFlightCount;
    return count;
  }

  /**
   * Connects to a node: in turn, those that failed lately last, and never to the one that is excepted.
   * @throws ClusterUnreachableError naming every node that was tried
   */
  async connect(version: number, exceptHost?: string): Promise<UpstreamConnection> {
    const nowMs = performance.now();
    const start = this.#nextNode++;
    const inTurn = this.#nodes.map((_, index) => this.#nodes[(start + index) % this.#nodes.length]!);
    const order = [
      ...inTurn.filter((node) => node.retryAtMs <= nowMs),
      ...inTurn.filter((node) => node.retryAtMs > nowMs),
    ];
    const faults: string[] = [];
    for (const node of order) {
      if (node.host === exceptHost) continue;
      try {
        const connection = await this.connectTo(node.host, version);
        node.failures = 0;
        node.retryAtMs = 0;
        return connection;
      } catch (error) {
        node.retryAtMs =
          performance.now() + Math.min(MAX_NODE_BACKOFF_MS, NODE_BACKOFF_MS * 2 ** Math.min(node.failures++, 10));
        faults.push(describeError(error));
      }
    }
    throw new ClusterUnreachableError(`the ${this.name} is not reachable: ${faults.join('; ')}`, {
      context: { cluster: this.name },
    });
  }

  /** Connects to one node. @throws ClusterUnreachableError */
  connectTo(host: string, version: number): Promise<UpstreamConnection> {
    const { port, connectTimeoutMs } = this.config;
    const tls = this.#tls ? { tls: this.#tls } : {};
    return UpstreamConnection.open({ host, port, connectTimeoutMs, ...tls }, version, this.#flusher).catch((error) => {
      if (this.name === 'origin') this.counters.failedConnectionsOrigin++;
      else this.counters.failedConnectionsTarget++;
      throw error;
    });
  }

  /** The pool for sessions of this identity; made when there is none. */
  pool(identity: SessionIdentity): UpstreamPool {
    const key = keyOf(identity);
    let pool = this.#pools.get(key);
    if (!pool) {
      pool = new UpstreamPool({
        identity,
        maxConnections: this.config.connectionsPerHost * this.#nodes.length,
        handshakeTimeoutMs: this.config.connectTimeoutMs,
        connect: (exceptHost) => this.connect(identity.version, exceptHost),
      });
      this.#pools.set(key, pool);
    }
    return pool;
  }

  /** Gives up a pool that nobody uses and whose keyspace or login the cluster refused; who waits for it is told so. */
  discard(pool: UpstreamPool, refusal: unknown): void {
    if (pool.userCount > 0 || pool.connections.length > 0) return;
    const key = keyOf(pool.identity);
    if (this.#pools.get(key) === pool) this.#pools.delete(key);
    pool.close(refusal);
  }

  close(): void {
    clearInterval(this.#sweeper);
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  #closeIdlePools(): void {
    for (const [key, pool] of this.#pools) {
      const isBusy = pool.userCount > 0 || pool.connections.some((connection) => connection.inFlightCount > 0);
      if (isBusy) continue;
      this.#pools.delete(key);
      pool.close();
    }
  }
}

function keyOf(identity: SessionIdentity): string {
  const startup = [...identity.startup].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([identity.version, identity.keyspace ?? null, hashOf(identity.credentials), startup]);
}

/** Passwords are not kept as map keys. */
function hashOf(credentials: Credentials | undefined): string | null {
  if (!credentials) return null;
  return createHash('sha256')
    .update(JSON.stringify([credentials.username, credentials.password]))
    .digest('base64');
}

function tlsOf(config: ResolvedCluster): NonNullable<UpstreamAddress['tls']> {
  const { caFile, certFile, keyFile, verifyHostname } = config.tls;
  return {
    verifyHostname,
    context: createSecureContext({
      ...(caFile ? { ca: readFileSync(caFile) } : {}),
      ...(certFile ? { cert: readFileSync(certFile) } : {}),
      ...(keyFile ? { key: readFileSync(keyFile) } : {}),
    }),
  };
}
