/** Refuses what must not be loaded, cuts the rest into ranges of about equal bytes, and writes the plan. */

import {
  describeError,
  GateClosedError,
  SchemaMismatchError,
  SnapshotIncompleteError,
  SSTableCorruptError,
  SSTableUnsupportedError,
} from '../errors.ts';
import { createFilter } from '../filter/filter.ts';
import type { FilterRules } from '../filter/filter-rules.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { PhaseRecord, RunRecord } from '../ledger/records.ts';
import type { ConsistencyName } from '../model/cql-request.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, Logger, ObjectStore } from '../ports.ts';
import { openSSTable, type SSTable, tokenBounds } from '../sstable/sstable.ts';
import { WHOLE_RING } from '../token/token-range.ts';
import { cutRanges, type WeightedRange } from './cut-ranges.ts';
import { encodeTableManifest, type LoadInput, type LoadItem, parseLoadInput, type TableManifest } from './load-plan.ts';
import {
  checkAge,
  checkCoverage,
  readSnapshot,
  type Snapshot,
  type SnapshotSSTable,
  type SnapshotTable,
  snapshotFiles,
} from './snapshot-layout.ts';
import { runKeys } from './validation-plan.ts';

/** Where a snapshot lies: its store and the prefix in it, without a trailing '/'. */
export interface SnapshotPlace {
  readonly objects: ObjectStore;
  readonly prefix: string;
}

export interface TargetTables {
  /** Without views. */
  readonly tables: readonly TableSchema[];
  /** Names. */
  readonly views: readonly string[];
  /** Secondary indexes. */
  readonly indexes: readonly { readonly table: string; readonly index: string }[];
}

/** What planning needs of the world. */
export interface PlanLoadPorts {
  readonly readTarget: (keyspace: string) => Promise<TargetTables>;
  /** Where plans go. */
  readonly objects: ObjectStore;
  readonly openSnapshot: (uri: string) => SnapshotPlace;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The `bulkLoad` section of the config, and the filter. */
export interface PlanLoadOptions {
  readonly targetWriteMBps: number;
  readonly tombstones: 'none' | 'recent' | 'all';
  readonly consistency: ConsistencyName;
  readonly memoryBudgetMB: number;
  /** SSTable bytes of one range. */
  readonly rangeMB: number;
  readonly maxConcurrency: number;
  /** `rebuild` is not built: the plan says which indexes stay in place. */
  readonly indexes?: 'rebuild' | 'skip';
  readonly filterRules: FilterRules | null;
  readonly by: string;
}

export interface LoadPlan {
  readonly runId: string;
  readonly planKey: string;
  readonly rangeCount: number;
  readonly totalBytes: number;
  readonly maxConcurrency: number;
  readonly dryRun: boolean;
  readonly tables: readonly {
    readonly table: string;
    readonly sstables: number;
    readonly ranges: number;
    readonly bytes: number;
  }[];
  /** Tables that are not loaded, each with the reason. */
  readonly skipped: readonly { readonly table: string; readonly reason: string }[];
  readonly warnings: readonly string[];
}

const MIB = 1024 * 1024;
/** Below this a range is not worth a call of its own. Bytes. */
const MIN_RANGE_BYTES = 2 * MIB;
/** What one range writes at most, about; the budget divided by it is the useful concurrency. */
const RANGE_WRITE_MBPS = 5;
const OPEN_AT_ONCE = 16;

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
  const place = ports.openSnapshot(input.snapshot);
  const [snapshot, target, phase, runs] = await Promise.all([
    readSnapshot(place.objects, place.prefix, input.keyspace),
    ports.readTarget(input.keyspace),
    ports.ledger.readPhase(),
    ports.ledger.listRuns('load'),
  ]);
  if (snapshot.tables.length === 0) {
    throw new SnapshotIncompleteError(`${input.snapshot} holds no SSTable of keyspace ${input.keyspace}`);
  }
  checkCoverage(snapshot, input.trustCoverage ?? false);
  const warnings = checkAge(snapshot, phase, input.allowEarlySnapshot ?? false);
  const { chosen, skipped } = chooseTables(input, snapshot, target, options.filterRules);
  const listAttemptBase = earlierRuns(runs, input.keyspace, runId);

  const names = chosen.map(({ schema }) => schema.table);
  warnings.push(...indexWarnings(input.indexes ?? options.indexes, names, target.indexes));

  const items: LoadItem[] = [];
  const tables: LoadPlan['tables'][number][] = [];
  const manifests: [string, string][] = [];
  for (const { schema, table } of chosen) {
    const opened = await openTable(place.objects, table, ports.logger);
    const ranges = opened.kind === 'bad' ? [opened.range] : await cutTable(opened.sstables, options);
    const tableKey = runKeys.table(runId, schema.keyspace, schema.table);
    for (const range of ranges) {
      items.push({
        runId,
        index: items.length,
        keyspace: schema.keyspace,
        table: schema.table,
        start: String(range.start),
        end: String(range.end),
        bytes: range.bytes,
        tableKey,
        listAttemptBase,
      });
    }
    const bytes = ranges.reduce((sum, range) => sum + range.bytes, 0);
    tables.push({ table: schema.table, sstables: table.sstables.length, ranges: ranges.length, bytes });
    manifests.push([
      tableKey,
      encodeTableManifest(manifestOf(input, schema, snapshot, opened.entries, phase, options)),
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
    warnings,
  };
  if (!plan.dryRun) await publish(plan, items, input, manifests, ports, options.by);
  return plan;
}

/** Runs that may have written the keyspace's lists; each must write them later than all before it, resumed or not. */
function earlierRuns(runs: readonly RunRecord[], keyspace: string, runId: string): number {
  return runs.filter((run) => run.keyspace === keyspace && run.runId !== runId).length;
}

function concurrencyOf(targetWriteMBps: number, most: number): number {
  return Math.max(1, Math.min(most, Math.ceil(targetWriteMBps / RANGE_WRITE_MBPS)));
}

/** Starts the run, then writes what its ranges read; a failure in between ends the run again. */
async function publish(
  plan: LoadPlan,
  items: readonly LoadItem[],
  input: LoadInput,
  manifests: readonly (readonly [string, string])[],
  ports: PlanLoadPorts,
  by: string,
): Promise<void> {
  const { ledger, objects, clock } = ports;
  const now = new Date(clock.nowMillis());
  const names = plan.tables.map(({ table }) => table);
  const run: RunRecord = {
    version: 1,
    runId: plan.runId,
    kind: 'load',
    keyspace: input.keyspace,
    tables: names,
    state: 'running',
    startedAt: now.toISOString(),
    endedAt: null,
    rangeCount: null,
    rangesByTable: null,
    totalBytes: plan.totalBytes,
    warnings: [...plan.warnings],
    input: { ...input },
  };
  await ledger.startRun(run);
  try {
    for (const [key, text] of manifests) await objects.put(key, text);
    await objects.put(plan.planKey, JSON.stringify(items));
    for (const table of names) {
      await ledger.setTable(input.keyspace, table, 'loading', { now, by, runId: plan.runId });
    }
    for (const { table, reason } of plan.skipped) {
      await ledger.setTable(input.keyspace, table, 'pending', { now, by, runId: plan.runId, reason });
    }
    const rangesByTable = Object.fromEntries(plan.tables.map(({ table, ranges }) => [table, ranges] as const));
    await ledger.updateRun(plan.runId, { rangeCount: plan.rangeCount, rangesByTable });
  } catch (error) {
    await giveUp(plan.runId, input.keyspace, names, ports).catch((cause: unknown) =>
      ports.logger.error('and the ledger did not take it', { runId: plan.runId, error: describeError(cause) }),
    );
    throw error;
  }
}

/** The keyspace must not stay taken, nor a table look as if it were being loaded, by a run that never began. */
async function giveUp(runId: string, keyspace: string, tables: readonly string[], ports: PlanLoadPorts): Promise<void> {
  const now = new Date(ports.clock.nowMillis());
  await ports.ledger.endRun(runId, 'failed', now);
  for (const table of tables) {
    await ports.ledger.decideTable(keyspace, table, (found) =>
      found?.state === 'loading' && found.runId === runId
        ? { state: 'suspect', reason: `load ${runId} could not be planned`, now, by: 'load', runId }
        : undefined,
    );
  }
}

/** Indexes are left where they are, whatever the setting: each write of the load keeps them up to date, at its cost. */
function indexWarnings(
  setting: 'rebuild' | 'skip' | undefined,
  tables: readonly string[],
  indexes: TargetTables['indexes'],
): string[] {
  const asked = setting === 'skip' ? '' : ' (indexes: rebuild, that is to drop and rebuild them, is not built)';
  const own = indexes.filter(({ table }) => tables.includes(table)).map(({ table, index }) => `${index} on ${table}`);
  if (own.length === 0) return [];
  return [`secondary indexes stay in place during the load and slow it: ${own.sort().join(', ')}${asked}`];
}

interface ChosenTable {
  readonly schema: TableSchema;
  readonly table: SnapshotTable;
}

function chooseTables(
  input: LoadInput,
  snapshot: Snapshot,
  target: TargetTables,
  filterRules: FilterRules | null,
): { chosen: ChosenTable[]; skipped: { table: string; reason: string }[] } {
  const { keyspace } = input;
  const filter = filterRules === null ? undefined : createFilter(filterRules);
  const isExcluded = (table: string) => filter?.decide(keyspace, table).kind === 'excluded';
  const inSnapshot = snapshot.tables.map(({ table }) => table);
  const wanted = input.tables ?? [...new Set([...target.tables.map(({ table }) => table), ...inSnapshot])].sort();
  const chosen: ChosenTable[] = [];
  const skipped: { table: string; reason: string }[] = [];
  for (const name of wanted) {
    const schema = target.tables.find(({ table }) => table === name);
    const table = snapshot.tables.find((candidate) => candidate.table === name);
    if (isExcluded(name)) skipped.push({ table: name, reason: 'the filter rules keep it on the origin' });
    else if (target.views.includes(name))
      skipped.push({ table: name, reason: 'a materialized view: the target builds it' });
    else if (schema === undefined) {
      throw new SchemaMismatchError(
        `the target has no table ${keyspace}.${name}; run ringshift schema copy, or name the tables to load`,
      );
    } else if (schema.isCounter) {
      skipped.push({
        table: name,
        reason:
          'a counter table: adding its values while increments are shadowed would count twice; move it in a stop window',
      });
    } else {
      for (const manifest of snapshot.manifests) {
        if (manifest.tables.some((entry) => entry.keyspace === keyspace && entry.table === name)) continue;
        throw new SnapshotIncompleteError(
          `the snapshot of ${manifest.node} has no table ${keyspace}.${name}; take it anew`,
        );
      }
      chosen.push({ schema, table: table ?? { keyspace, table: name, sstables: [] } });
    }
  }
  return { chosen, skipped };
}

type Entries = TableManifest['sstables'];

type OpenedTable =
  | { readonly kind: 'good'; readonly sstables: readonly SSTable[]; readonly entries: Entries }
  /** An SSTable could not be read: one range, which will fail with the fault's file and offset. */
  | { readonly kind: 'bad'; readonly range: WeightedRange; readonly entries: Entries };

async function openTable(objects: ObjectStore, table: SnapshotTable, logger: Logger): Promise<OpenedTable> {
  const sstables: SSTable[] = [];
  const entries: Entries = [];
  let isBad = false;
  for (let start = 0; start < table.sstables.length; start += OPEN_AT_ONCE) {
    const found = await Promise.all(
      table.sstables.slice(start, start + OPEN_AT_ONCE).map((entry) => openOne(objects, entry)),
    );
    for (const { entry, sstable, bounds, error } of found) {
      entries.push({ ...entry, components: { ...entry.components }, bounds });
      if (sstable !== undefined) sstables.push(sstable);
      if (error === undefined) continue;
      isBad = true;
      logger.error('an SSTable can not be read; its table will not be loaded', {
        keyspace: table.keyspace,
        table: table.table,
        error: describeError(error),
      });
    }
  }
  if (!isBad) return { kind: 'good', sstables, entries };
  const bytes = table.sstables.reduce((sum, entry) => sum + (entry.components['Data.db'] ?? 0), 0);
  return { kind: 'bad', range: { ...WHOLE_RING, bytes }, entries };
}

async function openOne(objects: ObjectStore, entry: SnapshotSSTable) {
  try {
    const sstable = await openSSTable(snapshotFiles(objects, entry));
    const { first, last } = await tokenBounds(sstable);
    return { entry, sstable, bounds: { first: String(first), last: String(last) } };
  } catch (error) {
    if (error instanceof SSTableCorruptError || error instanceof SSTableUnsupportedError) return { entry, error };
    throw error;
  }
}

function cutTable(sstables: readonly SSTable[], options: PlanLoadOptions): Promise<readonly WeightedRange[]> {
  const total = sstables.reduce((sum, sstable) => sum + sstable.dataBytes, 0);
  const bySize = Math.ceil(total / (options.rangeMB * MIB));
  // A small table is cut too, so that all functions help; but not into crumbs.
  const forAll = Math.min(options.maxConcurrency, Math.floor(total / MIN_RANGE_BYTES));
  return cutRanges(sstables, Math.max(1, bySize, forAll));
}

function manifestOf(
  input: LoadInput,
  schema: TableSchema,
  snapshot: Snapshot,
  sstables: Entries,
  phase: PhaseRecord | undefined,
  options: PlanLoadOptions,
): TableManifest {
  const targetWriteMBps = input.targetWriteMBps ?? options.targetWriteMBps;
  const concurrency = concurrencyOf(targetWriteMBps, options.maxConcurrency);
  // Columns are dropped on the origin; the target's own schema knows nothing of it.
  const dropped = new Map(schema.droppedColumns.map((column) => [column.name, column.droppedAtMicros]));
  for (const manifest of snapshot.manifests) {
    const entry = manifest.tables.find((table) => table.keyspace === schema.keyspace && table.table === schema.table);
    for (const { name, droppedAtMicros } of entry?.droppedColumns ?? []) dropped.set(name, BigInt(droppedAtMicros));
  }
  return {
    schema: {
      ...schema,
      droppedColumns: [...dropped].map(([name, droppedAtMicros]) => ({ name, droppedAtMicros })),
    },
    snapshot: input.snapshot,
    sstables,
    tombstones: input.tombstones ?? options.tombstones,
    dualWritesSinceMicros: microsOf(phase?.dualWritesSince),
    dualWritesSettledMicros: microsOf(phase?.dualWritesSettledAt),
    bytesPerSecond: (targetWriteMBps * 1_000_000) / concurrency,
    memoryBudgetBytes: options.memoryBudgetMB * MIB,
    consistency: options.consistency,
    filterRules: options.filterRules,
  };
}

function microsOf(time: string | null | undefined): string | null {
  return time === null || time === undefined ? null : String(BigInt(Date.parse(time)) * 1000n);
}

/** A new run over what an earlier one has not finished; the earlier one's table manifests are read again. */
async function resumeLoad(
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
  if (earlier.runId !== runId && earlier.state === 'running') {
    throw new GateClosedError(`resuming ${earlierId}`, [
      `it is under way; stop it first: ringshift load stop ${earlierId}`,
    ]);
  }
  const target = await ports.readTarget(input.keyspace);
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
      ...(checkpoint === undefined || checkpoint === null ? {} : { checkpoint }),
    });
  }
  const tables = earlier.tables.map((table) => {
    const mine = items.filter((item) => item.table === table);
    const bytes = mine.reduce((sum, item) => sum + item.bytes, 0);
    return { table, sstables: 0, ranges: mine.length, bytes };
  });
  const plan: LoadPlan = {
    runId,
    planKey: runKeys.plan(runId),
    rangeCount: items.length,
    totalBytes: items.reduce((sum, item) => sum + item.bytes, 0),
    maxConcurrency: concurrencyOf(input.targetWriteMBps ?? options.targetWriteMBps, options.maxConcurrency),
    dryRun: input.dryRun ?? false,
    tables,
    skipped: [],
    warnings: indexWarnings(input.indexes ?? options.indexes, earlier.tables, target.indexes),
  };
  if (!plan.dryRun) await publish(plan, items, input, [], ports, options.by);
  ports.logger.info('resuming a load', { runId, earlierId, ranges: items.length });
  return plan;
}
