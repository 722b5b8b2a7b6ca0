import { GateClosedError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RangeRecord, RunRecord, TableState } from '../ledger/records.ts';
import { listSavedIndexes } from '../ledger/saved-indexes.ts';
import type { Clock, ObjectStore } from '../ports.ts';
import { remainingDifferences, settleTable, wasPlanned, wasStopped } from './settle-table.ts';
import { runKeys } from './validation-plan.ts';

export interface SummarizePorts {
  readonly objects: ObjectStore;
  readonly ledger: Ledger;
  readonly clock: Clock;
}

/** A range that did not come to its end. */
export interface FailedRange {
  readonly index: number;
  readonly table: string;
  readonly error: { readonly name: string; readonly message: string };
}

export interface TableSummary {
  readonly table: string;
  /** What the ledger says of it from now on. */
  readonly state: TableState | undefined;
  readonly ranges: number;
  readonly failedRanges: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** What a run came to; `runs/<id>/summary.json`. */
export interface RunSummary {
  readonly version: 1;
  readonly runId: string;
  readonly kind: RunRecord['kind'];
  readonly keyspace: string;
  readonly status: 'done' | 'failed' | 'differences';
  readonly startedAt: string;
  readonly endedAt: string;
  readonly seconds: number;
  readonly rangeCount: number;
  readonly doneRanges: number;
  readonly totals: Readonly<Record<string, number>>;
  readonly tables: readonly TableSummary[];
  /** Secondary indexes that the load has dropped and that are not back; they fail it. Absent in older summaries. */
  readonly owedIndexes?: readonly string[];
  /** The first 100. */
  readonly failed: readonly FailedRange[];
}

const MAX_FAILED_LISTED = 100;

/**
 * Adds up a load's or a validation's ranges, sets the state of its tables, ends the run and writes its summary. A range
 * without a result is a failed one: its worker died.
 * @throws GateClosedError when the ledger knows no such run
 */
export async function summarizeRun(runId: string, ports: SummarizePorts): Promise<RunSummary> {
  const run = await ports.ledger.readRun(runId);
  if (!run) throw new GateClosedError('summary', [`the ledger knows no run ${runId}`]);
  const ranges = await ports.ledger.listRanges(runId);
  const isPlanned = wasPlanned(run);
  const failed = [
    ...ranges.filter((range) => range.state !== 'done').map(toFailedRange),
    ...missingRanges(run, ranges),
  ];
  const now = new Date(ports.clock.nowMillis());
  const tables: TableSummary[] = [];
  for (const table of run.tables) {
    const own = ranges.filter((range) => range.table === table);
    const failedRanges = failed.filter((range) => range.table === table).length;
    const counts = addCounts(own);
    // A range without a record may be any table's: then no table of the run is known to be whole.
    const isWhole =
      isPlanned &&
      failedRanges === 0 &&
      !failed.some((range) => range.table === UNKNOWN_TABLE) &&
      hasAllRanges(run, table, own);
    const state = await settleTable({ run, table, isWhole, ranges: own, counts }, ports);
    tables.push({ table, state, ranges: own.length, failedRanges, counts });
  }
  const totals = addCounts(ranges);
  const owedIndexes = (await listSavedIndexes(ports.ledger.store))
    .filter((saved) => saved.runId === runId && saved.state !== 'restored')
    .flatMap(({ keyspace, table, indexes }) => indexes.map(({ name }) => `${name} on ${keyspace}.${table}`));
  const isFailed = failed.length > 0 || !isPlanned || owedIndexes.length > 0 || wasStopped(run);
  const status = isFailed ? 'failed' : remainingDifferences(totals) > 0 ? 'differences' : 'done';
  const summary: RunSummary = {
    version: 1,
    runId,
    kind: run.kind,
    keyspace: run.keyspace,
    status,
    startedAt: run.startedAt,
    endedAt: now.toISOString(),
    seconds: Math.max(0, (now.getTime() - Date.parse(run.startedAt)) / 1000),
    rangeCount: run.rangeCount ?? 0,
    doneRanges: ranges.filter((range) => range.state === 'done').length,
    totals,
    tables,
    owedIndexes,
    failed: failed.slice(0, MAX_FAILED_LISTED),
  };
  await ports.objects.put(runKeys.summary(runId), JSON.stringify(summary, null, 2));
  await ports.ledger.endRun(runId, status, now);
  return summary;
}

const UNKNOWN_TABLE = '?';

function toFailedRange({ index, table, error }: RangeRecord): FailedRange {
  return { index, table, error: error ?? { name: 'States.TaskFailed', message: 'the range did not come to its end' } };
}

function missingRanges(run: RunRecord, ranges: readonly RangeRecord[]): FailedRange[] {
  const known = new Set(ranges.map((range) => range.index));
  const missing: FailedRange[] = [];
  for (let index = 0; index < (run.rangeCount ?? 0); index++) {
    if (known.has(index)) continue;
    const error = { name: 'States.TaskFailed', message: 'the range was never begun or left no result' };
    missing.push({ index, table: UNKNOWN_TABLE, error });
  }
  return missing;
}

/**
 * No range is no proof, except where the plan of a load says so (of an empty table, of one that was finished before), or
 * where a table has no marks and only they were to be looked at.
 */
function hasAllRanges(run: RunRecord, table: string, own: readonly RangeRecord[]): boolean {
  const done = own.filter((range) => range.state === 'done').length;
  const planned = run.rangesByTable?.[table];
  if (planned === undefined) return done > 0;
  return done === planned && (planned > 0 || run.kind === 'load' || run.input['suspects'] === true);
}

function addCounts(ranges: readonly RangeRecord[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { counts } of ranges) {
    for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
  }
  return sums;
}
