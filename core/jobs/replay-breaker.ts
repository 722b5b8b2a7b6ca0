/**
 * The breaker of the replay: while a cluster does not answer, no message is received for it, so that an outage of a day
 * counts against none. Whoever replays opens it, a probe closes it; both may be at work at once, and a person may pause
 * and resume meanwhile.
 */
import { describeError } from '../errors.ts';
import { changeReplayState, openBreakers, type ReplayState, readReplayState } from '../ledger/replay-state.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Clock, LedgerStore, Logger } from '../ports.ts';

/** What replaying asks and tells. None of it rejects. */
export interface BreakerPort {
  /** Whether nothing is to be sent to the cluster now: it is away, or a person has paused the replay. */
  isOpen(cluster: ClusterName): Promise<boolean>;
  /** The cluster gave no answer that speaks of the message (unreachable, time-out, overloaded). */
  noteAway(cluster: ClusterName, error: unknown): Promise<void>;
  /** The cluster answered, be it with a refusal of that message. */
  noteAnswered(cluster: ClusterName): Promise<void>;
}

/** So many messages in a row, or nothing else for so long, open the breaker. */
const AWAY_IN_A_ROW = 5;
const AWAY_FOR_MS = 30_000;

/** How long what the ledger said is believed. Milliseconds. */
const BELIEVED_MS = 2_000;
const MAX_ERROR_CHARACTERS = 500;

/** Failures since the cluster last answered. */
export interface AwayRun {
  readonly count: number;
  readonly sinceMillis: number;
}

/** One failure more. */
export function lengthenRun(run: AwayRun | undefined, nowMillis: number): AwayRun {
  return run === undefined ? { count: 1, sinceMillis: nowMillis } : { ...run, count: run.count + 1 };
}

/** Whether these failures are no chance. */
export function isLongEnough(run: AwayRun, nowMillis: number): boolean {
  return run.count >= AWAY_IN_A_ROW || nowMillis - run.sinceMillis >= AWAY_FOR_MS;
}

/**
 * The state with the breaker open; undefined where it is open already, or where a probe has closed it after these failures
 * began: what they say is older.
 */
export function opened(
  state: ReplayState,
  cluster: ClusterName,
  run: AwayRun,
  error: string,
  now: Date,
): ReplayState | undefined {
  const found = state[cluster];
  if (found?.state === 'open') return undefined;
  if (found !== undefined && Date.parse(found.since) > run.sinceMillis) return undefined;
  const lastError = error.slice(0, MAX_ERROR_CHARACTERS);
  return { ...state, [cluster]: { state: 'open', since: now.toISOString(), failures: 0, lastError, probedAt: null } };
}

/** The state after a probe of a breaker that was open since `openSince`; undefined where that one is no more. */
export function probed(
  state: ReplayState,
  cluster: ClusterName,
  openSince: string,
  error: string | null,
  now: Date,
): ReplayState | undefined {
  const found = state[cluster];
  if (found?.state !== 'open' || found.since !== openSince) return undefined;
  const at = now.toISOString();
  if (error === null)
    return { ...state, [cluster]: { ...found, state: 'closed', since: at, failures: 0, probedAt: at } };
  const lastError = error.slice(0, MAX_ERROR_CHARACTERS);
  return { ...state, [cluster]: { ...found, failures: found.failures + 1, lastError, probedAt: at } };
}

/** Before the first probe of a cluster that went away, and twice as long before each further one. Milliseconds. */
const FIRST_PROBE_MS = 5_000;

/**
 * The state in which it is noted that whoever comes by asks the clusters that are away, so that of many who come at once
 * one does; undefined where it is not time for that. Soon after an outage began, so that one of seconds is over within
 * seconds, and later no more often than `maxMs`; never while a person has paused the replay.
 */
export function claimedProbe(state: ReplayState, maxMs: number, nowMillis: number): ReplayState | undefined {
  const due = dueForProbe(state, maxMs, nowMillis);
  const probedAt = new Date(nowMillis).toISOString();
  const claimed = due.map((cluster) => [cluster, { ...state[cluster]!, probedAt }]);
  return due.length === 0 ? undefined : { ...state, ...Object.fromEntries(claimed) };
}

function dueForProbe(state: ReplayState, maxMs: number, nowMillis: number): readonly ClusterName[] {
  if (state.paused !== null) return [];
  return openBreakers(state).filter((cluster) => {
    const { since, failures, probedAt } = state[cluster]!;
    const waitMs = Math.min(maxMs, FIRST_PROBE_MS * 2 ** Math.min(20, failures));
    return nowMillis - Date.parse(probedAt ?? since) >= waitMs;
  });
}

/** Whether messages may be taken from the queue, but for probes. */
export function isFlowing(state: ReplayState): boolean {
  return state.paused === null && openBreakers(state).length === 0;
}

interface BreakerPorts {
  readonly store: LedgerStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The breaker of one process; what it opens, all others find open. A ledger that is away leaves it as it was. */
export function createBreaker({ store, clock, logger }: BreakerPorts): BreakerPort {
  const runs = new Map<ClusterName, AwayRun>();
  let known: { readonly state: ReplayState | undefined; readonly atMillis: number } | undefined;
  const ask = async (call: () => Promise<ReplayState>) => {
    try {
      known = { state: await call(), atMillis: clock.nowMillis() };
    } catch (error) {
      known = { state: known?.state, atMillis: clock.nowMillis() };
      logger.warn('the state of the replay is not known', { error: describeError(error) });
    }
    return known.state;
  };
  return {
    async isOpen(cluster) {
      const isFresh = known !== undefined && clock.nowMillis() - known.atMillis < BELIEVED_MS;
      const state = isFresh ? known?.state : await ask(() => readReplayState(store));
      return state !== undefined && (state.paused !== null || state[cluster]?.state === 'open');
    },
    async noteAway(cluster, error) {
      const now = clock.nowMillis();
      const run = lengthenRun(runs.get(cluster), now);
      runs.set(cluster, run);
      if (!isLongEnough(run, now)) return;
      runs.delete(cluster);
      const reason = describeError(error);
      let isNew = false;
      await ask(() =>
        changeReplayState(store, (state) => {
          const next = opened(state, cluster, run, reason, new Date(now));
          isNew = next !== undefined;
          return next;
        }),
      );
      if (isNew) logger.error('a cluster does not answer; replay waits until a probe finds it', { cluster, reason });
    },
    async noteAnswered(cluster) {
      runs.delete(cluster);
    },
  };
}
