import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { createIndexAdmin } from '#adapters/cassandra/index-admin.ts';
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import { restoreIndexes } from '#core/jobs/restore-indexes.ts';
import { jobHandler } from './support/job-handler.ts';

const eventSchema = z.object({ runId: z.string().min(1).max(200), action: z.enum(['drop', 'restore']) });

/** Drops a load's secondary indexes before its first range, and creates them again after its last. */
export const handler = jobHandler('load-indexes', async (event: unknown, job) => {
  const { runId, action } = eventSchema.parse(event);
  const { environment, logger, deadlineMillis, signal } = job;
  const { ledger, clock, config } = environment;
  const client = await connectDriver(await environment.cluster('target'));
  try {
    const indexes = createIndexAdmin(client, config.target.localDatacenter);
    const ports = { indexes, ledger, clock, logger, sleep: (ms: number) => delay(ms, undefined, { signal }) };
    if (action === 'drop') return await dropIndexes(runId, ports);
    const { indexBuilds, indexBuildTimeoutMinutes } = config.bulkLoad;
    const options = { buildsAtOnce: indexBuilds, buildTimeoutMs: indexBuildTimeoutMinutes * 60_000 };
    return await restoreIndexes({ runId }, ports, { ...options, deadlineMillis, signal });
  } finally {
    await client.shutdown();
  }
});
