import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { ControlConnection } from '../upstream/control-connection.ts';
import type { SchemaAgreement } from './schema-agreement.ts';
import { differingElements, readElements } from './schema-elements.ts';

const INTERVAL_MS = 60_000;
const AGREEMENT_MS = 10_000;
const NAMES_IN_LOG = 20;

export interface SchemaWatchOptions {
  readonly controls: Readonly<Record<ClusterName, Pick<ControlConnection, 'schemaRows' | 'state'>>>;
  readonly agreement: SchemaAgreement;
  readonly counters: Counters;
  readonly filter: () => Filter;
  /** Both clusters take part in what clients do. */
  readonly isDual: () => boolean;
  readonly logger: Logger;
}

/**
 * Compares the schemas of the two clusters every minute, and reads them only when a version has changed: somebody may
 * change one without the proxy.
 */
export class SchemaWatch {
  readonly #options: SchemaWatchOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** What the last comparison was of. */
  #compared: string | undefined;

  constructor(options: SchemaWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Compares once, if there is something new to compare. Never rejects. */
  async look(): Promise<void> {
    const { controls, agreement, counters, isDual, logger } = this.#options;
    if (!isDual()) {
      counters.schemaDrift = 0;
      this.#compared = undefined;
      return;
    }
    const names = ['origin', 'target'] as const;
    if (names.some((name) => controls[name].state !== 'up')) return;
    try {
      const agreed = await Promise.all(names.map((name) => agreement.agree(name, AGREEMENT_MS)));
      // The rules may have changed as well, and reading them is cheap only where nothing else is read.
      const looked = agreement.version;
      if (agreed.includes(false) || (looked === this.#compared && counters.schemaDrift === 0)) return;
      const [origin, target] = await Promise.all([readElements(controls.origin), readElements(controls.target)]);
      const differing = differingElements(origin, target, this.#options.filter());
      counters.schemaDrift = differing.length;
      if (looked !== this.#compared && differing.length > 0) {
        const some = differing.slice(0, NAMES_IN_LOG);
        logger.warn('the schemas of the clusters differ; see: ringshift schema diff', {
          count: differing.length,
          some,
        });
      }
      this.#compared = looked;
    } catch (error) {
      logger.debug('the schemas could not be compared', { error: describeError(error) });
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look();
      await sleep(INTERVAL_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}
