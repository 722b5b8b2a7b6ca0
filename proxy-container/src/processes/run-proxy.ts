import { randomUUID } from 'node:crypto';
import { createS3Client, createSqsClient } from '#adapters/aws-clients.ts';
import { resolveCluster, resolveLogins } from '#adapters/config-file.ts';
import { openLedger } from '#adapters/ledger.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { ObjectStoreError } from '#core/errors.ts';
import type { FailedWriteQueue, Logger, ObjectStore } from '#core/ports.ts';
import { LeftoverJournals } from '../journal/leftover-journals.ts';
import { CqlProxy } from '../proxy.ts';
import { defaultInstance } from './default-instance.ts';
import { installLastResort } from './last-resort.ts';
import { ProcessLink } from './process-link.ts';
import { configOfProcess, leftoverDirectories, processCount, readPlace } from './process-place.ts';
import { stopOnSignals } from './stop-on-signals.ts';

/** What a queue message holds without an object store behind it. */
const MAX_INLINE_BYTES = 250 * 1024;
const MAX_OVERFLOW_BYTES = 64 * 1024 * 1024;

/** Runs the only proxy of this host, with an admin API of its own. */
export async function runProxy(config: MigrationConfig, logger: Logger): Promise<void> {
  const proxy = await createProxy(config, logger, false);
  const leftovers = await createLeftovers(config, 1, config.proxy.instance ?? defaultInstance(process.env), logger);
  stopOnSignals(logger, () => Promise.all([proxy.stop(), leftovers.stop()]));
  await proxy.start();
  leftovers.start();
  // Not before: a fault while starting is a reason not to start.
  installLastResort(process, { logger, onFault: () => proxy.noteFault() });
}

/** Runs one of several proxies of this host. */
export async function runProcess(config: MigrationConfig, logger: Logger): Promise<void> {
  const place = readPlace(process.env);
  const proxy = await createProxy(configOfProcess(config, place), logger, true);
  const leftovers =
    place.index === 1 ? await createLeftovers(config, processCount(config.proxy), place.instance, logger) : undefined;
  const stop = stopOnSignals(logger, () => Promise.all([proxy.stop(), leftovers?.stop()]));
  const link = new ProcessLink(proxy.subject, proxy.prepared, () => stop('the host is gone'));
  await proxy.start();
  installLastResort(process, { logger, onFault: () => proxy.noteFault() });
  leftovers?.start();
  link.sayReady(proxy.listenAddress?.port ?? 0);
}

async function createProxy(config: MigrationConfig, logger: Logger, isOneOfSeveral: boolean): Promise<CqlProxy> {
  return new CqlProxy(config, {
    ledger: openLedger(config.ledger),
    queue: openQueue(config),
    maxMessageBytes: config.ledger.kind === 's3' ? MAX_OVERFLOW_BYTES : MAX_INLINE_BYTES,
    origin: await resolveCluster('origin', config.origin),
    target: await resolveCluster('target', config.target),
    logins: await resolveLogins(config.proxy.logins),
    logger,
    isOneOfSeveral,
  });
}

async function createLeftovers(
  config: MigrationConfig,
  count: number,
  instance: string,
  logger: Logger,
): Promise<LeftoverJournals> {
  const { journalDir, batchSize, retryIntervalSecs } = config.failedWrites;
  return new LeftoverJournals({
    directories: await leftoverDirectories(journalDir, count),
    instance,
    processId: randomUUID(),
    ledger: openLedger(config.ledger),
    queue: openQueue(config),
    batchSize,
    maxBackoffMs: retryIntervalSecs * 1000,
    logger,
  });
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
