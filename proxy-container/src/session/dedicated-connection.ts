import { setTimeout as sleep } from 'node:timers/promises';
import { ServerError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Cluster } from '../upstream/cluster.ts';
import { type SessionIdentity, useKeyspace } from '../upstream/handshake.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';
import type { UpstreamPool } from '../upstream/upstream-pool.ts';

/** How long USE waits for the shadow here: the client is to wait for it as little as can be. */
const MAX_FOLLOW_MS = 1_000;
const POLL_MS = 5;

/** The one connection of a login that can't be repeated, and the keyspace that it is in. */
export class DedicatedConnection {
  readonly cluster: ClusterName;
  readonly pool: UpstreamPool;
  /** For texts of another keyspace. */
  readonly #elsewhere: UpstreamPool;
  /** Of the client's session. */
  readonly #wanted: () => string | undefined;
  #keyspace: string | undefined;
  #isFollowing = false;

  /** @param wanted the keyspace in force for the client */
  constructor(
    cluster: Cluster,
    connection: UpstreamConnection,
    identity: SessionIdentity,
    wanted: () => string | undefined,
    onLost: () => void,
  ) {
    this.cluster = cluster.name;
    this.pool = cluster.dedicate(connection, identity, onLost);
    this.#elsewhere = cluster.refusingPool(identity, 'is in another keyspace');
    this.#wanted = wanted;
  }

  /** Where the connection is; undefined: in none, or nobody knows. */
  get keyspace(): string | undefined {
    return this.#keyspace;
  }

  /** A text that would be read in another keyspace than its own is not sent: its copy is a failed write. */
  poolFor(textKeyspace: string | undefined): UpstreamPool {
    if (textKeyspace === undefined || textKeyspace === this.#keyspace) return this.pool;
    if (textKeyspace === this.#wanted()) void this.follow();
    return this.#elsewhere;
  }

  /** For the client's own USE. @throws ServerError, ClusterUnreachableError */
  async use(keyspace: string, timeoutMs: number): Promise<void> {
    const connection = await this.pool.acquire(timeoutMs);
    try {
      await useKeyspace(connection, keyspace, timeoutMs);
      this.#keyspace = keyspace;
    } catch (error) {
      // Without an answer it may be there, or go there later: what its client sends could be read in the one or the other.
      if (!(error instanceof ServerError)) connection.close();
      throw error;
    }
  }

  /** Goes to the keyspace in force, which the other cluster has accepted, if that can be done soon. Never rejects. */
  async follow(): Promise<void> {
    const wanted = this.#wanted();
    if (this.#isFollowing || wanted === undefined || wanted === this.#keyspace) return;
    this.#isFollowing = true;
    const before = this.#keyspace;
    // Nothing is sent meanwhile that could be read in the one or the other.
    this.#keyspace = undefined;
    let isSent = false;
    try {
      const connection = await this.pool.acquire(MAX_FOLLOW_MS, true);
      const deadlineMs = performance.now() + MAX_FOLLOW_MS;
      while (connection.inFlightCount > 0 && performance.now() < deadlineMs) await sleep(POLL_MS);
      if (connection.inFlightCount > 0) throw new Error('it is busy');
      isSent = true;
      await useKeyspace(connection, wanted, MAX_FOLLOW_MS);
      this.#keyspace = wanted;
    } catch (error) {
      // Never sent, or refused: it is where it was.
      if (!isSent || error instanceof ServerError) this.#keyspace = before;
    } finally {
      this.#isFollowing = false;
    }
  }

  close(): void {
    this.pool.close();
    this.#elsewhere.close();
  }
}
