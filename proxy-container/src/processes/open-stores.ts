import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { FailedWriteQueue } from '#core/ports.ts';

/** What a proxy shares with the rest of the migration. */
export interface Stores {
  readonly ledger: Ledger;
  readonly queue: FailedWriteQueue | null;
}

/** The ledger and the queue of the config. Clients of AWS are some 25 MiB, so they are loaded where they are asked for only. */
export async function openStores(config: MigrationConfig): Promise<Stores> {
  const { ledger, failedWrites } = config;
  if (ledger.kind === 'file' && failedWrites.queueUrl === null) {
    return { ledger: createLedger(createFileLedgerStore(ledger.path)), queue: null };
  }
  const { openAwsStores } = await import('./open-aws-stores.ts');
  return openAwsStores(config);
}
