import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { ControlConnection } from '../upstream/control-connection.ts';
import type { TimestampGenerator } from './timestamps.ts';

const INTERVAL_MS = 15_000;

export interface ClockWatchOptions {
  readonly warnSkewMs: number;
  readonly timestamps: TimestampGenerator;
  readonly logger: Logger;
  /** The clusters in use. */
  readonly controls: () => readonly ControlConnection[];
}

/**
 * Compares the clocks of the clusters with this machine's. Write times run ahead with the fastest of them, so that a
 * write through the proxy is never older than one that a coordinator stamped before.
 */
export class ClockWatch {
  readonly #options: ClockWatchOptions;
  readonly #stop = new AbortController();
  readonly #skewMs = new Map<string, number>();
  #running: Promise<void> | undefined;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  /** By cluster; positive: its clock is ahead. Milliseconds. */
  get skewMs(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#skewMs);
  }

  /**
   * How far a cluster's clock is behind the latest write time that the other cluster or this proxy may have given: what
   * it stamps itself within that time could lose against what it has got as a copy. Milliseconds.
   */
  behindMs(cluster: ClusterName): number {
    const own = this.#skewMs.get(cluster);
    if (own === undefined) return 0;
    const ahead = Math.max(this.#options.timestamps.offsetMicros / 1000, ...this.#skewMs.values());
    return Math.max(0, ahead - own);
  }

  /** Measures once. */
  async measure(): Promise<void> {
    for (const control of this.#options.controls()) {
      const { name } = control.cluster;
      try {
        const micros = await control.clockSkewMicros();
        this.#skewMs.set(name, micros / 1000);
        // The node's clock has whole milliseconds; half a round trip of error is far below the skew that matters.
        if (micros > 1000) this.#options.timestamps.aheadBy(micros);
        if (Math.abs(micros) > this.#options.warnSkewMs * 1000) {
          this.#options.logger.warn('a clock differs', { cluster: name, skewMs: Math.round(micros / 1000) });
        }
      } catch {
        this.#skewMs.delete(name);
      }
    }
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
}
