import type { LedgerConfig } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { createS3Client } from './aws-clients.ts';
import { createFileLedgerStore } from './ledger-file.ts';
import { createS3LedgerStore } from './ledger-s3.ts';

/** The ledger that the config names. Nothing is contacted before the first call. */
export function openLedger(config: LedgerConfig): Ledger {
  return createLedger(
    config.kind === 's3'
      ? createS3LedgerStore(createS3Client(), config.bucket, config.prefix)
      : createFileLedgerStore(config.path),
  );
}
