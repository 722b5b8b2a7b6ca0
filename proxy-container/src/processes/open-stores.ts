import { openLedger } from '#adapters/ledger.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { withObserver } from '#core/ledger/observed-store.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';
import { Counters } from '../counters/counters.ts';
import { openQueue } from './open-queue.ts';

/** What a proxy shares with the rest of the migration. */
export interface Stores {
  readonly ledger: Ledger;
  /** Those of the proxy, which counts the ledger's operations in them. */
  readonly counters: Counters;
  /** To be looked at; the journal has one of its own. */
  readonly queue: FailedWriteQueue | null;
}

/**
 * The ledger and the queue of the config.
 * @param instance who changes the ledger
 * @param logger hears of each operation of the ledger
 */
export async function openStores(config: MigrationConfig, instance: string, logger: Logger): Promise<Stores> {
  const counters = new Counters();
  const { store } = await openProxyLedger(config, instance);
  const observed = withObserver(store, {
    now: () => performance.now(),
    onDone: (done) => {
      counters.ledger.add(done);
      logger.debug('an operation of the ledger', { ...done, durationMs: Math.round(done.durationMs * 1000) / 1000 });
    },
  });
  return { ledger: createLedger(observed), counters, queue: await openQueue(config) };
}

/** The ledger of the config, as the proxy of this name changes it. */
export function openProxyLedger(config: MigrationConfig, instance: string): Promise<Ledger> {
  return openLedger(config, { by: instance, why: 'proxy' });
}
