import { join } from 'node:path';
import type { MigrationConfig } from '#core/config/schema.ts';
import type { FailedWriteQueue } from '#core/ports.ts';

/** Whether the config names a queue. */
export function hasQueue({ failedWrites }: Pick<MigrationConfig, 'failedWrites'>): boolean {
  return failedWrites.kind === 'directory' || failedWrites.queueUrl !== null;
}

/**
 * The queue of failed writes that the config names; null: there is none. What it is made of is loaded where it is asked
 * for only: clients of AWS are some 25 MiB.
 */
export async function openQueue({
  failedWrites,
  ledger,
}: Pick<MigrationConfig, 'failedWrites' | 'ledger'>): Promise<FailedWriteQueue | null> {
  if (failedWrites.kind === 'directory') {
    const { openDirectoryQueue } = await import('#adapters/queue-directory.ts');
    return openDirectoryQueue({ path: join(failedWrites.path ?? ''), maxBytes: failedWrites.maxMB * 1024 * 1024 });
  }
  if (failedWrites.queueUrl === null) return null;
  const { openSqsQueue } = await import('./open-sqs.ts');
  return openSqsQueue(failedWrites.queueUrl, ledger);
}
