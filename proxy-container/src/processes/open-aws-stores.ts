import { createS3Client, createSqsClient } from '#adapters/aws-clients.ts';
import { openLedger } from '#adapters/ledger.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { ObjectStoreError } from '#core/errors.ts';
import type { FailedWriteQueue, ObjectStore } from '#core/ports.ts';
import type { Stores } from './open-stores.ts';

/** The same where one of them is in AWS. */
export function openAwsStores(config: MigrationConfig): Stores {
  return { ledger: openLedger(config.ledger), queue: openQueue(config) };
}

function openQueue(config: MigrationConfig): FailedWriteQueue | null {
  const { queueUrl } = config.failedWrites;
  if (queueUrl === null) return null;
  const overflow =
    config.ledger.kind === 's3' ? createS3ObjectStore(createS3Client(), config.ledger.bucket) : NO_OVERFLOW;
  return createSqsFailedWriteQueue({ client: createSqsClient(), queueUrl, overflow });
}

const noStore = (): never => {
  throw new ObjectStoreError('without an S3 ledger there is no place for large messages');
};
const NO_OVERFLOW: ObjectStore = {
  name: '(none)',
  list: noStore,
  open: noStore,
  get: noStore,
  put: noStore,
  remove: noStore,
};
