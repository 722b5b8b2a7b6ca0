/** Refuses what must not be loaded, cuts the rest into ranges of about equal bytes, and writes the plan. */

import { SnapshotIncompleteError } from '../errors.ts';
import { listOwedIndexes } from '../ledger/saved-indexes.ts';
import { createRenames } from '../model/rename.ts';
import { planIndexes } from './choose-indexes.ts';
import { type ChosenTable, chooseTables } from './choose-tables.ts';
import { checkCounterGate } from './counter-gate.ts';
import type { PlannedRange } from './cut-partitions.ts';
import { cutTable, openTable } from './cut-table.ts';
import { encodeTableManifest, type LoadItem, parseLoadInput } from './load-plan.ts';
import {
  concurrencyOf,
  earlierRuns,
  type LoadPlan,
  type PlanLoadOptions,
  type PlanLoadPorts,
  readTargets,
} from './load-planning.ts';
import { publishPlan } from './publish-plan.ts';
import { resumeLoad } from './resume-load.ts';
import { checkAge, checkCoverage, readSnapshot } from './snapshot-layout.ts';
import { chooseFresh, inOrder } from './stale-tables.ts';
import { manifestOf } from './table-manifest.ts';
import { warnOfUnknownTables } from './unknown-entries.ts';
import { runKeys } from './validation-plan.ts';

/**
 * Plans a load and takes the keyspace's only one.
 * @throws ConfigError (input), SnapshotIncompleteError, SnapshotTooOldError, SchemaMismatchError, GateClosedError
 */
export async function planLoad(
  runId: string,
  rawInput: unknown,
  ports: PlanLoadPorts,
  options: PlanLoadOptions,
): Promise<LoadPlan> {
  const input = parseLoadInput(rawInput);
  if (input.resume !== undefined) return resumeLoad(runId, input, input.resume, ports, options);
  const renames = createRenames(options.renames);
  const place = ports.openSnapshot(input.snapshot);
  const [snapshot, target, phase, runs, records] = await Promise.all([
    readSnapshot(place.objects, place.prefix, input.keyspace),
    readTargets(ports, renames, input.keyspace, input.tables),
    ports.ledger.readPhase(),
    ports.ledger.listRuns('load'),
    ports.ledger.listTables(),
  ]);
  if (snapshot.tables.length === 0) {
    throw new SnapshotIncompleteError(`${input.snapshot} holds no SSTable of keyspace ${input.keyspace}`);
  }
  checkCoverage(snapshot, input.trustCoverage ?? false);
  const warnings = checkAge(snapshot, phase, input.allowEarlySnapshot ?? false);
  if (input.counters) checkCounterGate(input, phase);
  const wanted = chooseTables(input, snapshot, target, options.filterRules, renames);
  const names = wanted.chosen.map(({ table }) => table.table);
  const { fresh, stale } = chooseFresh(input.keyspace, names, records, snapshot, input.skipStale ?? false);
  const own = records.filter(({ keyspace }) => keyspace === input.keyspace);
  const nameOf = ({ table }: ChosenTable) => table.table;
  const chosen = inOrder(wanted.chosen, nameOf, own).filter((each) => fresh.has(nameOf(each)));
  const skipped = [...wanted.skipped, ...stale];
  const listAttemptBase = earlierRuns(runs, input.keyspace, runId);

  const indexes = planIndexes(
    input,
    options,
    phase,
    chosen.map(({ schema }) => schema),
    target.indexes,
    await listOwedIndexes(ports.ledger),
  );
  warnings.push(...indexes.warnings);
  if ((input.indexes ?? options.indexes) === 'rebuild') {
    warnings.push(...warnOfUnknownTables(input.indexList ?? options.indexList, target));
  }

  const items: LoadItem[] = [];
  const tables: LoadPlan['tables'][number][] = [];
  const manifests: [string, string][] = [];
  for (const { schema, table } of chosen) {
    const opened = await openTable(place.objects, table, ports.logger);
    const ranges: readonly PlannedRange[] =
      opened.kind === 'bad' ? [opened.range] : await cutTable(opened.sstables, options, !input.counters);
    const tableKey = runKeys.table(runId, table.keyspace, table.table);
    for (const range of ranges) {
      items.push({
        runId,
        index: items.length,
        keyspace: table.keyspace,
        table: table.table,
        start: String(range.start),
        end: String(range.end),
        ...(range.slice === undefined ? {} : { slice: range.slice }),
        bytes: range.bytes,
        tableKey,
        listAttemptBase,
        ...(input.counters ? { counters: true, countersQuiesced: input.countersQuiesced ?? false } : {}),
      });
    }
    const bytes = ranges.reduce((sum, range) => sum + range.bytes, 0);
    tables.push({ table: table.table, sstables: table.sstables.length, ranges: ranges.length, bytes });
    manifests.push([
      tableKey,
      encodeTableManifest(manifestOf(input, { schema, table }, snapshot, opened.entries, phase, options)),
    ]);
  }
  const maxConcurrency = concurrencyOf(input.targetWriteMBps ?? options.targetWriteMBps, options.maxConcurrency);
  const plan: LoadPlan = {
    runId,
    planKey: runKeys.plan(runId),
    rangeCount: items.length,
    totalBytes: items.reduce((sum, item) => sum + item.bytes, 0),
    maxConcurrency,
    dryRun: input.dryRun ?? false,
    tables,
    skipped,
    rebuildIndexes: indexes.rebuilt.map(({ keyspace, table, name }) => ({ keyspace, table, name })),
    warnings,
  };
  if (!plan.dryRun) await publishPlan(plan, items, input, manifests, ports, options.by);
  return plan;
}
