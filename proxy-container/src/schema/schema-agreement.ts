import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import { nameBasedUuid } from '../topology/host.ts';
import type { ControlConnection, NodeSchema } from '../upstream/control-connection.ts';
import { CLUSTER_NAMES } from '../upstream/control-connections.ts';

const POLL_MS = 100;
/** A node that is down keeps the version that it had; after this long those that differ are asked whether they live. */
const ASK_ALIVE_AFTER_MS = 1_000;

export interface SchemaAgreementOptions {
  readonly controls: Readonly<Record<ClusterName, Pick<ControlConnection, 'nodeSchemas' | 'isAlive' | 'state'>>>;
  readonly logger: Logger;
}

interface State {
  /** Those of its nodes, joined; what it was when the cluster was last asked. */
  versions: string;
  isAgreed: boolean;
  /** The wait that is under way; whoever comes later joins it only where it is asked for again. */
  waiting: Promise<boolean> | undefined;
}

/** Whether the nodes of each cluster agree on the schema: asked for after a change, told to drivers as one version. */
export class SchemaAgreement {
  readonly #options: SchemaAgreementOptions;
  readonly #states: Record<ClusterName, State> = {
    origin: { versions: '', isAgreed: true, waiting: undefined },
    target: { versions: '', isAgreed: true, waiting: undefined },
  };

  #settling: Promise<boolean> | undefined;

  constructor(options: SchemaAgreementOptions) {
    this.#options = options;
  }

  /** Name-based, of what the nodes of both clusters have: the same on every instance that sees the same. */
  get version(): string {
    return nameBasedUuid(CLUSTER_NAMES.map((name) => `${name} ${this.#states[name].versions}`).join('/'));
  }

  /** What the nodes of a cluster had when it was last asked; empty before. */
  versionsOf(name: ClusterName): string {
    return this.#states[name].versions;
  }

  /** False from the first sign of a change until all nodes of that cluster have it. */
  get isSettled(): boolean {
    return CLUSTER_NAMES.every((name) => this.#states[name].isAgreed);
  }

  /** Something changes there: agreement must be asked for. */
  unsettle(name: ClusterName): void {
    this.#states[name].isAgreed = false;
  }

  /** Waits for all nodes of all clusters that are not agreed; who comes meanwhile waits as long as the first one. */
  settled(withinMs: number): Promise<boolean> {
    // Any number of clients may ask; the clusters are asked once for all of them.
    this.#settling ??= this.#settle(withinMs).finally(() => {
      this.#settling = undefined;
    });
    return this.#settling;
  }

  async #settle(withinMs: number): Promise<boolean> {
    const open = CLUSTER_NAMES.filter((name) => !this.#states[name].isAgreed);
    const results = await Promise.all(open.map((name) => this.agree(name, withinMs)));
    return results.every(Boolean);
  }

  /**
   * Resolves to true when all living nodes of a cluster have one schema version, to false when they do not in time. A
   * cluster that can't be asked has none: false at once, and nobody waits for it any more.
   */
  async agree(name: ClusterName, withinMs: number): Promise<boolean> {
    const state = this.#states[name];
    const deadlineMs = performance.now() + withinMs;
    // One that began before may have looked before the change that this caller knows of; it may also take longer than
    // this caller has.
    if (state.waiting) {
      const patience = new AbortController();
      const isOver = sleep(withinMs, undefined, { signal: patience.signal }).catch(() => undefined);
      await Promise.race([state.waiting, isOver]);
      patience.abort();
    }
    const waiting = this.#poll(name, deadlineMs).finally(() => {
      if (state.waiting === waiting) state.waiting = undefined;
    });
    state.waiting = waiting;
    return waiting;
  }

  async #poll(name: ClusterName, deadlineMs: number): Promise<boolean> {
    const { controls, logger } = this.#options;
    const state = this.#states[name];
    const startedMs = performance.now();
    for (;;) {
      if (controls[name].state !== 'up') {
        state.isAgreed = true;
        return false;
      }
      try {
        const nodes = await controls[name].nodeSchemas();
        const isLate = performance.now() - startedMs > ASK_ALIVE_AFTER_MS;
        const versions = await this.#versionsOf(name, nodes, isLate);
        state.versions = [...versions].sort().join(' ');
        state.isAgreed = versions.size <= 1;
        if (state.isAgreed) return true;
      } catch (error) {
        logger.debug('schema agreement could not be asked for', { cluster: name, error: describeError(error) });
      }
      if (performance.now() >= deadlineMs) return false;
      await sleep(POLL_MS);
    }
  }

  async #versionsOf(name: ClusterName, nodes: readonly NodeSchema[], isLate: boolean): Promise<ReadonlySet<string>> {
    const [asked, ...peers] = nodes;
    const versions = new Set(asked?.version === undefined ? [] : [asked.version]);
    const others = peers.filter(({ version }) => version !== undefined && !versions.has(version));
    // One that nobody reaches fetches the schema when it comes back.
    const counted = await Promise.all(
      others.map(async ({ host, version }) =>
        isLate && !(await this.#options.controls[name].isAlive(host)) ? undefined : version,
      ),
    );
    for (const version of counted) if (version !== undefined) versions.add(version);
    return versions;
  }
}
