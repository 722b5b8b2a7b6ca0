/** The bulk load on this machine: the same plan, ranges and summary as the functions, in one process. */

import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { createS3Client } from '#adapters/aws-clients.ts';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { readLoadTarget } from '#adapters/cassandra/read-schema.ts';
import { readYamlFile, resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { openSnapshotPlace } from '#adapters/snapshot-place.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { type FilterRules, filterRulesSchema } from '#core/filter/filter-rules.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { LoadPlan, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { type RunSummary, summarizeRun } from '#core/jobs/summarize-run.ts';
import type { RunContext } from './runs.ts';

/** A process decodes on one core; more ranges at once would only hold more memory. */
const RANGES_AT_ONCE = 4;

/** Ports for planning from this machine. */
function planPorts({ objects, ledger }: RunContext, target: ResolvedCluster): PlanLoadPorts {
  const s3 = createS3Client();
  return {
    async readTarget(keyspace) {
      const client = await connectDriver(target);
      try {
        return await readLoadTarget(client, keyspace);
      } finally {
        await client.shutdown();
      }
    },
    objects,
    openSnapshot: (uri) => openSnapshotPlace(uri, (bucket) => createS3ObjectStore(s3, bucket)),
    ledger,
    clock: { nowMillis: Date.now },
    logger: createLogger('load', 'warn', 2),
  };
}

/** Runs a load here. `onPlan` is told before the first range starts; a dry run has no summary. */
export async function loadHere(
  context: RunContext,
  runId: string,
  input: unknown,
  onPlan: (plan: LoadPlan) => void,
): Promise<{ readonly plan: LoadPlan; readonly summary?: RunSummary }> {
  const { config } = context;
  const target = await resolveCluster('target', config.target);
  const ports = planPorts(context, target);
  const filterRules = await readFilterRules(config.proxy.filterRules);
  const plan = await planLoad(runId, input, ports, { ...config.bulkLoad, filterRules, by: 'ringshift load' });
  onPlan(plan);
  if (plan.dryRun) return { plan };
  const body = await ports.objects.get(plan.planKey);
  const items = JSON.parse(new TextDecoder().decode(body)) as LoadItem[];
  // Each attempt of a write is the writer's own: a list sent again at the same time would stand twice.
  const session = await createCqlSession({ ...target, retry: { ...target.retry, maxAttempts: 1 } });
  try {
    const limit = pLimit(Math.min(plan.maxConcurrency, RANGES_AT_ONCE));
    const loadPorts = { ...ports, target: session, sleep: (ms: number) => delay(ms) };
    // A range that fails has said so in the ledger; the others go on.
    await Promise.allSettled(items.map((item) => limit(() => loadRange({ item, ports: loadPorts }))));
  } finally {
    await session.close();
  }
  return { plan, summary: await summarizeRun(runId, ports) };
}

async function readFilterRules(file: string | null): Promise<FilterRules | null> {
  return file === null ? null : readYamlFile(filterRulesSchema, file, 'the filter rules');
}
