import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { ClockSkew } from '../upstream/node-clock.ts';
import type { TimestampGenerator } from './timestamps.ts';

const INTERVAL_MS = 15_000;
/** Besides the node that a control connection is with: so many of each cluster are asked at a time, in turn. */
const NODES_AT_ONCE = 8;
/** The start waits no longer for nodes that do not answer. */
const FIRST_LOOK_MS = 2_000;

/** A cluster whose clocks can be asked. */
export interface ClocksOfCluster {
  readonly cluster: { readonly name: ClusterName; readonly hosts: readonly string[] };
  /** The node that it is connected to; undefined: none. */
  readonly host: string | undefined;
  clockSkew(host: string): Promise<ClockSkew>;
}

export interface ClockWatchOptions {
  readonly warnSkewMs: number;
  readonly timestamps: TimestampGenerator;
  readonly logger: Logger;
  /** The clusters in use. */
  readonly controls: () => readonly ClocksOfCluster[];
}

/**
 * Compares the clocks of the clusters' nodes with this machine's. Write times run ahead with the fastest of them, so that a
 * write through the proxy is never older than one that a coordinator stamped before.
 */
export class ClockWatch {
  readonly #options: ClockWatchOptions;
  readonly #stop = new AbortController();
  /** Of each node that has answered. */
  readonly #skews = new Map<ClusterName, Map<string, ClockSkew>>();
  /** How many nodes of each cluster were asked so far. */
  readonly #turns = new Map<ClusterName, number>();
  #running: Promise<void> | undefined;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  /** By cluster, of the node whose clock differs most; positive: it is ahead. Milliseconds. */
  get skewMs(): Readonly<Partial<Record<ClusterName, number>>> {
    return Object.fromEntries(
      [...this.#skews].map(([name, nodes]) => [
        name,
        [...nodes.values()].reduce((most, { leastMs }) => (Math.abs(leastMs) > Math.abs(most) ? leastMs : most), 0),
      ]),
    );
  }

  /**
   * How far a cluster's slowest clock is behind the latest write time that the other cluster or this proxy may have given:
   * what it stamps itself within that time could lose against what it has got as a copy. Milliseconds.
   */
  behindMs(cluster: ClusterName): number {
    const own = this.#skews.get(cluster);
    if (own === undefined) return 0;
    const slowest = Math.min(...[...own.values()].map(({ middleMs }) => middleMs));
    const ahead = Math.max(
      this.#options.timestamps.offsetMicros / 1000,
      ...this.#all().map(({ middleMs }) => middleMs),
    );
    return Math.max(0, ahead - slowest);
  }

  /** Asks all nodes that it is the turn of; resolves when they have answered, or after a while. */
  async measure(): Promise<void> {
    const waited = new AbortController();
    const { signal } = waited;
    await Promise.race([this.#look(), sleep(FIRST_LOOK_MS, undefined, { signal }).catch(() => undefined)]);
    waited.abort();
  }

  start(): void {
    this.#running ??= this.#run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(INTERVAL_MS, undefined, { signal }).catch(() => undefined);
      if (!signal.aborted) await this.measure();
    }
  }

  async #look(): Promise<void> {
    const controls = this.#options.controls();
    const inUse = new Set(controls.map(({ cluster }) => cluster.name));
    for (const name of this.#skews.keys()) if (!inUse.has(name)) this.#skews.delete(name);
    await Promise.all(controls.map((control) => this.#lookAt(control)));
  }

  async #lookAt(control: ClocksOfCluster): Promise<void> {
    const { name, hosts } = control.cluster;
    const nodes = this.#skews.get(name) ?? new Map<string, ClockSkew>();
    for (const host of nodes.keys()) if (host !== control.host && !hosts.includes(host)) nodes.delete(host);
    await Promise.all(
      this.#nextOf(control).map(async (host) => {
        try {
          const skew = await control.clockSkew(host);
          nodes.set(host, skew);
          this.#take(name, host, skew);
        } catch {
          nodes.delete(host);
        }
        if (nodes.size > 0) this.#skews.set(name, nodes);
        else this.#skews.delete(name);
      }),
    );
  }

  #nextOf({ cluster, host: own }: ClocksOfCluster): readonly string[] {
    const others = cluster.hosts.filter((host) => host !== own);
    const turn = this.#turns.get(cluster.name) ?? 0;
    this.#turns.set(cluster.name, turn + NODES_AT_ONCE);
    const count = Math.min(NODES_AT_ONCE, others.length);
    const next = Array.from({ length: count }, (_, index) => others[(turn + index) % others.length]!);
    return own === undefined ? next : [own, ...next];
  }

  #take(cluster: ClusterName, node: string, { middleMs, leastMs }: ClockSkew): void {
    const { timestamps, warnSkewMs, logger } = this.#options;
    // The node's clock has whole milliseconds; half a round trip of error is far below the skew that matters.
    if (middleMs > 1) timestamps.aheadBy(middleMs * 1000);
    // One clock that is wrong among those of the clusters is not the time.
    timestamps.clusterSkewMs = this.#all().reduce(
      (least, { middleMs: one }) => (Math.abs(one) < Math.abs(least) ? one : least),
      middleMs,
    );
    if (Math.abs(leastMs) <= warnSkewMs) return;
    logger.warn('a clock differs', { cluster, node, skewMs: Math.round(leastMs) });
  }

  #all(): ClockSkew[] {
    return [...this.#skews.values()].flatMap((nodes) => [...nodes.values()]);
  }
}
