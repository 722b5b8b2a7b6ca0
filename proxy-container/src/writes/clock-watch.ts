import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { NodeClock } from '../upstream/node-clock.ts';
import type { TimestampGenerator } from './timestamps.ts';

const INTERVAL_MS = 15_000;
/** Besides the node that a control connection is with, so many of each cluster are asked at the start. */
const FIRST_NODES = 8;
/** After that one of them in so many looks, in turn: each is a login, and there may be hundreds of proxies. */
const LOOKS_PER_NODE = 4;
/** A look waits no longer for the others once one node of each cluster has answered; for that one, as long as asking may take. */
const FIRST_LOOK_MS = 2_000;
const POLL_MS = 50;

/** A cluster whose clocks can be asked. */
export interface ClocksOfCluster {
  readonly cluster: { readonly name: ClusterName; readonly hosts: readonly string[] };
  /** The node that it is connected to; undefined: none. */
  readonly host: string | undefined;
  clockOf(host: string): Promise<NodeClock | undefined>;
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
  readonly #clocks = new Map<ClusterName, Map<string, NodeClock>>();
  /** Of each cluster: how often it was looked at, and whose turn is next. */
  readonly #turns = new Map<ClusterName, { looks: number; next: number }>();
  #running: Promise<void> | undefined;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  /** By cluster, of the node whose clock differs most from this machine's as it is now; positive: it is ahead. Milliseconds. */
  get skewMs(): Readonly<Partial<Record<ClusterName, number>>> {
    const most = (nodes: ReadonlyMap<string, NodeClock>): number =>
      [...nodes.values()]
        .map((clock) => this.#leastSkewMs(clock))
        .reduce((found, one) => (Math.abs(one) > Math.abs(found) ? one : found), 0);
    return Object.fromEntries([...this.#clocks].map(([name, nodes]) => [name, most(nodes)]));
  }

  /**
   * How far a cluster's slowest clock is behind the latest write time that the other cluster or this proxy may have given:
   * what it stamps itself within that time could lose against what it has got as a copy. Milliseconds.
   */
  behindMs(cluster: ClusterName): number {
    const own = this.#clocks.get(cluster);
    if (own === undefined) return 0;
    const { timestamps } = this.#options;
    const slowest = Math.min(...[...own.values()].map(({ epochMs }) => epochMs));
    const given = timestamps.ownEpochMs + timestamps.offsetMicros / 1000;
    return Math.max(0, Math.max(given, ...this.#all()) - slowest);
  }

  /** Asks all nodes that it is the turn of; resolves when they have answered, or after a while when one of each cluster has. */
  async measure(): Promise<void> {
    const waited = new AbortController();
    await Promise.race([this.#look(), this.#untilKnown(AbortSignal.any([waited.signal, this.#stop.signal]))]);
    waited.abort();
    // Of all that have answered: the first one may be the one that is wrong.
    const epochMs = this.#middleEpochMs();
    if (epochMs !== undefined) this.#options.timestamps.clusterEpochMs = epochMs;
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

  async #untilKnown(signal: AbortSignal): Promise<void> {
    const isKnown = ({ cluster }: ClocksOfCluster): boolean => this.#clocks.has(cluster.name);
    for (let waitMs = FIRST_LOOK_MS; !signal.aborted; waitMs = POLL_MS) {
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      if (this.#options.controls().every(isKnown)) return;
    }
  }

  async #look(): Promise<void> {
    const controls = this.#options.controls();
    const inUse = new Set(controls.map(({ cluster }) => cluster.name));
    for (const name of this.#clocks.keys()) if (!inUse.has(name)) this.#clocks.delete(name);
    await Promise.all(controls.map((control) => this.#lookAt(control)));
  }

  async #lookAt(control: ClocksOfCluster): Promise<void> {
    const { name, hosts } = control.cluster;
    const nodes = this.#clocks.get(name) ?? new Map<string, NodeClock>();
    for (const host of nodes.keys()) if (host !== control.host && !hosts.includes(host)) nodes.delete(host);
    await Promise.all(
      this.#nextOf(control).map(async (host) => {
        const clock = await control.clockOf(host).catch(() => undefined);
        if (clock === undefined) nodes.delete(host);
        else nodes.set(host, clock);
        if (nodes.size > 0) this.#clocks.set(name, nodes);
        else this.#clocks.delete(name);
        if (clock !== undefined) this.#take(name, host, clock);
      }),
    );
  }

  #nextOf({ cluster, host: own }: ClocksOfCluster): readonly string[] {
    const others = cluster.hosts.filter((host) => host !== own);
    const turn = this.#turns.get(cluster.name) ?? { looks: 0, next: 0 };
    this.#turns.set(cluster.name, turn);
    const isTurn = turn.looks++ % LOOKS_PER_NODE === 0;
    const count = Math.min(turn.looks === 1 ? FIRST_NODES : isTurn ? 1 : 0, others.length);
    const next = Array.from({ length: count }, () => others[turn.next++ % others.length]!);
    return own === undefined ? next : [own, ...next];
  }

  #take(cluster: ClusterName, node: string, clock: NodeClock): void {
    const { timestamps, warnSkewMs, logger } = this.#options;
    const aheadMs = clock.epochMs - timestamps.ownEpochMs;
    // The node's clock has whole milliseconds; half a round trip of error is far below the skew that matters.
    if (aheadMs > 1) timestamps.aheadBy(aheadMs * 1000);
    const skewMs = this.#leastSkewMs(clock);
    if (Math.abs(skewMs) > warnSkewMs) logger.warn('a clock differs', { cluster, node, skewMs: Math.round(skewMs) });
  }

  /** One clock that is wrong among those of the clusters is not the time; of two, the one that was taken for it until now. */
  #middleEpochMs(): number | undefined {
    const all = this.#all().sort((a, b) => a - b);
    if (all.length === 0) return undefined;
    const [lower, upper] = [all[(all.length - 1) >> 1]!, all[all.length >> 1]!];
    const { clusterEpochMs } = this.#options.timestamps;
    return clusterEpochMs - lower < upper - clusterEpochMs ? lower : upper;
  }

  /** That much in any case: a slow answer is no skew. */
  #leastSkewMs({ epochMs, uncertaintyMs }: NodeClock): number {
    const skewMs = epochMs - this.#options.timestamps.ownEpochMs;
    return Math.sign(skewMs) * Math.max(0, Math.abs(skewMs) - uncertaintyMs);
  }

  #all(): number[] {
    return [...this.#clocks.values()].flatMap((nodes) => [...nodes.values()].map(({ epochMs }) => epochMs));
  }
}
