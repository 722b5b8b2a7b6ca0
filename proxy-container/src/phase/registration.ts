import { setTimeout as sleep } from 'node:timers/promises';
import { GateClosedError } from '#core/errors.ts';
import { isHeldByAnother, type Ledger } from '#core/ledger/ledger.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import type { Logger } from '#core/ports.ts';

const POLL_MS = 500;

export interface RegistrationOptions {
  readonly ledger: Ledger;
  readonly instance: string;
  /** Of this process alone. */
  readonly processId: string;
  readonly logger: Logger;
}

/**
 * This process's place in the ledger: the name is its own, and it knows until when the lease runs that it last wrote.
 * @see PhaseWatch, which renews it through `ledger`
 */
export class Registration {
  readonly #options: RegistrationOptions;
  /** The ledger as this process may use it: its own record is written by compare-and-set. */
  readonly ledger: Ledger;
  #leaseUntilMs = Number.POSITIVE_INFINITY;
  #leaseEndMs = Number.POSITIVE_INFINITY;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.ledger = {
      ...options.ledger,
      putProxy: (record) => this.#put(record),
      removeProxy: (instance) => this.#remove(instance),
    };
  }

  /**
   * Whether the lease in the ledger has run out: others may have declared this process dead. Decided by the clocks
   * alone, by whichever is ahead, so that a ledger that hangs instead of failing changes nothing.
   */
  get isLeaseOver(): boolean {
    return performance.now() >= this.#leaseEndMs || Date.now() >= this.#leaseUntilMs;
  }

  /**
   * Waits for the lease of a process of the same name that died without a goodbye.
   * @param deadProcessId a process that is known to be dead, whose lease means nothing
   * @throws GateClosedError when that process lives: it renewed its lease meanwhile
   */
  async waitForName(deadProcessId: string | undefined): Promise<void> {
    const { ledger, instance, processId, logger } = this.#options;
    let first: ProxyRecord | undefined;
    for (;;) {
      const found = (await ledger.listProxies()).find((record) => record.instance === instance);
      if (!found || !isHeldByAnother(found, processId, new Date())) return;
      if (found.processId !== undefined && found.processId === deadProcessId) {
        await ledger.removeProxy(instance);
        return;
      }
      if (first === undefined) {
        const { leaseUntil } = found;
        logger.warn('another process is registered under this name; waiting for its lease', { instance, leaseUntil });
      } else if (first.leaseUntil !== found.leaseUntil || first.processId !== found.processId) {
        throw new GateClosedError(`proxy ${instance}`, [
          `another process with this name is alive (started at ${found.startedAt}); stop it, or give each proxy a name of its own (proxy.instance)`,
        ]);
      }
      first = found;
      await sleep(POLL_MS);
    }
  }

  async #put(record: ProxyRecord): Promise<void> {
    const { ledger, processId } = this.#options;
    const leaseUntilMs = Date.parse(record.leaseUntil);
    const leaseEndMs = performance.now() + (leaseUntilMs - Date.now());
    await ledger.claimProxy({ ...record, processId }, new Date());
    this.#leaseUntilMs = leaseUntilMs;
    this.#leaseEndMs = leaseEndMs;
  }

  /** Another process may have the name by now. */
  async #remove(instance: string): Promise<void> {
    const { ledger, processId } = this.#options;
    const found = (await ledger.listProxies()).find((record) => record.instance === instance);
    if (found?.processId === processId) await ledger.removeProxy(instance);
  }
}
