import type { FailedWritesConfig } from '#core/config/failed-writes-schema.ts';
import type { ObjectStore } from '#core/ports.ts';
import { createSqsClient } from './aws-clients.ts';
import { openDirectoryQueue } from './queue-directory.ts';
import type { ReplayQueue } from './replay-queue.ts';
import { createSqsReplayQueue } from './sqs-consumer.ts';

/**
 * The queue of failed writes, with what replaying needs; undefined where none is configured.
 * @param overflow where messages lie that are too large for SQS
 */
export async function openReplayQueue(
  { kind, queueUrl, path, maxMB }: FailedWritesConfig,
  overflow: ObjectStore,
): Promise<ReplayQueue | undefined> {
  if (kind === 'directory') return openDirectoryQueue({ path: path!, maxBytes: maxMB * 1024 * 1024 });
  return queueUrl === null ? undefined : createSqsReplayQueue({ client: createSqsClient(), queueUrl, overflow });
}
