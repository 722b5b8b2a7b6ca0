/** The proxy's process: `node proxy-container/src/main.ts --config FILE`. Exits 0 after a drain, 1 when it can't serve, 2 on a wrong config. */
import { parseArgs } from 'node:util';
import { createS3Client, createSqsClient } from '#adapters/aws-clients.ts';
import { readMigrationConfig, resolveCluster } from '#adapters/config-file.ts';
import { openLedger } from '#adapters/ledger.ts';
import { createLogger, type LogLevel } from '#adapters/logger.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { ConfigError, describeError, ObjectStoreError, UsageError } from '#core/errors.ts';
import type { FailedWriteQueue, ObjectStore } from '#core/ports.ts';
import { installLastResort } from './last-resort.ts';
import { CqlProxy } from './proxy.ts';

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent'];
/** What a queue message holds without an object store behind it. */
const MAX_INLINE_BYTES = 250 * 1024;
const MAX_OVERFLOW_BYTES = 64 * 1024 * 1024;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string', default: 'config/migration.yaml' } } });
  const logger = createLogger('proxy', levelOf(process.env['RINGSHIFT_LOG_LEVEL']));
  const config = await readMigrationConfig(values.config);
  const proxy = new CqlProxy(config, {
    ledger: openLedger(config.ledger),
    queue: openQueue(config),
    maxMessageBytes: config.ledger.kind === 's3' ? MAX_OVERFLOW_BYTES : MAX_INLINE_BYTES,
    origin: await resolveCluster('origin', config.origin),
    target: await resolveCluster('target', config.target),
    logger,
  });
  let isStopping = false;
  const stop = (signal: string): void => {
    // A process group's signal arrives more than once: from the terminal or the launcher, and from the command.
    if (isStopping) return;
    isStopping = true;
    logger.info('draining', { signal });
    proxy.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error('the drain failed', { error: describeError(error) });
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop(signal));
  await proxy.start();
  // Not before: a fault while starting is a reason not to start.
  installLastResort(process, { logger, onFault: () => proxy.noteFault() });
}

function levelOf(name: string | undefined): LogLevel {
  return LEVELS.find((level) => level === name) ?? 'info';
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

try {
  await main();
} catch (error) {
  process.stderr.write(`ringshift proxy: ${describeError(error)}\n`);
  process.exit(error instanceof ConfigError || error instanceof UsageError ? 2 : 1);
}
