import { GateClosedError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RangeRecord, RunRecord, TableRecord, TableState } from '../ledger/records.ts';
import { listSavedIndexes } from '../ledger/saved-indexes.ts';
import type { Clock, ObjectStore } from '../ports.ts';
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

/** Partitions that differ after everything the run did; of a load: rows of counters that the target did not take. */
export function remainingDifferences(counts: Readonly<Record<string, number>>): number {
  const differing = Math.max(0, (counts['differing'] ?? 0) - (counts['repaired'] ?? 0));
  return differing + (counts['unlisted'] ?? 0) + (counts['rowsNotTaken'] ?? 0);
}

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
    const state = await settleTable(run, table, isWhole, counts, now, ports.ledger);
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

/** Records of before `rangesByTable` say 0 for a plan that was never written. */
function wasPlanned(run: RunRecord): boolean {
  return run.rangeCount !== null && (run.rangeCount > 0 || (run.rangesByTable ?? null) !== null);
}

/** No range is no proof, except where the plan of a load says so: of an empty table, of one that was finished before. */
function hasAllRanges(run: RunRecord, table: string, own: readonly RangeRecord[]): boolean {
  const done = own.filter((range) => range.state === 'done').length;
  const planned = run.rangesByTable?.[table];
  if (planned === undefined) return done > 0;
  return done === planned && (planned > 0 || run.kind === 'load');
}

async function settleTable(
  run: RunRecord,
  table: string,
  isWhole: boolean,
  counts: Readonly<Record<string, number>>,
  now: Date,
  ledger: Ledger,
): Promise<TableState | undefined> {
  const what = run.kind === 'load' ? 'load' : 'validation';
  const differing = remainingDifferences(counts);
  // Decided on the record as it is when it is written: a mark may come in at any moment.
  const record = await ledger.decideTable(run.keyspace, table, (found) => {
    if (isTakenOver(run, found)) return undefined;
    const to = (state: TableState, reason: string) => ({ state, reason, now, by: run.kind, runId: run.runId });
    if (differing > 0)
      return to('suspect', `${differing} ${run.kind === 'load' ? 'rows' : 'partitions'} differ in ${run.runId}`);
    if (!isWhole) {
      // A validation that could not look everywhere says nothing new about a table, nor a load that never touched it.
      if (run.kind === 'validation' || !wasTouched(run, found)) return undefined;
      return to('suspect', `ranges of ${what} ${run.runId} failed`);
    }
    if (found !== undefined && becameSuspectDuring(run, found)) return undefined;
    if (run.kind === 'load') return to('loaded', `${what} ${run.runId}`);
    return isSample(run) ? undefined : to('validated', `${what} ${run.runId}`);
  });
  if (record?.state === 'validated' && record.runId === run.runId) await clearSuspects(run, table, ledger);
  return record?.state;
}

/** A load whose plan was never written has written nothing, unless it had begun to say so. */
function wasTouched(run: RunRecord, table: TableRecord | undefined): boolean {
  return wasPlanned(run) || (table?.state === 'loading' && table.runId === run.runId);
}

/** What a load that was stopped meanwhile has done says nothing about a table that another run has begun on. */
function isTakenOver(run: RunRecord, table: TableRecord | undefined): boolean {
  if (run.kind !== 'load' || table === undefined || table.runId === null || table.runId === run.runId) return false;
  return wasStopped(run) || table.state === 'loading';
}

function wasStopped(run: RunRecord): boolean {
  return run.kind === 'load' && run.state === 'stopped';
}

/** What was noted after the run began may lie where it had already looked. */
function becameSuspectDuring(run: RunRecord, table: TableRecord): boolean {
  const startedAt = Date.parse(run.startedAt);
  return (
    table.state === 'suspect' && table.reasons.some(({ at, by }) => by !== run.kind && Date.parse(at) >= startedAt)
  );
}

/** A sample that agrees proves nothing about the rest. */
function isSample(run: RunRecord): boolean {
  return run.input['sampled'] === true;
}

/** Places that were noted before the run began have been looked at; later ones have not. */
async function clearSuspects(run: RunRecord, table: string, ledger: Ledger): Promise<void> {
  for (const suspect of await ledger.listSuspects()) {
    if (suspect.keyspace !== run.keyspace || suspect.table !== table) continue;
    if (Date.parse(suspect.at) < Date.parse(run.startedAt)) await ledger.removeSuspect(run.keyspace, table, suspect.id);
  }
}

function addCounts(ranges: readonly RangeRecord[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { counts } of ranges) {
    for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
  }
  return sums;
}
