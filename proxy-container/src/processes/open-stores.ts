import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { FailedWriteQueue } from '#core/ports.ts';
import { openQueue } from './open-queue.ts';

/** What a proxy shares with the rest of the migration. */
export interface Stores {
  readonly ledger: Ledger;
  /** To be looked at; the journal has one of its own. */
  readonly queue: FailedWriteQueue | null;
}

/** The ledger and the queue of the config. Clients of AWS are some 25 MiB, so they are loaded where they are asked for only. */
export async function openStores(config: MigrationConfig): Promise<Stores> {
  return { ledger: await openLedgerOf(config.ledger), queue: await openQueue(config) };
}

/** The ledger of the config. */
export async function openLedgerOf(ledger: MigrationConfig['ledger']): Promise<Ledger> {
  if (ledger.kind === 'file') return createLedger(createFileLedgerStore(ledger.path));
  const { openLedger } = await import('#adapters/ledger.ts');
  return openLedger(ledger);
}
