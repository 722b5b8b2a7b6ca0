/** Takes suspect marks away where a comparison has looked, and leaves them where it has not, or has found a difference. */

import { BUCKET_BYTES, encodeBuckets, rangesOf } from '../ledger/mark-places.ts';
import { type SuspectRecord, WHOLE_KEYSPACE } from '../ledger/records.ts';
import { changeSuspect, listMarksOf, type NamedSuspect, removeCleared } from '../ledger/suspects.ts';
import type { Clock, LedgerStore } from '../ports.ts';
import { BUCKET_COUNT, bucketRange } from '../token/buckets.ts';
import { joinRanges, subtractRanges } from '../token/range-sets.ts';
import { type TokenRange, tokenRangeToJson } from '../token/token-range.ts';

/** What was looked at in one table, and found equal. */
export interface LookedAt {
  readonly keyspace: string;
  readonly table: string;
  /** Before the first token was read. */
  readonly since: Date;
  /** A set of ranges. */
  readonly equal: readonly TokenRange[];
  /** Of what was found to differ: marks of before that say no more of these places are done with. */
  readonly markedAnew?: readonly NamedSuspect[];
}

/**
 * Marks of the last moment before a comparison may be of writes that came after its reading: their times are of other
 * clocks, which may differ by so much before an instance calls itself not ready. Milliseconds.
 */
const CLOCK_MARGIN_MS = 500;
/** A mark is written again under its name for an hour at most; a cleared one is removed when that can't happen any more. */
const REWRITTEN_MS = 2 * 3_600_000;
/** Of one record. */
const MAX_TOKENS = 1024;

/**
 * Clears or shrinks the marks whose last time is before the comparison. Each is changed by compare-and-set, so one that is
 * made again meanwhile stays whole.
 * @returns the marks that are left
 */
export async function clearMarks(
  looked: LookedAt,
  store: LedgerStore,
  clock: Clock,
): Promise<readonly SuspectRecord[]> {
  const { keyspace, table, since, equal, markedAnew = [] } = looked;
  const left: SuspectRecord[] = [];
  const withAnew = joinRanges([...equal, ...markedAnew.flatMap(rangesOf)]);
  for (const mark of await listMarksOf(store, keyspace, table)) {
    if (mark.clearedAt !== undefined) {
      await forget(mark, store, clock);
      continue;
    }
    let now: SuspectRecord = mark;
    await changeSuspect(store, mark, (record) => {
      now = record;
      if (Date.parse(record.at) + CLOCK_MARGIN_MS >= since.getTime()) return undefined;
      const rest = subtractRanges(rangesOf(record), saysNoMore(record, markedAnew) ? withAnew : equal);
      const next = rest.length === 0 ? cleared(record, clock) : narrowed(record, rest);
      if (next !== undefined) now = next;
      return next;
    });
    if (now.clearedAt === undefined) left.push(now);
  }
  return left;
}

/** One that names the cluster that lacks something, or another reason, says more. */
function saysNoMore(record: NamedSuspect, markedAnew: readonly NamedSuspect[]): boolean {
  const isOlder = markedAnew.every(({ id, code }) => id !== record.id && code === record.code);
  return isOlder && (record.lacking ?? null) === null;
}

/**
 * Takes away the marks of a keyspace whose definitions were found equal. One that is of the time of the comparison stays: it
 * may be of what had been read already.
 * @param since before the first definition was read
 * @returns how many were taken away
 */
export async function clearDefinitionMarks(
  keyspace: string,
  since: Date,
  store: LedgerStore,
  clock: Clock,
): Promise<number> {
  let count = 0;
  for (const mark of await listMarksOf(store, keyspace, WHOLE_KEYSPACE)) {
    if (mark.clearedAt !== undefined) continue;
    let isCleared = false;
    await changeSuspect(store, mark, (record) => {
      isCleared = Date.parse(record.at) + CLOCK_MARGIN_MS < since.getTime();
      return isCleared ? cleared(record, clock) : undefined;
    });
    if (!isCleared) continue;
    count++;
    await removeCleared(store, mark);
  }
  return count;
}

/** Places of a table as a mark names them: partitions while they are few, else the parts of the ring that they are in. */
export function placesOfTokens(tokens: readonly bigint[]): Pick<SuspectRecord, 'range' | 'tokens' | 'buckets'> {
  if (tokens.length > MAX_TOKENS) return { range: null, buckets: bucketsOf(joinRanges(tokens.map(ofToken))) };
  return { range: null, tokens: tokens.map(String) };
}

const ofToken = (token: bigint): TokenRange => ({ start: token - 1n, end: token });

/** @param record as it is; all of it was looked at */
export function cleared(record: NamedSuspect, clock: Clock): SuspectRecord {
  return { ...record, clearedAt: new Date(clock.nowMillis()).toISOString() };
}

/** undefined where it names no fewer places than before. */
function narrowed(record: NamedSuspect, rest: readonly TokenRange[]): SuspectRecord | undefined {
  const { tokens: _, buckets: __, ...common } = record;
  const isOfTokens = rest.every(({ start, end }) => end - start === 1n);
  if (isOfTokens && rest.length <= MAX_TOKENS) {
    const next = { ...common, range: null, tokens: rest.map(({ end }) => end.toString()) };
    return next.tokens.length === record.tokens?.length ? undefined : next;
  }
  if (rest.length === 1) {
    const next = { ...common, range: tokenRangeToJson(rest[0]!) };
    const isSame = next.range.start === record.range?.start && next.range.end === record.range.end;
    return isSame && record.buckets === undefined && record.tokens === undefined ? undefined : next;
  }
  // Whole parts of the ring: more than is left to look at, and more than before only at the ends of a range.
  const buckets = bucketsOf(rest);
  const isSame = buckets === record.buckets && record.range === null && record.tokens === undefined;
  return isSame ? undefined : { ...common, range: null, buckets };
}

function bucketsOf(ranges: readonly TokenRange[]): string {
  const bits = new Uint8Array(BUCKET_BYTES);
  let at = 0;
  for (let bucket = 0; bucket < BUCKET_COUNT && at < ranges.length; bucket++) {
    const { start, end } = bucketRange(bucket);
    while (at < ranges.length && ranges[at]!.end <= start) at++;
    if (at < ranges.length && ranges[at]!.start < end) bits[bucket >> 3]! |= 1 << (bucket & 7);
  }
  return encodeBuckets(bits);
}

async function forget(mark: NamedSuspect, store: LedgerStore, clock: Clock): Promise<void> {
  if (Date.parse(mark.at) + REWRITTEN_MS > clock.nowMillis()) return;
  await removeCleared(store, mark);
}
