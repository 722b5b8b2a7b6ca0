import { z } from 'zod';
import { connectDriver, type DriverClient } from '#adapters/cassandra/driver-client.ts';
import { readLoadTarget, readSchema } from '#adapters/cassandra/read-schema.ts';
import { sleep } from '#adapters/replay-batch.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { planValidation } from '#core/jobs/plan-validation.ts';
import { boundDetails } from '#core/jobs/state-size.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { refuseRenames } from '#core/model/rename.ts';
import { type Job, jobHandler } from './support/job-handler.ts';
import { openSnapshot } from './support/snapshot-place.ts';

const eventSchema = z.object({
  kind: z.enum(['load', 'validation']),
  runId: z.string().min(1).max(80),
  input: z.unknown(),
});

/** Plans a run: its ranges to S3, a record of it to the ledger. */
export const handler = jobHandler('plan-ranges', async (event: unknown, job) => {
  const { kind, runId, input } = eventSchema.parse(event);
  const place = { bucket: job.environment.bucket, resultPrefix: `runs/${runId}` };
  if (kind === 'validation') {
    const { planKey, rangeCount, maxConcurrency, ...details } = await planValidationRun(runId, input, job);
    return { runId, planKey, rangeCount, maxConcurrency, dryRun: false, details: boundDetails(details), ...place };
  }
  const { planKey, rangeCount, maxConcurrency, dryRun, ...details } = await planLoadRun(runId, input, job);
  const indexCount = details.rebuildIndexes.length;
  return { runId, planKey, rangeCount, maxConcurrency, dryRun, indexCount, details: boundDetails(details), ...place };
});

async function planLoadRun(runId: string, input: unknown, job: Job) {
  const { environment, logger } = job;
  const { objects, ledger, clock, filterRules } = environment;
  return planLoad(
    runId,
    input,
    {
      objects,
      ledger,
      clock,
      logger,
      openSnapshot: (uri) => openSnapshot(environment, uri),
      readTarget: (keyspace) => withDriver(job, 'target', (client) => readLoadTarget(client, keyspace)),
    },
    {
      ...environment.config.bulkLoad,
      filterRules,
      indexList: await environment.readIndexList(),
      renames: environment.config.renames,
      by: 'plan-ranges',
    },
  );
}

async function planValidationRun(runId: string, input: unknown, job: Job) {
  const { environment, logger } = job;
  const { objects, ledger, clock, filter } = environment;
  refuseRenames(environment.config.renames, 'validation');
  const { samplePercent, compareWriteTime, rangesPerTable, maxConcurrency } = environment.config.validation;
  const [origin, target] = await Promise.all([environment.session('origin'), environment.session('target')]);
  return planValidation(
    runId,
    input,
    {
      origin,
      target,
      objects,
      ledger,
      clock,
      logger,
      sleep,
      readSchema: (side, keyspace, tables) => withDriver(job, side, (client) => readSchema(client, keyspace, tables)),
    },
    { samplePercent, compareWriteTime, rangesPerTable, maxConcurrency, filter },
  );
}

/** Schemas are read by the control plane's driver, on a connection that is closed again. */
async function withDriver<T>(job: Job, side: ClusterName, use: (client: DriverClient) => Promise<T>): Promise<T> {
  const client = await connectDriver(await job.environment.cluster(side));
  try {
    return await use(client);
  } finally {
    await client.shutdown();
  }
}
