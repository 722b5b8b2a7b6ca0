/** What becomes of a message when its writes had their outcomes, each its own. Pure. */

import { describeError } from '../errors.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { FailedWrite } from '../model/failed-write.ts';
import { type CopyMessage, encodeMessage, MAX_PLACES, type WritesMessage } from '../model/message.ts';
import type { WriteOutcome } from './replay-write.ts';

/**
 * What is to be done with a message: first everything in `resend` and `bury` is put into the queues, then it is deleted. A
 * crash in between leaves two of something, which is harmless, and never none.
 */
export interface MessageOutcome {
  /** The queue's id of the message. */
  readonly id: string;
  /** False: it stays as it is, and comes again. */
  readonly remove: boolean;
  /** Messages for the queue. Seconds, at most `MAX_DELAY_SECONDS`. */
  readonly resend: readonly { readonly body: string; readonly delaySeconds: number }[];
  /** Messages for the dead letters. */
  readonly bury: readonly { readonly body: string; readonly reason: string }[];
  /** A cluster that it was for has answered, be it with a refusal. */
  readonly targetAnswered: boolean;
  /** Why it stays, or something of it comes again; null: all is done. Never a value of the application. */
  readonly reason: string | null;
  readonly counts: ReplayCounts;
}

/** Of writes, and of places for the last. */
export interface ReplayCounts {
  readonly applied: number;
  /** Nobody answered, or they were not begun: they come again and it counts against none. */
  readonly away: number;
  readonly refused: number;
  readonly dead: number;
  /** Places that are the same on both clusters now. */
  readonly copied: number;
}

export const NO_COUNTS: ReplayCounts = { applied: 0, away: 0, refused: 0, dead: 0, copied: 0 };

/** What queues delay by at most. */
export const MAX_DELAY_SECONDS = 900;
/** Before what nobody answered is tried again, where others of its message were: the next time they may all stay. */
const AWAY_DELAY_SECONDS = 5;
/** No attempt is put off for longer. */
const MAX_INTERVAL_SECONDS = 86_400;

export interface RetryRules {
  /** So often the cluster may refuse a write before it is dead; outages do not count. */
  readonly maxAttempts: number;
  /** Before the second attempt; each further one doubles it. */
  readonly retryIntervalSeconds: number;
}

/** `early`: not begun, for it is to wait. */
export type BundledOutcome = WriteOutcome | { readonly kind: 'early'; readonly untilMillis: number };

/** A write that no later try can help. */
export interface DeadWrite {
  readonly write: FailedWrite;
  readonly code: ReasonCode;
  readonly reason: string;
}

/** How long before the attempt after this one. Seconds. */
export function retryAfterSeconds(attempt: number, { retryIntervalSeconds }: RetryRules): number {
  return Math.min(MAX_INTERVAL_SECONDS, retryIntervalSeconds * 2 ** Math.min(30, Math.max(0, attempt - 1)));
}

/** The delay of a message that is to wait, and what it must say itself where queues can't wait for so long. */
export function waitOf(seconds: number, nowMillis: number): { delaySeconds: number; notBefore?: string } {
  const delaySeconds = Math.max(0, Math.min(MAX_DELAY_SECONDS, Math.ceil(seconds)));
  if (seconds <= MAX_DELAY_SECONDS) return { delaySeconds };
  return { delaySeconds, notBefore: new Date(nowMillis + seconds * 1000).toISOString() };
}

/** The writes that are dead: what can never be applied, refused for the last time, or whose partitions are not known. */
export function deadOf(
  writes: readonly FailedWrite[],
  outcomes: readonly BundledOutcome[],
  { maxAttempts }: RetryRules,
): DeadWrite[] {
  return writes.flatMap((write, index): DeadWrite[] => {
    const outcome = outcomes[index]!;
    if (outcome.kind === 'dead') return [{ write, code: outcome.code, reason: outcome.reason }];
    if (outcome.kind === 'copy' && !hasPlaces(write)) {
      const reason = `${outcome.reason}, and its partitions are not known`;
      return [{ write, code: outcome.code, reason }];
    }
    if (outcome.kind !== 'refused' || write.attempts < maxAttempts) return [];
    return [{ write, code: 'dead-letter', reason: `${outcome.reason} (attempt ${Math.max(1, write.attempts)})` }];
  });
}

function hasPlaces({ tables }: FailedWrite): boolean {
  return tables.length > 0 && tables.every(({ tokens }) => tokens !== undefined && tokens.length > 0);
}

export interface SettledBundle {
  readonly id: string;
  /** As the queue delivered it. */
  readonly text: string;
  readonly message: WritesMessage;
  /** One for each write. */
  readonly outcomes: readonly BundledOutcome[];
  /** `deadOf` them, whose tables are marked already. */
  readonly dead: readonly DeadWrite[];
}

/** Each write goes its own way; what is left of the message is sent again as a smaller one. */
export function settleBundle(bundle: SettledBundle, rules: RetryRules, nowMillis: number): MessageOutcome {
  const { id, text, message, outcomes, dead } = bundle;
  const isDead = new Set(dead.map(({ write }) => write));
  const of = (kind: BundledOutcome['kind']) =>
    message.writes.filter((write, index) => outcomes[index]!.kind === kind && !isDead.has(write));
  const [applied, away, refused, copied, early] = [of('applied'), of('away'), of('refused'), of('copy'), of('early')];
  const counts: ReplayCounts = {
    applied: applied.length,
    away: away.length + early.length,
    refused: refused.length,
    dead: dead.length,
    copied: 0,
  };
  const targetAnswered = outcomes.some(({ kind }) => kind === 'applied' || kind === 'refused');
  const reason = reasonOf(outcomes);
  if (away.length === message.writes.length) {
    return { id, remove: false, resend: [], bury: [], targetAnswered, reason, counts };
  }
  const again = (writes: readonly FailedWrite[], delaySeconds: number) => ({
    body: encodeMessage({ ...message, writes }),
    delaySeconds,
  });
  const resend: { body: string; delaySeconds: number }[] = [];
  if (away.length > 0) resend.push(again(away, AWAY_DELAY_SECONDS));
  for (const [attempts, writes] of Map.groupBy(refused, (write) => Math.max(1, write.attempts))) {
    const { delaySeconds, notBefore } = waitOf(retryAfterSeconds(attempts, rules), nowMillis);
    resend.push(
      again(
        writes.map((write) => retried(write, attempts + 1, notBefore)),
        delaySeconds,
      ),
    );
  }
  if (early.length > 0) {
    const untilMillis = Math.min(...outcomes.map((one) => (one.kind === 'early' ? one.untilMillis : Infinity)));
    resend.push(again(early, waitOf((untilMillis - nowMillis) / 1000, nowMillis).delaySeconds));
  }
  const codes = new Map(message.writes.map((write, index) => [write, outcomes[index]!]));
  for (const copy of copiesOf(copied, codes, message.instance, nowMillis)) {
    resend.push({ body: encodeMessage(copy), delaySeconds: 0 });
  }
  const bury = [...Map.groupBy(dead, (one) => one.reason)].map(([why, ones]) => ({
    // Unchanged, where it is all of it: the body of a large message lies elsewhere.
    body:
      ones.length === message.writes.length
        ? text
        : encodeMessage({ ...message, writes: ones.map(({ write }) => write) }),
    reason: why,
  }));
  return { id, remove: true, resend, bury, targetAnswered, reason, counts };
}

function retried(write: FailedWrite, attempts: number, notBefore: string | undefined): FailedWrite {
  const { notBefore: _, ...rest } = write;
  return { ...rest, attempts, ...(notBefore === undefined ? {} : { notBefore }) };
}

function reasonOf(outcomes: readonly BundledOutcome[]): string | null {
  for (const outcome of outcomes) {
    if ('reason' in outcome) return outcome.reason;
    if (outcome.kind === 'away') return describeError(outcome.error);
  }
  return outcomes.some(({ kind }) => kind === 'early') ? 'it is to wait' : null;
}

/** The places of writes whose partitions are to be compared, by table, cluster and reason. */
function copiesOf(
  writes: readonly FailedWrite[],
  outcomes: ReadonlyMap<FailedWrite, BundledOutcome>,
  instance: string,
  nowMillis: number,
): CopyMessage[] {
  const groups = new Map<string, { lacking: ClusterName; code: ReasonCode; first: FailedWrite; tokens: Set<bigint> }>();
  for (const write of writes) {
    const outcome = outcomes.get(write)!;
    const code = outcome.kind === 'copy' ? outcome.code : 'other';
    for (const { keyspace, table, tokens } of write.tables) {
      const name = JSON.stringify([keyspace, table, write.destination, code]);
      const group = groups.get(name) ?? { lacking: write.destination, code, first: write, tokens: new Set() };
      groups.set(name, group);
      for (const token of tokens ?? []) group.tokens.add(token);
    }
  }
  return [...groups].flatMap(([name, { lacking, code, first, tokens }]) => {
    const [keyspace, table] = JSON.parse(name) as [string, string];
    const all = [...tokens];
    const enqueuedAt = new Date(nowMillis).toISOString();
    return Array.from({ length: Math.ceil(all.length / MAX_PLACES) }, (_, part): CopyMessage => {
      const own = all.slice(part * MAX_PLACES, (part + 1) * MAX_PLACES);
      const id = `${first.id}-${code}-${part}`.slice(-200);
      return { kind: 'copy', id, keyspace, table, tokens: own, lacking, code, attempts: 1, enqueuedAt, instance };
    });
  });
}
