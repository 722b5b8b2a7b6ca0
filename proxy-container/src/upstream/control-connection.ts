import { setTimeout as sleep } from 'node:timers/promises';
import { withRemedy } from '#adapters/cql/connect-remedy.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { decodeSupported, encodeRegister } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { decodeEvent, type SchemaChange } from '#core/cql/schema-change.ts';
import { decodeInet, decodeInt, decodeUuid } from '#core/cql/value-codec.ts';
import { ClusterUnreachableError, describeError, ProtocolError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';
import type { Cluster } from './cluster.ts';
import { type ClusterFacts, highestVersion, PROBE_VERSION, type Rows, readFacts } from './cluster-facts.ts';
import { openSession } from './handshake.ts';
import { CLOCK_QUERY, type NodeClock, readNodeClock } from './node-clock.ts';
import { plainQuery } from './plain-query.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

const STARTUP_OPTIONS: ReadonlyMap<string, string> = new Map([['CQL_VERSION', '3.0.0']]);
const HEARTBEAT_MS = 10_000;
const EVENT_TYPES = ['SCHEMA_CHANGE', 'TOPOLOGY_CHANGE', 'STATUS_CHANGE'] as const;
const SETTLE_MS = 1_000;
const MIN_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 10_000;

/** A node and the schema that it says to have. */
export interface NodeSchema {
  /** undefined: the node that was asked, which is the first; or one that does not say where it is. */
  readonly host: string | undefined;
  /** undefined: it is new, or away since it started. */
  readonly version: string | undefined;
}

export type ControlState = 'stopped' | 'connecting' | 'up' | 'down';

/**
 * The proxy's own connection to a cluster, with its own login: what it supports, its nodes, schema events, schema
 * agreement, health. No request of a client ever travels on it.
 */
export class ControlConnection {
  readonly cluster: Cluster;
  readonly #logger: Logger;
  onSchemaChange: ((change: SchemaChange) => void) | undefined;
  /** Called whenever the connection was made, with `facts` as they are now. */
  onConnected: (() => void) | undefined;
  facts: ClusterFacts | undefined;
  state: ControlState = 'stopped';
  lastError: string | undefined;
  #connection: UpstreamConnection | undefined;
  #stop = new AbortController();
  #running: Promise<void> | undefined;
  #discovery: NodeJS.Timeout | undefined;
  /** Ends the pause between two heartbeats when the connection is lost. */
  #lost = new AbortController();

  constructor(cluster: Cluster, logger: Logger) {
    this.cluster = cluster;
    this.#logger = logger;
  }

  /**
   * Connects once, for the start of the proxy.
   * @throws ClusterUnreachableError, AuthenticationFailedError with what to do about it
   */
  async connectOnce(): Promise<void> {
    this.state = 'connecting';
    try {
      await this.#connect();
    } catch (error) {
      this.state = 'down';
      throw withRemedy(this.cluster.config, error);
    }
  }

  /** Keeps the connection alive until `stop`. */
  start(): void {
    if (this.#running) return;
    this.#stop = new AbortController();
    this.#running = this.#run(this.#stop.signal).finally(() => {
      this.#running = undefined;
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#discovery);
    this.#discovery = undefined;
    this.#connection?.close();
    this.#connection = undefined;
    await this.#running;
    this.state = 'stopped';
  }

  /** The node that it is connected to; undefined: none. */
  get host(): string | undefined {
    return this.#connection?.host;
  }

  /** undefined: its answer is not understood. @throws ClusterUnreachableError, RequestTimeoutError, ServerError */
  async clockOf(host: string): Promise<NodeClock | undefined> {
    if (host === this.host) return readNodeClock(() => this.#query(CLOCK_QUERY));
    const version = this.facts?.maxVersion ?? PROBE_VERSION;
    const connection = await this.cluster.connectTo(host, version);
    try {
      await this.#openSession(connection);
      return await readNodeClock(() => plainQuery(connection, CLOCK_QUERY, this.cluster));
    } finally {
      connection.close();
    }
  }

  /** Name, type, kind and position of each column of a table; no rows when there is no such table. */
  columnTypes(keyspace: string, table: string): Promise<Rows> {
    return this.#query(
      `SELECT column_name, type, kind, position FROM system_schema.columns${whereOf(keyspace, table)}`,
    );
  }

  /** `default_time_to_live` of a table; 0 when there is none, or no such table. Seconds. */
  async defaultTtl(keyspace: string, table: string): Promise<number> {
    const rows = await this.#query(`SELECT default_time_to_live FROM system_schema.tables${whereOf(keyspace, table)}`);
    const value = rows[0]?.[0];
    return value ? decodeInt(value) : 0;
  }

  /** Columns of a table of `system_schema`. @throws ClusterUnreachableError, RequestTimeoutError, ServerError */
  schemaRows(table: string, columns: readonly string[]): Promise<Rows> {
    return this.#query(`SELECT ${columns.join(', ')} FROM system_schema.${table}`);
  }

  /** The schema version of each node. @throws ClusterUnreachableError, RequestTimeoutError, ServerError */
  async nodeSchemas(): Promise<readonly NodeSchema[]> {
    const [local, peers] = await Promise.all([
      this.#query('SELECT schema_version FROM system.local'),
      this.#query('SELECT schema_version, rpc_address FROM system.peers'),
    ]);
    const version = (value: Buffer | null | undefined) => (value ? decodeUuid(value) : undefined);
    return [
      { host: undefined, version: version(local[0]?.[0]) },
      ...peers.map(([value, address]) => ({
        host: address ? this.#reachable(decodeInet(address)) : undefined,
        version: version(value),
      })),
    ];
  }

  /** Whether a node takes connections; one that does not say where it is takes none. */
  async isAlive(host: string | undefined): Promise<boolean> {
    if (host === undefined) return false;
    try {
      (await this.cluster.connectTo(host, PROBE_VERSION)).close();
      return true;
    } catch {
      return false;
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    let backoffMs = MIN_BACKOFF_MS;
    while (!signal.aborted) {
      try {
        if (!this.#connection || this.#connection.isClosed) await this.#connect();
        backoffMs = MIN_BACKOFF_MS;
        const pause = AbortSignal.any([signal, this.#lost.signal]);
        await sleep(HEARTBEAT_MS, undefined, { signal: pause }).catch(() => undefined);
        // A node that takes connections only to close them is not stormed.
        if (this.#connection?.isClosed) await sleep(MIN_BACKOFF_MS, undefined, { signal }).catch(() => undefined);
        if (!signal.aborted && this.#connection?.isClosed === false) {
          await this.#connection.request(Opcode.OPTIONS, 0, Buffer.alloc(0), this.cluster.config.requestTimeoutMs);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#connection?.close();
        this.#goDown(describeError(error));
        await sleep(backoffMs, undefined, { signal }).catch(() => undefined);
        backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
      }
    }
  }

  #goDown(reason: string): void {
    if (this.state !== 'down') this.#logger.warn('a cluster is away', { cluster: this.cluster.name, reason });
    this.state = 'down';
    this.lastError = reason;
  }

  async #connect(): Promise<void> {
    const { config, name } = this.cluster;
    const { signal } = this.#stop;
    const supported = await this.#probe();
    const maxVersion = highestVersion(supported.get('PROTOCOL_VERSIONS'));
    const connection = await this.cluster.connect(maxVersion);
    try {
      this.cluster.demandsLogin = await this.#openSession(connection);
      await connection.request(Opcode.REGISTER, 0, encodeRegister(EVENT_TYPES), config.requestTimeoutMs);
      // Whoever stopped it saw no connection to close.
      if (signal.aborted) throw new ClusterUnreachableError(`the ${name} is not needed any more`);
    } catch (error) {
      connection.close();
      throw error;
    }
    connection.onEvent = (frame) => this.#takeEvent(frame);
    connection.onClosed = () => {
      if (this.#connection !== connection || this.#stop.signal.aborted) return;
      this.#goDown('the connection was lost');
      this.#lost.abort();
    };
    this.#lost = new AbortController();
    this.#connection = connection;
    this.facts = { maxVersion, supported, ...(await this.#discover()) };
    if (this.state === 'down') this.#logger.info('a cluster is back', { cluster: name });
    this.state = 'up';
    this.lastError = undefined;
    this.onConnected?.();
  }

  /** With the login of the configuration. Resolves to whether one was demanded. */
  #openSession(connection: UpstreamConnection): Promise<boolean> {
    const { credentials, connectTimeoutMs } = this.cluster.config;
    const { version } = connection;
    const identity = { version, startup: STARTUP_OPTIONS, credentials: credentials ?? undefined, keyspace: undefined };
    return openSession(connection, identity, connectTimeoutMs);
  }

  /** OPTIONS is answered before any login, in the version that all servers of today speak. */
  async #probe(): Promise<Map<string, string[]>> {
    const connection = await this.cluster.connect(PROBE_VERSION);
    try {
      const reply = await connection.request(Opcode.OPTIONS, 0, Buffer.alloc(0), this.cluster.config.connectTimeoutMs);
      if (opcodeOf(reply) !== Opcode.SUPPORTED) throw new ProtocolError('OPTIONS was not answered with SUPPORTED');
      return decodeSupported(bodyOf(reply));
    } finally {
      connection.close();
    }
  }

  /** Nodes of the local data center, as far as the configuration says how to reach them, and what all have in common. */
  async #discover(): Promise<Omit<ClusterFacts, 'maxVersion' | 'supported'>> {
    const host = this.#connection?.host;
    const { nearAddresses, ...facts } = await readFacts((text) => this.#query(text), this.cluster.localDatacenter);
    const others = nearAddresses.map((address) => this.#reachable(address));
    // The node itself is not among its peers.
    this.cluster.setDiscovered(host === undefined ? others : [host, ...others]);
    return facts;
  }

  #reachable(advertised: string): string {
    return this.cluster.config.addressMap[advertised] ?? advertised;
  }

  /** Nodes that come and go are told of one by one, and some of it before the node that tells it knows all. */
  #discoverSoon(): void {
    this.#discovery ??= setTimeout(() => {
      this.#discovery = undefined;
      if (this.#connection?.isClosed !== false) return;
      const unread = (error: unknown) => this.#logger.debug('the nodes could not be read', { error: String(error) });
      this.#discover().then((found) => {
        if (this.facts) this.facts = { ...this.facts, ...found };
      }, unread);
    }, SETTLE_MS).unref();
  }

  #takeEvent(frame: Buffer): void {
    try {
      const event = decodeEvent(bodyOf(frame), responseOffset(flagsOf(frame), bodyOf(frame)));
      if (event.type === 'SCHEMA_CHANGE') this.onSchemaChange?.(event.change);
      else {
        if (event.change === 'UP') this.cluster.noteUp(this.#reachable(event.address));
        this.#discoverSoon();
      }
    } catch (error) {
      this.#logger.warn('an event could not be read', { cluster: this.cluster.name, error: describeError(error) });
    }
  }

  async #query(text: string): Promise<Rows> {
    const connection = this.#connection;
    if (!connection || connection.isClosed) {
      throw new ClusterUnreachableError(`the ${this.cluster.name} is not connected`);
    }
    return plainQuery(connection, text, this.cluster);
  }
}

/** Of one table, in a table of `system_schema`. */
function whereOf(keyspace: string, table: string): string {
  const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;
  return ` WHERE keyspace_name = ${literal(keyspace)} AND table_name = ${literal(table)}`;
}
