/** Plans what an earlier load has not finished. */

import { GateClosedError } from '../errors.ts';
import { listOwedIndexes } from '../ledger/saved-indexes.ts';
import { createRenames } from '../model/rename.ts';
import { planIndexes } from './choose-indexes.ts';
import type { LoadInput, LoadItem } from './load-plan.ts';
import {
  concurrencyOf,
  earlierRuns,
  type LoadPlan,
  type PlanLoadOptions,
  type PlanLoadPorts,
  readTargets,
} from './load-planning.ts';
import { publishPlan } from './publish-plan.ts';
import { runKeys } from './validation-plan.ts';

/** A new run over what an earlier one has not finished; the earlier one's table manifests are read again. */
export async function resumeLoad(
  runId: string,
  input: LoadInput,
  earlierId: string,
  ports: PlanLoadPorts,
  options: PlanLoadOptions,
): Promise<LoadPlan> {
  const { ledger, objects } = ports;
  const earlier = await ledger.readRun(earlierId);
  const body = await objects.get(runKeys.plan(earlierId));
  if (earlier === undefined || earlier.kind !== 'load' || body === undefined) {
    throw new GateClosedError(`resuming ${earlierId}`, ['there is no such load with a plan; start a new one']);
  }
  if (earlier.keyspace !== input.keyspace) {
    throw new GateClosedError(`resuming ${earlierId}`, [
      `it loads keyspace ${earlier.keyspace}, not ${input.keyspace}`,
    ]);
  }
  if (earlierId === runId) {
    throw new GateClosedError(`resuming ${earlierId}`, [
      'what goes on is a run of its own, whose ranges count anew; take another --run-id',
    ]);
  }
  if (earlier.state === 'running') {
    throw new GateClosedError(`resuming ${earlierId}`, [
      `it is under way; stop it first: ringshift load stop ${earlierId}`,
    ]);
  }
  const renames = createRenames(options.renames);
  const target = await readTargets(ports, renames, input.keyspace, earlier.tables);
  const all = JSON.parse(new TextDecoder().decode(body)) as LoadItem[];
  const records = new Map((await ledger.listRanges(earlierId)).map((record) => [record.index, record]));
  const listAttemptBase = earlierRuns(await ledger.listRuns('load'), input.keyspace, runId);
  const items: LoadItem[] = [];
  for (const item of all) {
    const record = records.get(item.index);
    if (record?.state === 'done') continue;
    const checkpoint = record?.checkpoint ?? item.checkpoint;
    items.push({
      ...item,
      runId,
      index: items.length,
      listAttemptBase: Math.max(listAttemptBase, item.listAttemptBase + 1),
      ...(item.counters ? { countersQuiesced: input.countersQuiesced ?? false } : {}),
      ...(checkpoint === undefined || checkpoint === null ? {} : { checkpoint }),
    });
  }
  const tables = earlier.tables.map((table) => {
    const mine = items.filter((item) => item.table === table);
    const bytes = mine.reduce((sum, item) => sum + item.bytes, 0);
    return { table, sstables: 0, ranges: mine.length, bytes };
  });
  const unfinished = tables
    .filter(({ ranges }) => ranges > 0)
    .map(({ table }) => renames.toTarget({ keyspace: input.keyspace, table }));
  const owed = await listOwedIndexes(ledger);
  const indexes = planIndexes(input, options, await ledger.readPhase(), unfinished, target.indexes, owed);
  const plan: LoadPlan = {
    runId,
    planKey: runKeys.plan(runId),
    rangeCount: items.length,
    totalBytes: items.reduce((sum, item) => sum + item.bytes, 0),
    maxConcurrency: concurrencyOf(input.targetWriteMBps ?? options.targetWriteMBps, options.maxConcurrency),
    dryRun: input.dryRun ?? false,
    tables,
    skipped: [],
    rebuildIndexes: indexes.rebuilt.map(({ keyspace, table, name }) => ({ keyspace, table, name })),
    warnings: indexes.warnings,
  };
  if (!plan.dryRun) await publishPlan(plan, items, input, [], ports, options.by);
  ports.logger.info('resuming a load', { runId, earlierId, ranges: items.length });
  return plan;
}
