import type { Credentials } from '#core/config/access-schema.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodePrepare } from '#core/cql/request-messages.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { AuthenticationFailedError, ServerError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { qualifyTables } from '#core/statement/qualify-tables.ts';
import { learnPrepared, type PreparedEntry } from '../requests/prepared-statements.ts';
import type { Cluster } from '../upstream/cluster.ts';
import { openSession, type SessionIdentity } from '../upstream/handshake.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';
import type { UpstreamPool } from '../upstream/upstream-pool.ts';
import { WritePermits } from '../upstream/write-permits.ts';
import { DedicatedConnection } from './dedicated-connection.ts';

const TOO_MANY = 'the proxy serves too many different logins, keyspaces and STARTUP options; close some clients';

/** Keyspaces of one session whose connections are kept ready for it; the first one used is given up first. */
const MAX_KEYSPACES = 32;

export type Clusters = Readonly<Record<ClusterName, Cluster>>;

/** What a client is on each cluster; undefined: nobody, or somebody who can't be repeated. */
type PairOfLogins = Readonly<Record<ClusterName, Credentials | undefined>>;

export interface UpstreamsOptions {
  readonly version: number;
  readonly startup: ReadonlyMap<string, string>;
  readonly credentials: PairOfLogins;
  /** Whose logins copies are written with, where they are not the client's. */
  readonly shadowCredentials?: PairOfLogins | undefined;
  /** The cluster that answers now. */
  readonly primary: () => ClusterName;
}

/** The upstream connections that one client's session may use: those of its login, version and keyspace. */
export class SessionUpstreams {
  readonly clusters: Clusters;
  /** Called when the client should connect and log in again: the cluster that answers it takes its login no more. */
  onRefused: (() => void) | undefined;
  readonly #options: UpstreamsOptions;
  readonly #version: number;
  readonly #credentials: PairOfLogins;
  readonly #permits: Record<ClusterName, WritePermits | undefined> = { origin: undefined, target: undefined };
  #dedicated: DedicatedConnection | undefined;
  #shadow: SessionUpstreams | undefined;
  readonly #pools: Record<ClusterName, Map<string | undefined, UpstreamPool>> = {
    origin: new Map(),
    target: new Map(),
  };
  /** The pools of the keyspace in force, found without a look-up. */
  readonly #current: Record<ClusterName, UpstreamPool | undefined> = { origin: undefined, target: undefined };
  #keyspace: string | undefined;
  #isClosed = false;

  constructor(clusters: Clusters, options: UpstreamsOptions) {
    this.clusters = clusters;
    this.#options = options;
    this.#version = options.version;
    this.#credentials = options.credentials;
  }

  /** For copies: the client's own connections, or those of the login that `proxy.logins.shadow` wants for them. */
  get forShadow(): SessionUpstreams {
    if (this.#options.shadowCredentials === undefined) return this;
    this.#shadow ??= this.#newShadow(this.#options.shadowCredentials);
    return this.#shadow;
  }

  /** What the writes of this login have shown of its rights on a cluster. */
  permits(cluster: ClusterName): WritePermits {
    this.#permits[cluster] ??= this.clusters[cluster].permitsOf(this.#credentials[cluster]);
    return this.#permits[cluster];
  }

  /** Takes the connection of a login that can't be repeated; all requests of this client to the cluster go over it. */
  dedicate(cluster: ClusterName, connection: UpstreamConnection): void {
    this.#dedicated = new DedicatedConnection(
      this.clusters[cluster],
      connection,
      this.identity(cluster),
      () => this.#keyspace,
      () => this.onRefused?.(),
    );
    this.#permits[cluster] = new WritePermits(true);
  }

  /** A cluster takes this client's login no more. */
  noteRefused(cluster: ClusterName): void {
    if (cluster === this.#options.primary()) this.onRefused?.();
  }

  get keyspace(): string | undefined {
    return this.#keyspace;
  }

  set keyspace(keyspace: string | undefined) {
    this.#keyspace = keyspace;
    this.#current.origin = undefined;
    this.#current.target = undefined;
    if (this.#shadow) this.#shadow.keyspace = keyspace;
  }

  /**
   * The pool for the keyspace in force.
   * @param textKeyspace for a text that names none: the one that was in force when its request came. Prepared statements know
   *   theirs.
   */
  pool(cluster: ClusterName, textKeyspace?: string): UpstreamPool {
    if (this.#dedicated?.cluster === cluster) return this.#dedicated.poolFor(textKeyspace);
    if (textKeyspace !== undefined && textKeyspace !== this.#keyspace) return this.#poolOf(cluster, textKeyspace);
    const current = this.#current[cluster];
    if (current) return current;
    const pool = this.#poolOf(cluster, this.#keyspace);
    if (!this.#isClosed) this.#current[cluster] = pool;
    return pool;
  }

  /**
   * Makes a keyspace the one in force once a cluster has accepted it for this login.
   * @throws ServerError, ClusterUnreachableError, AuthenticationFailedError
   */
  async use(cluster: ClusterName, keyspace: string, timeoutMs: number): Promise<void> {
    const dedicated = this.#dedicated;
    if (dedicated?.cluster === cluster) await dedicated.use(keyspace, timeoutMs);
    else await this.#verifiedPool(cluster, keyspace, timeoutMs, false);
    this.keyspace = keyspace;
    if (dedicated?.cluster !== cluster) await dedicated?.follow();
  }

  /** The pool of a keyspace that was accepted before; it is kept, and so is its back-off, while the cluster is away. */
  #poolOf(cluster: ClusterName, keyspace: string | undefined): UpstreamPool {
    if (this.#dedicated?.cluster === cluster) return this.#dedicated.pool;
    return this.#pools[cluster].get(keyspace) ?? this.#keep(cluster, keyspace);
  }

  /** A keyspace that a client only names gets no pool that outlives the refusal. */
  async #verifiedPool(
    cluster: ClusterName,
    keyspace: string,
    timeoutMs: number,
    failFast: boolean,
  ): Promise<UpstreamPool> {
    const known = this.#pools[cluster].get(keyspace);
    if (known) return known;
    const identity = this.identity(cluster, keyspace);
    if (!this.clusters[cluster].hasRoomFor(identity)) throw new ServerError(TOO_MANY, ErrorCode.OVERLOADED, true);
    const pool = this.clusters[cluster].pool(identity);
    try {
      await pool.acquire(timeoutMs, failFast);
    } catch (error) {
      if (isRefusal(error)) this.clusters[cluster].discard(pool, error);
      throw error;
    }
    return this.#poolOf(cluster, keyspace);
  }

  #keep(cluster: ClusterName, keyspace: string | undefined): UpstreamPool {
    const pools = this.#pools[cluster];
    const pool = this.clusters[cluster].pool(this.identity(cluster, keyspace));
    // A copy that leaves after its client has gone finds a connection, but keeps none open.
    if (this.#isClosed) return pool;
    for (const [oldest, used] of pools) {
      if (pools.size < MAX_KEYSPACES) break;
      if (oldest === this.#keyspace) continue;
      used.removeUser();
      pools.delete(oldest);
    }
    pool.addUser();
    pools.set(keyspace, pool);
    return pool;
  }

  /**
   * Prepares a statement on a cluster; on the node of `near` when one is given, else on any. With `failFast` it does not
   * wait for a cluster that is known to be away.
   * @throws ServerError, ClusterUnreachableError, AuthenticationFailedError, RequestTimeoutError
   */
  async prepare(
    cluster: ClusterName,
    entry: PreparedEntry,
    failFast: boolean,
    near?: UpstreamConnection,
  ): Promise<void> {
    const { requestTimeoutMs, connectTimeoutMs } = this.clusters[cluster].config;
    const { keyspace } = entry;
    const isDedicated = this.#dedicated?.cluster === cluster;
    const pool =
      isDedicated || keyspace === undefined || keyspace === this.#keyspace
        ? this.#poolOf(cluster, keyspace)
        : await this.#verifiedPool(cluster, keyspace, connectTimeoutMs, failFast);
    const connection =
      near === undefined
        ? await pool.acquire(connectTimeoutMs, failFast)
        : (pool.connections.find((one) => one.host === near.host) ?? (await this.#openTo(cluster, pool, near.host)));
    // The one connection stays in its keyspace, so a statement of another one has to name it.
    const isForeign = isDedicated && keyspace !== undefined && keyspace !== this.#dedicated?.keyspace;
    const body = encodePrepare(isForeign ? qualifyTables(entry.text, keyspace) : entry.text, this.#version);
    const reply = await connection.request(Opcode.PREPARE, 0, body, requestTimeoutMs);
    const replyBody = bodyOf(reply);
    const offset = responseOffset(flagsOf(reply), replyBody);
    if (opcodeOf(reply) === Opcode.ERROR) {
      const { code, message } = decodeError(replyBody, this.#version, offset);
      throw new ServerError(message, code, false);
    }
    learnPrepared(entry, cluster, replyBody, this.#version, offset);
  }

  close(): void {
    this.#isClosed = true;
    this.onRefused = undefined;
    this.#dedicated?.close();
    this.#shadow?.close();
    this.#current.origin = undefined;
    this.#current.target = undefined;
    for (const pools of Object.values(this.#pools)) {
      for (const pool of pools.values()) pool.removeUser();
      pools.clear();
    }
  }

  #newShadow(credentials: PairOfLogins): SessionUpstreams {
    const options = { ...this.#options, credentials, shadowCredentials: undefined };
    const shadow = new SessionUpstreams(this.clusters, options);
    shadow.#keyspace = this.#keyspace;
    shadow.#isClosed = this.#isClosed;
    return shadow;
  }

  /** Statements are known to a node, not to a connection: one more connection to that node is enough. */
  async #openTo(cluster: ClusterName, pool: UpstreamPool, host: string): Promise<UpstreamConnection> {
    const { connectTimeoutMs } = this.clusters[cluster].config;
    const connection = await this.clusters[cluster].connectTo(host, this.#version);
    try {
      await openSession(connection, pool.identity, connectTimeoutMs);
    } catch (error) {
      connection.close();
      throw error;
    }
    if (!pool.adopt(connection)) setTimeout(() => connection.close(), connectTimeoutMs).unref();
    return connection;
  }

  /** What connections for this client must have in common. */
  identity(cluster: ClusterName, keyspace: string | undefined = undefined): SessionIdentity {
    const { version, startup } = this.#options;
    return { version, startup, credentials: this.#credentials[cluster], keyspace };
  }
}

/** The server said no to the keyspace or to the login; that it is away or busy says nothing of either. */
function isRefusal(error: unknown): boolean {
  return error instanceof AuthenticationFailedError || (error instanceof ServerError && !error.retryable);
}
