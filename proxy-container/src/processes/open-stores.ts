import { openLedger } from '#adapters/ledger.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { FailedWriteQueue } from '#core/ports.ts';
import { openQueue } from './open-queue.ts';

/** What a proxy shares with the rest of the migration. */
export interface Stores {
  readonly ledger: Ledger;
  /** To be looked at; the journal has one of its own. */
  readonly queue: FailedWriteQueue | null;
}

/** The ledger and the queue of the config. @param instance who changes the ledger */
export async function openStores(config: MigrationConfig, instance: string): Promise<Stores> {
  return { ledger: await openProxyLedger(config, instance), queue: await openQueue(config) };
}

/** The ledger of the config, as the proxy of this name changes it. */
export function openProxyLedger(config: MigrationConfig, instance: string): Promise<Ledger> {
  return openLedger(config, { by: instance, why: 'proxy' });
}
