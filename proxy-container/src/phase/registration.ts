import { setTimeout as sleep } from 'node:timers/promises';
import { FencedError, GateClosedError, LedgerConflictError } from '#core/errors.ts';
import { isHeldByAnother, type Ledger } from '#core/ledger/ledger.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import type { Logger } from '#core/ports.ts';

const POLL_MS = 500;
const MAX_CONFLICTS = 20;

export interface RegistrationOptions {
  readonly ledger: Ledger;
  readonly instance: string;
  /** Of this process alone. */
  readonly processId: string;
  /** `proxy.onLedgerLoss: stop`: without a lease it serves nobody. */
  readonly stopsWithLease: boolean;
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
  /** Of the record that this process has written last; undefined before the first one. */
  #version: string | undefined;
  #fenced: FencedError | undefined;

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

  /** Whether others may act as if this process were gone. Asked for each request. */
  get mayNotServe(): boolean {
    return this.#fenced !== undefined || (this.#options.stopsWithLease && this.isLeaseOver);
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
      const read = await ledger.readProxy(instance);
      if (!read || !isHeldByAnother(read.record, processId, new Date())) return;
      const found = read.record;
      if (found.processId !== undefined && found.processId === deadProcessId) {
        if (await this.#removeAs(read.version)) return;
        continue;
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

  /**
   * @throws FencedError from the moment on at which this process was declared dead, GateClosedError while another one of
   *   its name lives
   */
  async #put(record: ProxyRecord): Promise<void> {
    if (this.#fenced) throw this.#fenced;
    const mine = { ...record, processId: this.#options.processId };
    const leaseUntilMs = Date.parse(record.leaseUntil);
    const leaseEndMs = performance.now() + (leaseUntilMs - Date.now());
    this.#version = await this.#write(mine);
    this.#leaseUntilMs = leaseUntilMs;
    this.#leaseEndMs = leaseEndMs;
  }

  /** Usually one request: nobody else writes this record but to fence it. Resolves to its new version. */
  async #write(mine: ProxyRecord): Promise<string> {
    const { ledger } = this.#options;
    let expected: string | null | undefined = this.#version;
    for (let attempt = 1; ; attempt++) {
      if (expected === undefined || attempt > 1) expected = await this.#claim(mine);
      try {
        return await ledger.renewProxy(mine, expected);
      } catch (error) {
        if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
      }
    }
  }

  /** The version over which this process may write; null: there is no record. */
  async #claim(mine: ProxyRecord): Promise<string | null> {
    const found = await this.#options.ledger.readProxy(mine.instance);
    const hasRegistered = this.#version !== undefined;
    if (found === undefined) {
      if (hasRegistered && this.isLeaseOver) this.#giveUp('its record was taken out of the ledger after its lease');
      return null;
    }
    const { record, version } = found;
    if (record.processId === mine.processId) {
      if (record.fencedAt !== undefined) this.#giveUp(`it was declared dead at ${record.fencedAt}`);
      return version;
    }
    if (hasRegistered) this.#giveUp(`another process has taken its name (started at ${record.startedAt})`);
    if (isHeldByAnother(record, mine.processId, new Date())) {
      throw new GateClosedError(`proxy ${mine.instance}`, [
        `another process is registered under this name until ${record.leaseUntil}; give each proxy a name of its own (proxy.instance)`,
      ]);
    }
    return version;
  }

  #giveUp(why: string): never {
    this.#fenced = new FencedError(`this process must not serve any more: ${why}`);
    throw this.#fenced;
  }

  /** Another process may have the name by now; that of a process that was declared dead stays. */
  async #remove(instance: string): Promise<void> {
    const { ledger, processId } = this.#options;
    const found = await ledger.readProxy(instance);
    if (found?.record.processId === processId && found.record.fencedAt === undefined)
      await this.#removeAs(found.version);
  }

  /** False: somebody has written the record since. */
  async #removeAs(version: string): Promise<boolean> {
    try {
      await this.#options.ledger.removeProxy(this.#options.instance, version);
      return true;
    } catch (error) {
      if (error instanceof LedgerConflictError) return false;
      throw error;
    }
  }
}
