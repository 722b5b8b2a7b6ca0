import type { SchemaChange } from '#core/cql/schema-change.ts';
import { describeError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { SchemaAgreement } from './schema-agreement.ts';

/** Drivers read the schema anew for each; beyond this many whole keyspaces are named. */
const MAX_HELD = 1024;
const AGREEMENT_MS = 10_000;

export interface SchemaEventsOptions {
  readonly agreement: SchemaAgreement;
  /** Resolves when no definition of a client is on its way from one cluster to the other. */
  readonly definitionsIdle: () => Promise<void>;
  /** The clusters that must agree before clients hear of a change. */
  readonly inUse: () => readonly ClusterName[];
  /** Which cluster clients read this from. */
  readonly ownerOf: (change: SchemaChange) => ClusterName;
  /** To every client that has asked for such events. */
  readonly push: (change: SchemaChange) => void;
  readonly logger: Logger;
}

/**
 * Schema changes as clients hear of them: those of the cluster that they read, each once, and not before both clusters
 * agree, because a driver reads the schema the moment that it hears of a change.
 */
export class SchemaEvents {
  readonly #options: SchemaEventsOptions;
  #held = new Map<string, SchemaChange>();
  #running: Promise<void> | undefined;

  constructor(options: SchemaEventsOptions) {
    this.#options = options;
  }

  /** An event of a cluster. */
  take(cluster: ClusterName, change: SchemaChange): void {
    this.#options.agreement.unsettle(cluster);
    if (this.#options.ownerOf(change) === cluster) this.#hold(change);
    this.#start();
  }

  /**
   * The connection to a cluster is there again, and nobody knows what was missed meanwhile: if its schema is another
   * one, every keyspace has changed.
   * @param before the version when the connection was lost; empty: there was none
   */
  async catchUp(cluster: ClusterName, before: string, keyspaces: () => Promise<readonly string[]>): Promise<void> {
    const { agreement, logger } = this.#options;
    await agreement.agree(cluster, AGREEMENT_MS);
    if (before === '' || agreement.versionsOf(cluster) === before) return;
    try {
      for (const keyspace of await keyspaces()) this.take(cluster, { change: 'UPDATED', target: 'KEYSPACE', keyspace });
    } catch (error) {
      logger.warn('clients were not told of schema changes that were missed', { cluster, error: describeError(error) });
    }
  }

  #hold(change: SchemaChange): void {
    const shown: SchemaChange =
      this.#held.size < MAX_HELD ? change : { change: 'UPDATED', target: 'KEYSPACE', keyspace: change.keyspace };
    const { target, keyspace, name, argumentTypes } = shown;
    const key = JSON.stringify([shown.change, target, keyspace, name, argumentTypes]);
    // The last of equal ones, so that the order of what follows one another stays right.
    this.#held.delete(key);
    this.#held.set(key, shown);
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#held.size > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    const { agreement, definitionsIdle, inUse, push, logger } = this.#options;
    do {
      await definitionsIdle();
      const held = this.#held;
      this.#held = new Map();
      const agreed = await Promise.all(inUse().map((name) => agreement.agree(name, AGREEMENT_MS)));
      if (held.size > 0 && agreed.includes(false)) {
        logger.warn('clients hear of schema changes before all nodes agree', { changes: held.size });
      }
      for (const change of held.values()) push(change);
    } while (this.#held.size > 0);
  }
}
