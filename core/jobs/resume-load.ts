/** Plans what an earlier load has not finished. */

import { GateClosedError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RunRecord } from '../ledger/records.ts';
import { listOwedIndexes } from '../ledger/saved-indexes.ts';
import { createRenames } from '../model/rename.ts';
import { planIndexes } from './choose-indexes.ts';
import { checkCounterGate } from './counter-gate.ts';
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
import { renewManifests } from './renew-manifests.ts';
import { checkAge, checkCoverage, readSnapshot } from './snapshot-layout.ts';
import { chooseFresh } from './stale-tables.ts';
import { runKeys } from './validation-plan.ts';

/**
 * A new run over what an earlier one has not finished, behind the same gates as a start.
 * @throws GateClosedError, SnapshotIncompleteError, SnapshotTooOldError, SchemaMismatchError
 */
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
  const unfinished = all.filter((item) => records.get(item.index)?.state !== 'done');
  const place = ports.openSnapshot(input.snapshot);
  // Of a load that is finished nothing is read any more.
  const snapshot = unfinished.length > 0 ? await readSnapshot(place.objects, place.prefix, input.keyspace) : undefined;
  const names = [...new Set(unfinished.map(({ table }) => table))];
  const { fresh, stale } = snapshot
    ? chooseFresh(input.keyspace, names, await ledger.listTables(), snapshot, input.skipStale ?? false)
    : { fresh: new Set(names), stale: [] };
  const rest = unfinished.filter(({ table }) => fresh.has(table));
  const items: LoadItem[] = [];
  for (const item of rest) {
    const checkpoint = records.get(item.index)?.checkpoint ?? item.checkpoint;
    items.push({
      ...item,
      runId,
      index: items.length,
      tableKey: runKeys.table(runId, item.keyspace, item.table),
      listAttemptBase: Math.max(listAttemptBase, item.listAttemptBase + 1),
      ...(item.counters ? { countersQuiesced: input.countersQuiesced ?? false } : {}),
      ...(checkpoint === undefined || checkpoint === null ? {} : { checkpoint }),
    });
  }
  const isStale = (table: string) => stale.some((each) => each.table === table);
  const inPlan = (await tablesOf(earlier, items, ledger)).filter((table) => !isStale(table));
  const tables = inPlan.map((table) => {
    const mine = items.filter((item) => item.table === table);
    const bytes = mine.reduce((sum, item) => sum + item.bytes, 0);
    return { table, sstables: 0, ranges: mine.length, bytes };
  });
  const phase = await ledger.readPhase();
  const warnings: string[] = [];
  const manifests: [string, string][] = [];
  // The rest is loaded under the same conditions as a whole.
  if (snapshot !== undefined) {
    checkCoverage(snapshot, input.trustCoverage ?? false);
    warnings.push(...checkAge(snapshot, phase, input.allowEarlySnapshot ?? false));
    if (items.some(({ counters }) => counters)) checkCounterGate(input, phase);
    const now = { snapshot, target, phase, renames };
    manifests.push(...(await renewManifests(runId, input, rest, now, ports, options)));
  }
  const loaded = tables
    .filter(({ ranges }) => ranges > 0)
    .map(({ table }) => renames.toTarget({ keyspace: input.keyspace, table }));
  const owed = await listOwedIndexes(ledger);
  const indexes = planIndexes(input, options, phase, loaded, target.indexes, owed);
  const plan: LoadPlan = {
    runId,
    planKey: runKeys.plan(runId),
    rangeCount: items.length,
    totalBytes: items.reduce((sum, item) => sum + item.bytes, 0),
    maxConcurrency: concurrencyOf(input.targetWriteMBps ?? options.targetWriteMBps, options.maxConcurrency),
    dryRun: input.dryRun ?? false,
    tables,
    skipped: stale,
    rebuildIndexes: indexes.rebuilt.map(({ keyspace, table, name }) => ({ keyspace, table, name })),
    warnings: [...warnings, ...indexes.warnings],
  };
  if (!plan.dryRun) await publishPlan(plan, items, input, manifests, ports, options.by);
  ports.logger.info('resuming a load', { runId, earlierId, ranges: items.length });
  return plan;
}

/**
 * The tables whose state the run decides: those that it loads, and those that the earlier run loaded whole without saying
 * so. Of others (validated since, or suspect for a reason of their own) a load of nothing knows nothing.
 */
async function tablesOf(earlier: RunRecord, items: readonly LoadItem[], ledger: Ledger): Promise<string[]> {
  const tables: string[] = [];
  for (const table of earlier.tables) {
    const isLoaded = items.some((item) => item.table === table);
    if (isLoaded || (await isUndecided(earlier, table, ledger))) tables.push(table);
  }
  return tables;
}

async function isUndecided(earlier: RunRecord, table: string, ledger: Ledger): Promise<boolean> {
  const record = await ledger.readTable(earlier.keyspace, table);
  if (record === undefined) return true;
  if (record.runId !== earlier.runId) return false;
  if (record.state === 'loading') return true;
  const since = record.reasons.filter(({ at }) => at >= earlier.startedAt);
  return record.state === 'suspect' && since.every(({ by }) => by === 'load');
}
