import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodePrepare } from '#core/cql/request-messages.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { ServerError } from '#core/errors.ts';
import { learnPrepared, type PreparedEntry } from '../prepared-statements.ts';
import type { Cluster, ClusterName } from '../upstream/cluster.ts';
import { type Credentials, openSession, type SessionIdentity } from '../upstream/handshake.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';
import type { UpstreamPool } from '../upstream/upstream-pool.ts';

export type Clusters = Readonly<Record<ClusterName, Cluster>>;

/** The upstream connections that one client's session may use: those of its login, version and keyspace. */
export class SessionUpstreams {
  readonly clusters: Clusters;
  readonly #version: number;
  readonly #startup: ReadonlyMap<string, string>;
  readonly #credentials: Readonly<Record<ClusterName, Credentials | undefined>>;
  readonly #pools: Record<ClusterName, Map<string | undefined, UpstreamPool>> = {
    origin: new Map(),
    target: new Map(),
  };
  /** The pools of the keyspace in force, found without a look-up. */
  readonly #current: Record<ClusterName, UpstreamPool | undefined> = { origin: undefined, target: undefined };
  #keyspace: string | undefined;

  constructor(
    clusters: Clusters,
    identity: {
      readonly version: number;
      readonly startup: ReadonlyMap<string, string>;
      readonly credentials: Readonly<Record<ClusterName, Credentials | undefined>>;
    },
  ) {
    this.clusters = clusters;
    this.#version = identity.version;
    this.#startup = identity.startup;
    this.#credentials = identity.credentials;
  }

  get keyspace(): string | undefined {
    return this.#keyspace;
  }

  set keyspace(keyspace: string | undefined) {
    this.#keyspace = keyspace;
    this.#current.origin = undefined;
    this.#current.target = undefined;
  }

  /** The pool for the keyspace in force. */
  pool(cluster: ClusterName): UpstreamPool {
    const current = this.#current[cluster];
    if (current) return current;
    const pool = this.poolOf(cluster, this.#keyspace);
    this.#current[cluster] = pool;
    return pool;
  }

  poolOf(cluster: ClusterName, keyspace: string | undefined): UpstreamPool {
    const known = this.#pools[cluster].get(keyspace);
    if (known) return known;
    const pool = this.clusters[cluster].pool(this.#identity(cluster, keyspace));
    pool.addUser();
    this.#pools[cluster].set(keyspace, pool);
    return pool;
  }

  /**
   * Prepares a statement on a cluster; on the node of `near` when one is given, else on any.
   * @throws ServerError, ClusterUnreachableError, RequestTimeoutError
   */
  async prepare(cluster: ClusterName, entry: PreparedEntry, near?: UpstreamConnection): Promise<void> {
    const { requestTimeoutMs, connectTimeoutMs } = this.clusters[cluster].config;
    const pool = this.poolOf(cluster, entry.keyspace);
    const connection =
      near === undefined
        ? await pool.acquire(connectTimeoutMs)
        : (pool.connections.find((one) => one.host === near.host) ?? (await this.#openTo(cluster, pool, near.host)));
    const body = encodePrepare(entry.text, this.#version);
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
    for (const pools of Object.values(this.#pools)) {
      for (const pool of pools.values()) pool.removeUser();
      pools.clear();
    }
  }

  /** Statements are known to a node, not to a connection: one more connection to that node is enough. */
  async #openTo(cluster: ClusterName, pool: UpstreamPool, host: string): Promise<UpstreamConnection> {
    const { connectTimeoutMs } = this.clusters[cluster].config;
    const connection = await this.clusters[cluster].connectTo(host, this.#version);
    await openSession(connection, pool.identity, connectTimeoutMs);
    if (!pool.adopt(connection)) setTimeout(() => connection.close(), connectTimeoutMs).unref();
    return connection;
  }

  #identity(cluster: ClusterName, keyspace: string | undefined): SessionIdentity {
    return {
      version: this.#version,
      startup: this.#startup,
      credentials: this.#credentials[cluster],
      keyspace,
    };
  }
}
