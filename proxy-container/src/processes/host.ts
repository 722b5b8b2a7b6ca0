import cluster from 'node:cluster';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '#core/ports.ts';
import type { MetricFamily } from '../admin/metric-family.ts';
import { mergeMetrics } from '../admin/metric-family.ts';
import { ProxyWorker } from './worker.ts';

const MIN_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 30_000;
/** A process that served for so long did not die of its start. */
const STABLE_MS = 60_000;
/** Above all time-outs of a drain together. */
const DRAIN_MS = 45_000;

export interface HostOptions {
  readonly count: number;
  /** Its name in the ledger, without the numbers of its processes. */
  readonly instance: string;
  readonly logger: Logger;
  /** Called when a process ends before all of them have once taken clients: what is wrong will not pass by itself. */
  readonly onFailedStart: (code: number) => void;
}

/**
 * The processes of one host: starts them, starts again what died, drains them. It hands new clients over to them in turn
 * and serves none itself: a client's socket is its process's own, so requests cost what they cost without a host.
 */
export class Host {
  readonly #options: HostOptions;
  readonly #workers = new Map<number, ProxyWorker>();
  readonly #failures = new Map<number, number>();
  readonly #stop = new AbortController();
  /** What processes that have ended had counted: the host's counters must not go back. */
  #departed: readonly MetricFamily[] = [];
  #restartCount = 0;
  #hasBeenWhole = false;

  constructor(options: HostOptions) {
    this.#options = options;
  }

  /** Returns before they serve. */
  start(): void {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ serialization: 'advanced' });
    for (let index = 1; index <= this.#options.count; index++) this.#startOne(index);
  }

  get instance(): string {
    return this.#options.instance;
  }

  get count(): number {
    return this.#options.count;
  }

  get restartCount(): number {
    return this.#restartCount;
  }

  /** Those that take clients, in order. */
  get serving(): readonly ProxyWorker[] {
    return [...this.#workers.values()].filter(({ port }) => port !== undefined).sort((a, b) => a.index - b.index);
  }

  /** Whether all processes have once taken clients, so that their first clients were spread over all of them. */
  get hasBeenWhole(): boolean {
    return this.#hasBeenWhole;
  }

  get isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  /** What is counted of processes that have ended. */
  get departed(): readonly MetricFamily[] {
    return this.#departed;
  }

  /** Drains all of them; those that do not end are killed, and what they had to keep is in their journals. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const worker of this.#workers.values()) worker.kill('SIGTERM');
    const deadline = performance.now() + DRAIN_MS;
    while (this.#workers.size > 0 && performance.now() < deadline) await sleep(20);
    for (const worker of this.#workers.values()) {
      this.#options.logger.error('a process did not end and is killed', { process: worker.index });
      worker.kill('SIGKILL');
    }
  }

  #startOne(index: number): void {
    const worker = new ProxyWorker(
      { index, instance: this.#options.instance },
      {
        onReady: () => {
          this.#hasBeenWhole ||= this.serving.length === this.#options.count;
          this.serving.find((other) => other !== worker)?.send({ kind: 'share' });
          this.#options.logger.info('a process takes clients', { process: index, pid: worker.pid, port: worker.port });
        },
        onPrepared: (message) => {
          for (const other of this.#workers.values()) if (other !== worker) other.send(message);
        },
        onExit: (code, signal) => void this.#ended(worker, code, signal),
      },
    );
    this.#workers.set(index, worker);
  }

  async #ended(worker: ProxyWorker, code: number | null, signal: string | null): Promise<void> {
    const { index } = worker;
    this.#workers.delete(index);
    this.#departed = keepCounters(this.#departed, worker.lastMetrics);
    if (this.isStopping) return;
    if (!this.#hasBeenWhole) {
      this.#options.onFailedStart(code === null || code === 0 ? 1 : code);
      return;
    }
    const isStable = performance.now() - worker.startedMs > STABLE_MS;
    const failures = isStable ? 0 : (this.#failures.get(index) ?? 0);
    this.#failures.set(index, failures + 1);
    const backoffMs = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(failures, 10));
    this.#options.logger.error('a process has ended; it is started again', { process: index, code, signal, backoffMs });
    await sleep(backoffMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    if (this.isStopping) return;
    this.#restartCount++;
    this.#startOne(index);
  }
}

/** Gauges end with their process; what it has counted stays counted. */
function keepCounters(before: readonly MetricFamily[], last: readonly MetricFamily[]): readonly MetricFamily[] {
  return mergeMetrics([before, last.filter(({ type }) => type !== 'gauge')]);
}
