import { createS3Client, createSqsClient } from '#adapters/aws-clients.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import { bucketOf } from '#core/config/ledger-schema.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { ObjectStoreError } from '#core/errors.ts';
import type { FailedWriteQueue, ObjectStore } from '#core/ports.ts';

/** The queue in SQS; what is too large for it goes to the bucket of the ledger. */
export function openSqsQueue(queueUrl: string, ledger: MigrationConfig['ledger']): FailedWriteQueue {
  const bucket = bucketOf(ledger);
  const overflow = bucket === undefined ? NO_OVERFLOW : createS3ObjectStore(createS3Client(), bucket);
  return createSqsFailedWriteQueue({ client: createSqsClient(), queueUrl, overflow });
}

const noStore = (): never => {
  throw new ObjectStoreError('without a bucket (ledger.bucket) there is no place for large messages');
};
const NO_OVERFLOW: ObjectStore = {
  name: '(none)',
  list: noStore,
  open: noStore,
  get: noStore,
  put: noStore,
  remove: noStore,
};
