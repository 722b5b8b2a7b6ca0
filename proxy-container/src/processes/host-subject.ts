import type { Reloaded } from '#adapters/watched-files.ts';
import type { AdminSubject, PhaseRequest } from '../admin/admin-subject.ts';
import { type MetricFamily, mergeMetrics } from '../admin/metric-family.ts';
import { collectHostMetrics } from '../admin/metrics.ts';
import { NoProcessError } from '../admin/no-process-error.ts';
import type { ProxyStatus } from '../admin/status.ts';
import type { Host } from './host.ts';
import { mergeStatus } from './merge-status.ts';
import type { ProxyWorker } from './worker.ts';

const ANSWER_MS = 5_000;

/** What the admin API of a host shows and changes: its processes as if they were one. */
export class HostSubject implements AdminSubject {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  async status(): Promise<ProxyStatus> {
    const answers = await Promise.all(
      this.#host.serving.map((worker) =>
        worker.ask<ProxyStatus>('status', undefined, ANSWER_MS).catch(() => undefined),
      ),
    );
    const known = answers.filter((status) => status !== undefined);
    if (known.length === 0) throw new NoProcessError('no process of this proxy takes clients; one is being started');
    const merged = mergeStatus(this.#host.instance, known);
    return {
      ...merged,
      isListening: merged.isListening && this.#host.hasBeenWhole,
      isDraining: this.#host.isStopping,
      processes: known,
    };
  }

  async metrics(): Promise<readonly MetricFamily[]> {
    const { serving, departed, count, restartCount } = this.#host;
    const own = collectHostMetrics({ configured: count, serving: serving.length, restarts: restartCount });
    const names = new Set(own.map(({ name }) => name));
    const ofProcesses = await Promise.all(serving.map(takeMetrics));
    const merged = mergeMetrics([departed, ...ofProcesses]);
    return [...merged.filter(({ name }) => !names.has(name)), ...own];
  }

  readPhase(): Promise<unknown> {
    return this.#any().ask('readPhase', undefined, ANSWER_MS);
  }

  /** One of them asks for the change; all of them must drain and act, as every proxy in the ledger must. */
  changePhase(request: PhaseRequest): Promise<unknown> {
    return this.#any().ask('changePhase', request);
  }

  filters(): Promise<unknown> {
    return this.#any().ask('filters', undefined, ANSWER_MS);
  }

  /** Read by each process. What is wrong with the file is wrong for all; one that starts later reads it as well. */
  async reloadFilters(): Promise<unknown> {
    await this.#all('reloadFilters');
    return this.filters();
  }

  async reloadCertificates(): Promise<readonly Reloaded[]> {
    const [first] = await this.#all<readonly Reloaded[]>('reloadCertificates');
    return first ?? [];
  }

  /** Has every process read its files again. */
  async #all<T>(verb: 'reloadFilters' | 'reloadCertificates'): Promise<T[]> {
    this.#any();
    const results = await Promise.allSettled(this.#host.serving.map((worker) => worker.ask<T>(verb)));
    // One that died meanwhile reads them when it is started again.
    const refused = results.find((one) => one.status === 'rejected' && !(one.reason instanceof NoProcessError));
    if (refused?.status === 'rejected') throw refused.reason;
    return results.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  }

  #any(): ProxyWorker {
    const [first] = this.#host.serving;
    if (!first) throw new NoProcessError('no process of this proxy takes clients; one is being started');
    return first;
  }
}

/** A process that is too busy to answer shows what it showed last, so that no sum goes back. */
async function takeMetrics(worker: ProxyWorker): Promise<readonly MetricFamily[]> {
  try {
    worker.lastMetrics = await worker.ask<readonly MetricFamily[]>('metrics', undefined, ANSWER_MS);
  } catch (error) {
    if (!(error instanceof NoProcessError)) throw error;
  }
  return worker.lastMetrics;
}
