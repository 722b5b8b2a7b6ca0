/** `replay.json`: whether failed writes are being replayed, which everybody who replays and every gate reads. */
import { z } from 'zod';
import { LedgerConflictError } from '../errors.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { LedgerStore } from '../ports.ts';
import { parseRecord } from './records.ts';

const KEY = 'replay.json';
const MAX_CONFLICTS = 20;

const isoTime = z.iso.datetime();

const breaker = z.looseObject({
  /** `open`: the cluster does not answer, so nothing is sent to it but probes. */
  state: z.enum(['closed', 'open']),
  since: isoTime,
  /** Probes in a row that found it away. */
  failures: z.int().min(0),
  /** The last error of the cluster, while it was away. */
  lastError: z.string().nullable(),
  probedAt: isoTime.nullable(),
});
export type ReplayBreaker = z.output<typeof breaker>;

const replayStateSchema = z.looseObject({
  version: z.literal(1),
  /** Absent: closed, ever since. */
  origin: breaker.optional(),
  target: breaker.optional(),
  /** By a person, until a person resumes it. */
  paused: z.looseObject({ by: z.string(), why: z.string(), at: isoTime }).nullable(),
  /** How old the oldest failed write was that was last taken from the queue, in seconds, and when that was. */
  lag: z.looseObject({ seconds: z.number(), at: isoTime }).nullable(),
});
export type ReplayState = z.output<typeof replayStateSchema>;

const FIRST: ReplayState = { version: 1, paused: null, lag: null };

/** The clusters whose breaker is open. */
export function openBreakers(state: ReplayState): readonly ClusterName[] {
  return (['origin', 'target'] as const).filter((cluster) => state[cluster]?.state === 'open');
}

/** @throws LedgerUnavailableError */
export async function readReplayState(store: LedgerStore): Promise<ReplayState> {
  const found = await store.get(KEY);
  return found === undefined ? FIRST : parseRecord(replayStateSchema, KEY, found.value);
}

/**
 * Reads, changes, writes; again after a conflict. `change` gives undefined to leave it as it is. Resolves to what is there
 * then.
 * @throws LedgerUnavailableError, LedgerConflictError
 */
export async function changeReplayState(
  store: LedgerStore,
  change: (state: ReplayState) => ReplayState | undefined,
): Promise<ReplayState> {
  for (let attempt = 1; ; attempt++) {
    const found = await store.get(KEY);
    const state = found === undefined ? FIRST : parseRecord(replayStateSchema, KEY, found.value);
    const next = change(state);
    if (next === undefined) return state;
    try {
      await store.put(KEY, JSON.stringify(next), found?.version ?? null);
      return next;
    } catch (error) {
      if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
    }
  }
}
