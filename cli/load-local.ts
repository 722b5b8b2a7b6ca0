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
import { describeError, RunFailedError } from '#core/errors.ts';
import { type FilterRules, filterRulesSchema } from '#core/filter/filter-rules.ts';
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { LoadPlan, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { type RunSummary, summarizeRun } from '#core/jobs/summarize-run.ts';
import { readIndexList, restoreHere, withIndexPorts } from './index-ports.ts';
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
  const indexList = await readIndexList(config.bulkLoad.indexList);
  const options = { ...config.bulkLoad, filterRules, indexList, renames: config.renames, by: 'ringshift load' };
  const plan = await planLoad(runId, input, ports, options);
  onPlan(plan);
  if (plan.dryRun) return { plan };
  if (plan.rebuildIndexes.length === 0 || plan.rangeCount === 0) {
    await loadRanges(plan, target, ports);
    return { plan, summary: await summarizeRun(runId, ports) };
  }
  try {
    await withIndexPorts(context, (indexPorts) => dropIndexes(runId, indexPorts));
    await loadRanges(plan, target, ports);
  } catch (error) {
    await restoreHere(context, { runId }).catch((cause: unknown) =>
      ports.logger.error('and the indexes are not restored; run: ringshift indexes restore', {
        error: describeError(cause),
      }),
    );
    // Ends the run; what failed is in the error.
    await summarizeRun(runId, ports);
    throw error;
  }
  await restoreHere(context, { runId });
  return { plan, summary: await summarizeRun(runId, ports) };
}

/** A range that fails has said so in the ledger; the others go on. The first interrupt ends them, so that indexes come back. */
async function loadRanges(plan: LoadPlan, target: ResolvedCluster, ports: PlanLoadPorts): Promise<void> {
  const body = await ports.objects.get(plan.planKey);
  const items = JSON.parse(new TextDecoder().decode(body)) as LoadItem[];
  // Each attempt of a write is the writer's own: a list sent again at the same time would stand twice.
  const session = await createCqlSession({ ...target, retry: { ...target.retry, maxAttempts: 1 } });
  const limit = pLimit(Math.min(plan.maxConcurrency, RANGES_AT_ONCE));
  const interrupted = new AbortController();
  const onSignal = () => interrupted.abort(new RunFailedError(`${plan.runId} was interrupted`));
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  const { signal } = interrupted;
  try {
    const loadPorts = { ...ports, target: session, sleep: (ms: number) => delay(ms, undefined, { signal }) };
    await Promise.allSettled(
      items.map((item) => limit(() => (signal.aborted ? undefined : loadRange({ item, ports: loadPorts, signal })))),
    );
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    await session.close();
  }
}

async function readFilterRules(file: string | null): Promise<FilterRules | null> {
  return file === null ? null : readYamlFile(filterRulesSchema, file, 'the filter rules');
}
