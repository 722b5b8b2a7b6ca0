/** The replay in this process: the same jobs as in AWS, with the same breaker. */
import { resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { addCounts, probeCluster, putBack, replayBatch, replayOptions, sleep } from '#adapters/replay-batch.ts';
import type { ReplayQueue } from '#adapters/replay-queue.ts';
import { ByteBudget } from '#core/jobs/byte-budget.ts';
import { createLagNote } from '#core/jobs/note-lag.ts';
import type { ReplayOptions, ReplayPorts } from '#core/jobs/replay.ts';
import { claimedProbe, createBreaker, isFlowing } from '#core/jobs/replay-breaker.ts';
import { NO_COUNTS, type ReplayCounts } from '#core/jobs/replay-bundle.ts';
import { tendBreaker } from '#core/jobs/tend-breaker.ts';
import { openBreakers, readReplayState } from '#core/ledger/replay-state.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { CqlSession } from '#core/ports.ts';
import { createProgress, ExitCode, printResult } from './output.ts';
import { type RunContext, readFilter } from './runs.ts';

const BATCH_MESSAGES = 10;
const IDLE_MS = 1_000;
const MAX_REASONS_SHOWN = 20;
/** What is being applied when the process is interrupted may end within this. */
const END_MS = 10_000;

interface LocalReplayOptions {
  readonly json?: boolean;
  /** Go on until the process is interrupted. */
  readonly follow?: boolean;
  /** The most writes in a second. */
  readonly rate: number;
}

/** What came of it. */
interface Totals {
  readonly counts: ReplayCounts;
  /** Why messages stay or come again; the first few. */
  readonly reasons: readonly string[];
  /** What holds the rest up; null: nothing does. */
  readonly held: string | null;
}

export async function runLocalReplay(
  queue: ReplayQueue,
  context: RunContext,
  options: LocalReplayOptions,
): Promise<void> {
  const sessions = createSessions(context);
  const stop = new AbortController();
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onSignal = () => {
    // Asked twice, it waits for nothing more.
    if (stop.signal.aborted) abort.abort();
    stop.abort();
    timer ??= setTimeout(() => abort.abort(), END_MS);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, onSignal);
  try {
    const totals = await drain(queue, context, sessions.open, options, { stop: stop.signal, abort: abort.signal });
    const { counts, reasons, held } = totals;
    const { applied, away, refused, dead, copied } = counts;
    printResult(options, { ...counts, held, reasons }, [
      ...reasons,
      `${applied} writes applied, ${copied} places copied, ${refused + away} to be tried again, ${dead} dead`,
      ...(held === null ? [] : [held]),
    ]);
    if (!options.follow && (away + refused + dead > 0 || held !== null)) process.exitCode = ExitCode.found;
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal);
    clearTimeout(timer);
    await sessions.close();
  }
}

/** `stop`: nothing more is begun. `abort`: what was begun is left as it is, and comes again. */
interface Interruption {
  readonly stop: AbortSignal;
  readonly abort: AbortSignal;
}

/** Takes from the queue until it is empty, or held up, or a batch comes of which nothing could be done; or goes on. */
async function drain(
  queue: ReplayQueue,
  { config, ledger }: RunContext,
  openSession: ReplayPorts['openSession'],
  { follow = false, rate }: LocalReplayOptions,
  { stop, abort }: Interruption,
): Promise<Totals> {
  const clock = { nowMillis: Date.now };
  const logger = createLogger('replay', 'warn', 2);
  const { store } = ledger;
  const ports: ReplayPorts = {
    openSession,
    ledger,
    clock,
    logger,
    sleep,
    breaker: createBreaker({ store, clock, logger }),
  };
  const settings: ReplayOptions = {
    ...replayOptions(config, await readFilter(config)),
    rate: new ByteBudget(rate, clock, sleep),
  };
  let counts = NO_COUNTS;
  const probe = async (cluster: ClusterName) => {
    counts = addCounts(counts, await probeCluster(cluster, queue, ports, settings, abort));
  };
  const noteLag = createLagNote({ store, clock, logger });
  const probeMs = config.failedWrites.probeSecs * 1000;
  const progress = createProgress('replay');
  const reasons: string[] = [];
  let hasProbed = false;
  try {
    while (!stop.aborted) {
      let state = await readReplayState(store);
      if (!isFlowing(state) && (!hasProbed || claimedProbe(state, probeMs, clock.nowMillis()) !== undefined)) {
        hasProbed = true;
        state = await tendBreaker({ store, clock, logger, flow: undefined, probe });
      }
      if (!isFlowing(state)) {
        if (!follow) return { counts, reasons, held: heldBy(state.paused?.why, openBreakers(state)) };
        await idle(stop);
        continue;
      }
      const messages = await queue.receive(BATCH_MESSAGES, stop);
      if (messages.length === 0) {
        if (!follow) return { counts, reasons, held: null };
        await idle(stop);
        continue;
      }
      await noteLag(messages);
      const batch = await replayBatch(queue, messages, ports, settings, abort);
      await queue.remove(batch.ended);
      await putBack(queue, batch.staying, logger);
      counts = addCounts(counts, batch.counts);
      for (const { id, reason } of batch.outcomes) {
        if (reason !== null && reasons.length < MAX_REASONS_SHOWN) reasons.push(`${id}: ${reason}`);
      }
      progress.update(counts.applied, 0, `${counts.applied} writes applied`);
      if (!follow && batch.ended.length === 0) return { counts, reasons, held: null };
    }
    return { counts, reasons, held: null };
  } catch (error) {
    // Interrupted while it waited for the queue or a cluster.
    if (stop.aborted) return { counts, reasons, held: null };
    throw error;
  } finally {
    progress.end();
  }
}

function heldBy(why: string | undefined, open: readonly ClusterName[]): string {
  if (why !== undefined) return `the replay is paused: ${why} (ringshift replay resume)`;
  return `${open.join(' and ')} does not answer; the rest waits (ringshift replay status)`;
}

const idle = (signal: AbortSignal): Promise<void> => sleep(IDLE_MS, signal).catch(() => undefined);

/** One session for each cluster, opened when it is needed first. */
function createSessions({ config }: RunContext) {
  const sessions = new Map<ClusterName, Promise<CqlSession>>();
  return {
    open(cluster: ClusterName): Promise<CqlSession> {
      const session =
        sessions.get(cluster) ??
        resolveCluster(cluster, config[cluster]).then((resolved) => createCqlSession(resolved));
      sessions.set(cluster, session);
      // A cluster that is away now may be back for the next message.
      session.catch(() => sessions.delete(cluster));
      return session;
    },
    async close(): Promise<void> {
      for (const session of sessions.values()) await session.then((open) => open.close()).catch(() => undefined);
    },
  };
}
