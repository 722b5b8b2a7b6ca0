/** What a run says of a table when it has ended: its state, and which of its marks have been looked at. */

import type { Ledger, TableChange } from '../ledger/ledger.ts';
import { rangesOf } from '../ledger/mark-places.ts';
import type { RangeRecord, RunRecord, SuspectRecord, TableRecord, TableState } from '../ledger/records.ts';
import { changeSuspect, listMarksOf, type NamedSuspect } from '../ledger/suspects.ts';
import type { Clock, ObjectStore } from '../ports.ts';
import { joinRanges, subtractRanges } from '../token/range-sets.ts';
import { type TokenRange, WHOLE_RING } from '../token/token-range.ts';
import { cleared, clearMarks } from './clear-marks.ts';
import { indexOfFoundMark } from './mark-differences.ts';
import { rangesOfItem, runKeys, type ValidationItem } from './validation-plan.ts';

interface SettlePorts {
  readonly objects: ObjectStore;
  readonly ledger: Ledger;
  readonly clock: Clock;
}

/** One table of a run that has ended. */
interface EndedTable {
  readonly run: RunRecord;
  readonly table: string;
  /** Every range of it has come to its end. */
  readonly isWhole: boolean;
  readonly ranges: readonly RangeRecord[];
  /** Of all its ranges. */
  readonly counts: Readonly<Record<string, number>>;
}

/** Partitions that differ after everything the run did; of a load: rows of counters that the target did not take. */
export function remainingDifferences(counts: Readonly<Record<string, number>>): number {
  const differing = Math.max(0, (counts['differing'] ?? 0) - (counts['repaired'] ?? 0));
  return differing + (counts['unlisted'] ?? 0) + (counts['rowsNotTaken'] ?? 0);
}

/** Records of before `rangesByTable` say 0 for a plan that was never written. */
export function wasPlanned(run: RunRecord): boolean {
  return run.rangeCount !== null && (run.rangeCount > 0 || (run.rangesByTable ?? null) !== null);
}

export function wasStopped(run: RunRecord): boolean {
  return run.kind === 'load' && run.state === 'stopped';
}

/** Takes marks away and sets the table's state. Resolves to what the ledger says of it from now on. */
export async function settleTable(ended: EndedTable, ports: SettlePorts): Promise<TableState | undefined> {
  const { run, table } = ended;
  const { ledger } = ports;
  if (run.kind === 'load') return (await settle(ended, 0, ports))?.state;
  const left = await clearLookedAt(ended, ports);
  const record = await settle(ended, left.length, ports);
  if (record?.state !== 'validated' || record.runId !== run.runId) return record?.state;
  // One of before, which its instance could not bring to the ledger until now.
  const [late] = await marksOf(run, table, ledger);
  if (late === undefined) return record.state;
  const now = new Date(ports.clock.nowMillis());
  return (await ledger.setTable(run.keyspace, table, 'suspect', { now, by: late.by, reason: late.reason })).state;
}

async function marksOf(run: RunRecord, table: string, ledger: Ledger): Promise<readonly SuspectRecord[]> {
  const marks = await listMarksOf(ledger.store, run.keyspace, table);
  return marks.filter(({ clearedAt }) => clearedAt === undefined);
}

/** Resolves to the marks that are left. */
async function clearLookedAt(ended: EndedTable, { ledger, objects, clock }: SettlePorts) {
  const { run, table, ranges } = ended;
  const markedAnew: NamedSuspect[] = [];
  for (const mark of await listMarksOf(ledger.store, run.keyspace, table)) {
    const index = indexOfFoundMark(mark.id, run.runId);
    if (index === undefined || mark.clearedAt !== undefined) continue;
    const range = ranges.find((each) => each.index === index);
    // Repairing has read them again, and found them the same.
    const isRepaired = range?.state === 'done' && remainingDifferences(range.counts) === 0;
    if (isRepaired) await changeSuspect(ledger.store, mark, (record) => cleared(record, clock));
    else markedAnew.push(mark);
  }
  const compared = await comparedRanges(ended, objects);
  const equal = subtractRanges(compared, joinRanges(markedAnew.flatMap(rangesOf)));
  const since = new Date(run.startedAt);
  return clearMarks({ keyspace: run.keyspace, table, since, equal, markedAnew }, ledger.store, clock);
}

/** Where the run has looked to the end. */
async function comparedRanges({ run, isWhole, ranges }: EndedTable, objects: ObjectStore): Promise<TokenRange[]> {
  if (isSample(run)) return [];
  if (isWhole && run.input['suspects'] !== true) return [WHOLE_RING];
  const done = new Set(ranges.filter(({ state }) => state === 'done').map(({ index }) => index));
  if (done.size === 0) return [];
  const body = await objects.get(runKeys.plan(run.runId));
  if (body === undefined) return [];
  const items = JSON.parse(new TextDecoder().decode(body)) as ValidationItem[];
  return joinRanges(items.filter(({ index }) => done.has(index)).flatMap(rangesOfItem));
}

async function settle(
  { run, table, isWhole, counts }: EndedTable,
  marksLeft: number,
  { ledger, clock }: SettlePorts,
): Promise<TableRecord | undefined> {
  const now = new Date(clock.nowMillis());
  const differing = remainingDifferences(counts);
  // Decided on the record as it is when it is written: a mark may come in at any moment.
  return ledger.decideTable(run.keyspace, table, (found) => {
    if (isTakenOver(run, found)) return undefined;
    const to = (state: TableState, reason: string) => ({ state, reason, now, by: run.kind, runId: run.runId });
    if (differing > 0)
      return to('suspect', `${differing} ${run.kind === 'load' ? 'rows' : 'partitions'} differ in ${run.runId}`);
    if (!isWhole) {
      // A validation that could not look everywhere says nothing new about a table, nor a load that never touched it.
      if (run.kind === 'validation' || !wasTouched(run, found)) return undefined;
      return to('suspect', `ranges of ${run.kind} ${run.runId} failed`);
    }
    if (isSample(run)) return undefined;
    const facts = factsOf(run, found, now);
    const known = { state: found?.state ?? 'pending', now, by: run.kind, facts } as const;
    if (marksLeft > 0 || (found !== undefined && becameSuspectDuring(run, found))) return known;
    if (run.kind === 'load') return { ...to('loaded', `load ${run.runId}`), facts };
    if (run.input['suspects'] !== true) return { ...to('validated', `validation ${run.runId}`), facts };
    // Of what was not marked this run knows only what earlier ones have said.
    if (found?.state !== 'suspect' || found.remigrate !== undefined || isLoadInDoubt(found)) return undefined;
    if (found.validatedAt !== undefined) return to('validated', `marks looked at by ${run.runId}`);
    return found.loadedAt === undefined ? undefined : to('loaded', `marks looked at by ${run.runId}`);
  });
}

/** What is known of the table from now on, whatever its state is. */
function factsOf(run: RunRecord, found: TableRecord | undefined, now: Date): TableChange['facts'] {
  const { remigrate } = found ?? {};
  // What was demanded while the run was under way is not done by it.
  const isDone = remigrate !== undefined && Date.parse(remigrate.at) < Date.parse(run.startedAt);
  const done = isDone ? { remigrate: undefined } : {};
  if (run.kind === 'load') return { loadedAt: now.toISOString(), ...done };
  return run.input['suspects'] === true ? {} : { validatedAt: run.startedAt, ...done };
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

/** What was noted after the run began may lie where it had already looked. */
function becameSuspectDuring(run: RunRecord, table: TableRecord): boolean {
  const startedAt = Date.parse(run.startedAt);
  return (
    table.state === 'suspect' && table.reasons.some(({ at, by }) => by !== run.kind && Date.parse(at) >= startedAt)
  );
}

/** A load that failed halfway, or did not bring all rows, has left no mark: only a comparison of the whole table says more. */
function isLoadInDoubt({ reasons, loadedAt, validatedAt }: TableRecord): boolean {
  const known = Math.max(Date.parse(loadedAt ?? EPOCH), Date.parse(validatedAt ?? EPOCH));
  return reasons.some(({ at, by }) => by === 'load' && Date.parse(at) > known);
}

const EPOCH = new Date(0).toISOString();

/** A sample that agrees proves nothing about the rest. */
function isSample(run: RunRecord): boolean {
  return run.input['sampled'] === true;
}
