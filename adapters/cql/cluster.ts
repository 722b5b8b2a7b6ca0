import type { ResolvedCluster } from '#core/config/schema.ts';
import { ClusterUnreachableError, describeError, PrerequisiteError } from '#core/errors.ts';
import { tokenOf } from '#core/token/token.ts';
import { plainAuthenticator } from './authenticator.ts';
import { withRemedy } from './connect-remedy.ts';
import { type Connection, type ConnectionOptions, openConnection } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { NodePool } from './node-pool.ts';
import { discoverNodes, type NodeInfo } from './topology.ts';

const REFRESH_MS = 60_000;
/** What is wrong with renewed certificates shows where a connection fails. */
const UNTOLD = { info: () => undefined, error: () => undefined };

interface KnownNode {
  readonly info: NodeInfo;
  readonly pool: NodePool;
}

/** The nodes of one data centre of a cluster, and which to ask first. */
export class Cluster {
  readonly protocolVersion: number;
  readonly #config: ResolvedCluster;
  readonly #endpoints: Endpoints;
  readonly #keyspace: string | undefined;
  #nodes = new Map<string, KnownNode>();
  /** Ascending tokens and the node that owns the range up to each. */
  #ring: { readonly token: bigint; readonly node: KnownNode }[] = [];
  /** Ascending tokens of the nodes of all data centres. */
  #tokens: readonly bigint[] = [];
  #isAlone = false;
  #turn = 0;
  #refreshAtMillis = performance.now() + REFRESH_MS;
  #isClosed = false;

  private constructor(config: ResolvedCluster, endpoints: Endpoints, version: number, keyspace?: string) {
    this.#keyspace = keyspace;
    this.#config = config;
    this.#endpoints = endpoints;
    this.protocolVersion = version;
  }

  /**
   * Connects to the first contact point that answers and finds the other nodes through it. Certificates and bundles that are
   * renewed while it lives are used for new connections.
   * @throws ClusterUnreachableError, AuthenticationFailedError, PrerequisiteError
   */
  static async open(config: ResolvedCluster, signal?: AbortSignal, keyspace?: string): Promise<Cluster> {
    const endpoints = new Endpoints(config);
    const contactPoints = (await endpoints.locate(false)) ?? config.contactPoints;
    const failures: string[] = [];
    for (const contactPoint of contactPoints) {
      let connection: Connection;
      try {
        const options = connectionOptions(config, endpoints, contactPoint, config.port, 5, 3, keyspace);
        connection = await openConnection(options, signal);
      } catch (error) {
        if (!(error instanceof ClusterUnreachableError)) throw error;
        signal?.throwIfAborted();
        failures.push(describeError(error));
        continue;
      }
      const cluster = new Cluster(config, endpoints, connection.protocolVersion, keyspace);
      try {
        cluster.#accept(await discoverNodes(connection, config.addressMap, endpoints.isBundle), connection);
        endpoints.watch(UNTOLD);
        return cluster;
      } catch (error) {
        connection.close();
        throw error;
      }
    }
    throw withRemedy(config, new ClusterUnreachableError(failures.join('; ')));
  }

  /**
   * Nodes in the order in which to try them: the owner of the key's token (unless the config leaves that out), then the
   * others by turns; those that were just unreachable last.
   */
  candidates(routingKey?: Uint8Array): NodePool[] {
    this.#refreshSometimes();
    const all = [...this.#nodes.values()];
    const start = this.#turn++ % Math.max(all.length, 1);
    const ordered = [...all.slice(start), ...all.slice(0, start)];
    const isRouted = routingKey !== undefined && this.#config.routing.tokenAware;
    const owner = isRouted ? this.#ownerOf(tokenOf(routingKey)) : undefined;
    if (owner) ordered.unshift(...ordered.splice(ordered.indexOf(owner), 1));
    const pools = ordered.map(({ pool }) => pool);
    return [...pools.filter((pool) => pool.isAvailable), ...pools.filter((pool) => !pool.isAvailable)];
  }

  close(): void {
    this.#isClosed = true;
    this.#endpoints.close();
    for (const { pool } of this.#nodes.values()) pool.close();
  }

  /**
   * See LoadSession. Between two tokens of the whole ring, that of all data centres, every partition has the same replicas,
   * whatever the keyspace's strategy.
   */
  replicaSet(token: bigint): number | undefined {
    if (this.#isAlone) return 0;
    const tokens = this.#tokens;
    return tokens.length === 0
      ? undefined
      : firstNotBelow(tokens.length, token, (index) => tokens[index]!) % tokens.length;
  }

  #ownerOf(token: bigint): KnownNode | undefined {
    const ring = this.#ring;
    return (ring[firstNotBelow(ring.length, token, (index) => ring[index]!.token)] ?? ring[0])?.node;
  }

  #accept(found: readonly NodeInfo[], first?: Connection): void {
    const { name } = this.#config;
    const { localDatacenter } = this.#endpoints;
    const local = found.filter((info) => info.dataCenter === localDatacenter);
    if (local.length === 0) {
      const known = [...new Set(found.map((info) => info.dataCenter))].join(', ');
      throw new PrerequisiteError(
        `no node of ${name} is in the data centre '${localDatacenter}'; it has ${known}: set ${name}.localDatacenter`,
      );
    }
    const nodes = new Map<string, KnownNode>();
    for (const info of local) {
      const old = this.#nodes.get(info.hostId);
      const isSame = old && old.info.host === info.host && old.info.port === info.port;
      nodes.set(info.hostId, { info, pool: isSame ? old.pool : this.#newPool(info, first) });
    }
    for (const [hostId, { pool }] of this.#nodes) if (nodes.get(hostId)?.pool !== pool) pool.close();
    const isFirstUsed = !first || local.some(({ host, port }) => host === first.node.host && port === first.node.port);
    if (!isFirstUsed) first.close();
    this.#nodes = nodes;
    this.#ring = [...nodes.values()]
      .flatMap((node) => node.info.tokens.map((token) => ({ token, node })))
      .sort((left, right) => (left.token < right.token ? -1 : 1));
    this.#isAlone = found.length === 1;
    this.#tokens = found.flatMap(({ tokens }) => tokens).sort((left, right) => (left < right ? -1 : 1));
  }

  #newPool({ host, port }: NodeInfo, first: Connection | undefined): NodePool {
    const version = this.protocolVersion;
    const isFirst = first?.node.host === host && first.node.port === port;
    const options = connectionOptions(this.#config, this.#endpoints, host, port, version, version, this.#keyspace);
    const { connectionsPerHost: size, maxWaitMs } = this.#config;
    return new NodePool(options, { size, maxWaitMs }, isFirst ? first : undefined);
  }

  /** In the background: a session that is used learns of nodes that came and went. */
  #refreshSometimes(): void {
    if (performance.now() < this.#refreshAtMillis || this.#isClosed) return;
    this.#refreshAtMillis = performance.now() + REFRESH_MS;
    void this.#refresh().catch(() => undefined);
  }

  async #refresh(): Promise<void> {
    const known = [...this.#nodes.values()].find(({ pool }) => pool.isAvailable);
    const [located] = (await this.#endpoints.locate(known === undefined)) ?? [];
    const { host, port } = known?.info ?? { host: located, port: this.#config.port };
    if (host === undefined) return;
    const version = this.protocolVersion;
    const connection = await openConnection(
      connectionOptions(this.#config, this.#endpoints, host, port, version, version, this.#keyspace),
    );
    try {
      const found = await discoverNodes(connection, this.#config.addressMap, this.#endpoints.isBundle);
      if (!this.#isClosed) this.#accept(found);
    } finally {
      connection.close();
    }
  }
}

/** Which of `count` ascending tokens is the first that is not below this one; `count` when all are. */
function firstNotBelow(count: number, token: bigint, tokenAt: (index: number) => bigint): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (tokenAt(middle) < token) low = middle + 1;
    else high = middle;
  }
  return low;
}

function connectionOptions(
  config: ResolvedCluster,
  endpoints: Endpoints,
  host: string,
  port: number,
  protocolVersion: number,
  minProtocolVersion: number,
  keyspace?: string,
): ConnectionOptions {
  const { credentials } = config;
  return {
    node: { cluster: config.name, host, port },
    connectTimeoutMs: config.connectTimeoutMs,
    requestTimeoutMs: config.requestTimeoutMs,
    protocolVersion,
    minProtocolVersion,
    startup: new Map([['DRIVER_NAME', 'ringshift']]),
    ...(keyspace === undefined ? {} : { keyspace }),
    address: () => endpoints.addressOf(host, port),
    ...(credentials ? { authenticator: plainAuthenticator(credentials.username, credentials.password) } : {}),
  };
}
