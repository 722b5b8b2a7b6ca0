import { setTimeout as sleep } from 'node:timers/promises';
import { GateClosedError } from '#core/errors.ts';
import { DEFINITION_LOCK_RENEWAL_MS, type DefinitionLock, takeDefinitionLock } from '#core/ledger/definition-lock.ts';
import type { LedgerStore } from '#core/ports.ts';

/** Definitions that wait for their turn at this proxy. */
const MAX_WAITING = 128;
const MAX_LOCK_WAIT_MS = 30_000;

/**
 * One definition after the other: at this proxy always, and among all proxies where both clusters are changed, so that
 * both see the definitions of all clients in one order.
 */
export class DefinitionTurns {
  readonly #store: LedgerStore;
  readonly #by: string;
  #last: Promise<unknown> = Promise.resolve();
  #count = 0;

  /** @param by this process, for messages */
  constructor(store: LedgerStore, by: string) {
    this.#store = store;
    this.#by = by;
  }

  /**
   * Runs a task when its turn has come.
   * @param isShared it changes both clusters
   * @throws GateClosedError when too many wait or another proxy does not finish; LedgerUnavailableError; what the task throws
   */
  take<T>(isShared: boolean, task: () => Promise<T>): Promise<T> {
    if (this.#count >= MAX_WAITING) {
      return Promise.reject(new GateClosedError('changing the schema', ['too many definitions wait for their turn']));
    }
    this.#count++;
    const run = this.#last.then(() => (isShared ? this.#locked(task) : task())).finally(() => this.#count--);
    this.#last = run.catch(() => undefined);
    return run;
  }

  /** Resolves when those that have come so far are done. */
  async idle(): Promise<void> {
    await this.#last;
  }

  async #locked<T>(task: () => Promise<T>): Promise<T> {
    const ports = { clock: { nowMillis: Date.now }, sleep: (ms: number) => sleep(ms) };
    const lock = await takeDefinitionLock(this.#store, this.#by, MAX_LOCK_WAIT_MS, ports);
    const timer = renewing(lock);
    try {
      return await task();
    } finally {
      clearInterval(timer);
      // Where the ledger is away the lease ends by itself.
      await lock.release().catch(() => undefined);
    }
  }
}

/** A renewal that fails is tried again; what was sent can't be called back, and the next one waits for its agreement. */
function renewing(lock: DefinitionLock): NodeJS.Timeout {
  let isBusy = false;
  return setInterval(() => {
    if (isBusy) return;
    isBusy = true;
    lock
      .renew()
      .catch(() => false)
      .finally(() => {
        isBusy = false;
      });
  }, DEFINITION_LOCK_RENEWAL_MS).unref();
}
