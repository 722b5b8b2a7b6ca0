import { createHmac, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { Endpoints } from '#adapters/cql/endpoints.ts';
import type { Reloaded } from '#adapters/watched-files.ts';
import type { Credentials } from '#core/config/access-schema.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { ClusterUnreachableError, describeError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { Flusher } from '../transport/frame-writer.ts';
import { openSession, type SessionIdentity } from './handshake.ts';
import { NodeList } from './node-list.ts';
import { UpstreamConnection } from './upstream-connection.ts';
import { UpstreamPool } from './upstream-pool.ts';
import { WritePermits } from './write-permits.ts';

const IDLE_SWEEP_MS = 30_000;
/** How often pools look for nodes that they have no connection to. */
const SPREAD_MS = 500;
/** Connections and logins under way at a time; others wait. A cluster that comes back is not overrun. */
const MAX_OPENING = 32;
/** Different logins, keyspaces and STARTUP options; above it new ones are refused. */
const MAX_POOLS = 1000;
const MAX_PERMITS = 4096;

/** One of the two clusters as the proxy's data path sees it: its nodes and its pools. */
export class Cluster {
  readonly name: ClusterName;
  readonly config: ResolvedCluster;
  readonly counters: Counters;
  /** Steps of logins under way at a time: each costs the cluster a password hash. */
  readonly limitLogins = pLimit(MAX_OPENING);
  /** Whether the nodes demand a login; undefined while none was asked. */
  demandsLogin: boolean | undefined;
  readonly #flusher: Flusher;
  readonly #endpoints: Endpoints;
  readonly #nodes: NodeList;
  readonly #pools = new Map<string, UpstreamPool>();
  /** Of logins that can't be repeated: each belongs to one client. */
  readonly #dedicated = new Set<UpstreamPool>();
  readonly #permits = new LRUCache<string, WritePermits>({ max: MAX_PERMITS });
  readonly #limitConnects = pLimit(MAX_OPENING);
  readonly #hashKey = randomBytes(32);
  readonly #timers: readonly NodeJS.Timeout[];

  /** @throws PrerequisiteError when a certificate or the bundle can't be read */
  constructor(name: ClusterName, config: ResolvedCluster, flusher: Flusher, counters: Counters) {
    this.name = name;
    this.config = config;
    this.#flusher = flusher;
    this.counters = counters;
    this.#endpoints = new Endpoints(config);
    this.#nodes = new NodeList(config.contactPoints);
    this.#timers = [
      setInterval(() => this.#closeIdlePools(), IDLE_SWEEP_MS),
      setInterval(() => this.#spreadPools(), SPREAD_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  /** Nodes that the cluster names now; contact points stay, and connections to nodes that are no more end. */
  setDiscovered(hosts: readonly string[]): void {
    // Behind a bundle their addresses lead nowhere: its own service tells of them.
    if (!this.#endpoints.isBundle) this.#takeNodes(hosts);
  }

  /** A node says that it is up: it is tried without waiting any longer. */
  noteUp(host: string): void {
    this.#nodes.noteSuccess(host);
  }

  get hosts(): readonly string[] {
    return this.#nodes.hosts;
  }

  /** The data center whose nodes are used. */
  get localDatacenter(): string {
    return this.#endpoints.localDatacenter;
  }

  /** Whether a connection was made lately or is there now. */
  get connectionCount(): number {
    let count = 0;
    for (const pool of this.#allPools()) count += pool.connections.length;
    return count;
  }

  get inFlightCount(): number {
    let count = 0;
    for (const pool of this.#allPools()) for (const connection of pool.connections) count += connection.inFlightCount;
    return count;
  }

  /**
   * Connects to a node: in turn, those that failed lately last, and never to the one that is excepted.
   * @param connectionsOf how many connections there are to a node already; the fewest are preferred
   * @throws ClusterUnreachableError naming every node that was tried
   */
  connect(version: number, exceptHost?: string, connectionsOf?: (host: string) => number): Promise<UpstreamConnection> {
    return this.#limitConnects(() => this.#connect(version, exceptHost, connectionsOf));
  }

  /** Connects to one node. @throws ClusterUnreachableError */
  connectTo(host: string, version: number): Promise<UpstreamConnection> {
    const { connectTimeoutMs } = this.config;
    const address = { ...this.#endpoints.addressOf(host), connectTimeoutMs };
    return UpstreamConnection.open(address, version, this.#flusher).then(
      (connection) => {
        this.#nodes.noteSuccess(host);
        return connection;
      },
      (error: unknown) => {
        this.#nodes.noteFailure(host, performance.now());
        if (this.name === 'origin') this.counters.failedConnectionsOrigin++;
        else this.counters.failedConnectionsTarget++;
        throw error;
      },
    );
  }

  /** The pool for sessions of this identity; made when there is none. */
  pool(identity: SessionIdentity): UpstreamPool {
    const key = this.#keyOf(identity);
    let pool = this.#pools.get(key);
    if (!pool) {
      pool = this.#newPool(identity);
      this.#pools.set(key, pool);
    }
    return pool;
  }

  /** Whether there may be a pool for this identity: their number is bounded. */
  hasRoomFor(identity: SessionIdentity): boolean {
    if (this.#pools.size < MAX_POOLS || this.#pools.has(this.#keyOf(identity))) return true;
    this.#closeIdlePools();
    return this.#pools.size < MAX_POOLS;
  }

  /** A pool of the one connection of a login that can't be repeated; `onLost` is called when it is gone. */
  dedicate(connection: UpstreamConnection, identity: SessionIdentity, onLost: () => void): UpstreamPool {
    const pool = this.refusingPool(identity, 'was lost');
    pool.adopt(connection, () => {
      this.#dedicated.delete(pool);
      pool.close();
      onLost();
    });
    this.#dedicated.add(pool);
    return pool;
  }

  /** A pool that opens no connections, for requests of one client that has one of its own: `what` is why there is none. */
  refusingPool(identity: SessionIdentity, what: string): UpstreamPool {
    const refuse = () => Promise.reject(new ClusterUnreachableError(`the connection to the ${this.name} ${what}`));
    return new UpstreamPool({
      identity,
      maxConnections: () => 1,
      handshakeTimeoutMs: this.config.connectTimeoutMs,
      connect: refuse,
      openTo: refuse,
      noteFailure: () => undefined,
      uncovered: () => undefined,
    });
  }

  /** What the writes of one login have shown of its rights here. */
  permitsOf(credentials: Credentials | undefined): WritePermits {
    const key = this.#hashOf(credentials) ?? '';
    let permits = this.#permits.get(key);
    if (!permits) {
      permits = new WritePermits(credentials !== undefined || this.demandsLogin !== false);
      this.#permits.set(key, permits);
    }
    return permits;
  }

  /** Gives up a pool that nobody uses and whose keyspace or login the cluster refused; who waits for it is told so. */
  discard(pool: UpstreamPool, refusal: unknown): void {
    if (pool.userCount > 0 || pool.connections.length > 0) return;
    const key = this.#keyOf(pool.identity);
    if (this.#pools.get(key) === pool) this.#pools.delete(key);
    pool.close(refusal);
  }

  /** Reads certificates again whenever their files change. */
  watchCertificates(logger: Logger): void {
    this.#endpoints.watch(logger);
  }

  /** Reads them again now, where their files have changed. */
  reloadCertificates(): Reloaded[] {
    return this.#endpoints.reload();
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#endpoints.close();
    for (const pool of this.#allPools()) pool.close();
    this.#pools.clear();
    this.#dedicated.clear();
  }

  async #connect(
    version: number,
    exceptHost?: string,
    connectionsOf?: (host: string) => number,
  ): Promise<UpstreamConnection> {
    const faults: string[] = [];
    await this.#locate(!this.#nodes.hasHope(performance.now()), faults);
    for (const host of this.#nodes.inOrder(performance.now(), connectionsOf)) {
      if (host === exceptHost) continue;
      try {
        return await this.connectTo(host, version);
      } catch (error) {
        faults.push(describeError(error));
      }
    }
    await this.#locate(true, faults);
    throw new ClusterUnreachableError(`the ${this.name} is not reachable: ${faults.join('; ')}`, {
      context: { cluster: this.name },
    });
  }

  async #openTo(host: string, identity: SessionIdentity): Promise<UpstreamConnection> {
    const connection = await this.connectTo(host, identity.version);
    try {
      await openSession(connection, identity, this.config.connectTimeoutMs);
      return connection;
    } catch (error) {
      // It listens and can't serve: it is not asked again at once.
      this.#nodes.noteFailure(host, performance.now());
      connection.close();
      throw error;
    }
  }

  /** Asks the service of a bundle, if there is one, where the nodes are. */
  async #locate(isLost: boolean, faults: string[]): Promise<void> {
    try {
      const hosts = await this.#endpoints.locate(isLost);
      if (hosts) this.#takeNodes(hosts);
    } catch (error) {
      faults.push(describeError(error));
    }
  }

  #takeNodes(hosts: readonly string[]): void {
    for (const gone of this.#nodes.setDiscovered(hosts)) for (const pool of this.#allPools()) pool.retire(gone);
  }

  #newPool(identity: SessionIdentity): UpstreamPool {
    const { version } = identity;
    return new UpstreamPool({
      identity,
      maxConnections: () => this.config.connectionsPerHost * this.#nodes.count,
      handshakeTimeoutMs: this.config.connectTimeoutMs,
      connect: (exceptHost, connectionsOf) => this.connect(version, exceptHost, connectionsOf),
      openTo: (host) => this.#limitConnects(() => this.#openTo(host, identity)),
      noteFailure: (host) => this.#nodes.noteFailure(host, performance.now()),
      uncovered: (covered) => this.#nodes.uncovered(performance.now(), covered),
    });
  }

  *#allPools(): Generator<UpstreamPool> {
    yield* this.#pools.values();
    yield* this.#dedicated;
  }

  #spreadPools(): void {
    for (const pool of this.#pools.values()) pool.spread();
  }

  #closeIdlePools(): void {
    for (const [key, pool] of this.#pools) {
      const isBusy = pool.userCount > 0 || pool.connections.some((connection) => connection.inFlightCount > 0);
      if (isBusy) continue;
      this.#pools.delete(key);
      pool.close();
    }
  }

  #keyOf(identity: SessionIdentity): string {
    const startup = [...identity.startup].sort(([a], [b]) => (a < b ? -1 : 1));
    return JSON.stringify([identity.version, identity.keyspace ?? null, this.#hashOf(identity.credentials), startup]);
  }

  /** Passwords are not kept as map keys. */
  #hashOf(credentials: Credentials | undefined): string | null {
    if (!credentials) return null;
    return createHmac('sha256', this.#hashKey)
      .update(JSON.stringify([credentials.username, credentials.password]))
      .digest('base64');
  }
}
