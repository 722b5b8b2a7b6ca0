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
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { LoadPlan, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { loadRange } from '#core/jobs/load-range.ts';
import { LoadInterrupt, type LoadSteps, runLoadSteps } from '#core/jobs/load-steps.ts';
import { takeRange } from '#core/jobs/load-tickets.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { type RunSummary, summarizeRun } from '#core/jobs/summarize-run.ts';
import { readIndexList, restoreHere, withIndexPorts } from './index-ports.ts';
import type { RunContext } from './runs.ts';

/** A process decodes on one core; more ranges at once would only hold more memory. They share its budget. */
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
  const options = {
    ...config.bulkLoad,
    memoryBudgetMB: config.bulkLoad.memoryBudgetMB / Math.min(config.bulkLoad.maxConcurrency, RANGES_AT_ONCE),
    filterRules,
    indexList,
    renames: config.renames,
    by: 'ringshift load',
  };
  const plan = await planLoad(runId, input, ports, options);
  onPlan(plan);
  if (plan.dryRun) return { plan };
  const interrupt = new LoadInterrupt(runId);
  const onSignal = () => process.stderr.write(`${interrupt.interrupt()}\n`);
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const steps = loadSteps(plan, context, target, ports);
    const summary = await runLoadSteps(steps, interrupt, {
      ...ports,
      sleep: (ms, signal) => delay(ms, undefined, { signal }),
    });
    return { plan, summary };
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function loadSteps(plan: LoadPlan, context: RunContext, target: ResolvedCluster, ports: PlanLoadPorts): LoadSteps {
  const { runId } = plan;
  const hasIndexes = plan.rebuildIndexes.length > 0 && plan.rangeCount > 0;
  return {
    drop: hasIndexes
      ? (signal) => withIndexPorts(context, (indexPorts) => dropIndexes(runId, indexPorts, signal))
      : undefined,
    load: (signal) => loadRanges(plan, target, ports, signal),
    restore: (signal, onLook) => restoreHere(context, { runId }, { signal, onLook }),
    summarize: () => summarizeRun(runId, ports),
  };
}

/** A range that fails has said so in the ledger; the others go on. */
async function loadRanges(
  plan: LoadPlan,
  target: ResolvedCluster,
  ports: PlanLoadPorts,
  signal: AbortSignal,
): Promise<void> {
  const body = await ports.objects.get(plan.planKey);
  const items = JSON.parse(new TextDecoder().decode(body)) as LoadItem[];
  const session = await createCqlSession(target);
  const limit = pLimit(Math.min(plan.maxConcurrency, RANGES_AT_ONCE));
  try {
    const loadPorts = { ...ports, target: session, sleep: (ms: number) => delay(ms, undefined, { signal }) };
    await Promise.allSettled(
      items.map((ticket) =>
        limit(async () => {
          if (signal.aborted) return;
          const item = await takeRange(ticket, ports);
          await loadRange({ item, ports: loadPorts, signal });
        }),
      ),
    );
  } finally {
    await session.close();
  }
}

async function readFilterRules(file: string | null): Promise<FilterRules | null> {
  return file === null ? null : readYamlFile(filterRulesSchema, file, 'the filter rules');
}
