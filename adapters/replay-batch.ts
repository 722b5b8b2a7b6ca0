/** Replaying what a queue handed out, and doing with each message what its outcome asks for. */

import { setTimeout as delay } from 'node:timers/promises';
import type { MigrationConfig } from '#core/config/schema.ts';
import { describeError } from '#core/errors.ts';
import type { Filter } from '#core/filter/filter.ts';
import { type ReplayOptions, type ReplayPorts, replayMessages } from '#core/jobs/replay.ts';
import { type MessageOutcome, NO_COUNTS, type ReplayCounts } from '#core/jobs/replay-bundle.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { Logger } from '#core/ports.ts';
import type { ReceivedMessage, ReplayQueue } from './replay-queue.ts';

/** A message that nobody answered is tried again after a while, which doubles between these. Seconds. */
const FIRST_DELAY_SECONDS = 5;
const MAX_DELAY_SECONDS = 900;
/** What is held up comes so often at short distances; the queue gives up after ten times as often. */
const MAX_HELD_RECEIVES = 100;

/** What became of a batch. Nothing of it has been removed from the queue yet. */
export interface SettledBatch {
  /** Messages of which nothing is left to do. */
  readonly ended: readonly ReceivedMessage[];
  /** Messages that must come again. */
  readonly staying: readonly ReceivedMessage[];
  readonly outcomes: readonly MessageOutcome[];
  readonly counts: ReplayCounts;
}

/** What the configuration says of replaying; the filter keeps what is excluded from being copied. */
export function replayOptions(
  { failedWrites, validation, origin, target }: MigrationConfig,
  filter: Filter,
): ReplayOptions {
  return {
    copy: {
      filter,
      settleMs: validation.settleMs,
      originConsistency: Consistency[origin.consistency.read],
      targetConsistency: Consistency[target.consistency.read],
      originWriteConsistency: Consistency[origin.consistency.write],
      targetWriteConsistency: Consistency[target.consistency.write],
    },
    maxAttempts: failedWrites.maxAttempts,
    retryIntervalSeconds: failedWrites.retryIntervalSecs,
    tombstoneMarginSeconds: failedWrites.tombstoneMarginSecs,
  };
}

/**
 * Replays messages and puts into the queue, or among the dead letters, what follows from them. What replaces a message is
 * sent before that message counts as ended: a crash in between leaves two of it, which is harmless, and never none.
 */
export async function replayBatch(
  queue: Pick<ReplayQueue, 'resolve' | 'sendAgain' | 'bury'>,
  messages: readonly ReceivedMessage[],
  ports: ReplayPorts,
  options: ReplayOptions,
  signal?: AbortSignal,
): Promise<SettledBatch> {
  const outcomes = await replayMessages(
    messages.map(({ id, body }) => ({ id, text: body, body: () => queue.resolve(body, signal) })),
    ports,
    options,
    signal,
  );
  const settled = await Promise.all(
    outcomes.map(async (outcome): Promise<MessageOutcome> => {
      try {
        for (const { body, reason } of outcome.bury) await queue.bury({ id: outcome.id, body, reason });
        for (const { body, delaySeconds } of outcome.resend) await queue.sendAgain(body, delaySeconds);
        return outcome;
      } catch (error) {
        const reason = `neither sent again nor buried: ${describeError(error)}`;
        ports.logger.warn('a message stays in the queue', { id: outcome.id, reason });
        return { ...outcome, remove: false, reason };
      }
    }),
  );
  return {
    ended: messages.filter((_, at) => settled[at]!.remove),
    staying: messages.filter((_, at) => !settled[at]!.remove),
    outcomes: settled,
    counts: settled.reduce((sum, { counts }) => addCounts(sum, counts), NO_COUNTS),
  };
}

/**
 * Hides what must come again, for longer the more often it has come.
 * @param heldSeconds of messages that were not tried: no longer, until they came so often that nobody stops them from coming
 */
export async function putBack(
  queue: Pick<ReplayQueue, 'hide'>,
  staying: readonly ReceivedMessage[],
  logger: Logger,
  heldSeconds?: number,
): Promise<void> {
  for (const [receiveCount, messages] of Map.groupBy(staying, (message) => message.receiveCount)) {
    const fullSeconds = retryDelaySeconds(receiveCount, Math.random());
    const isHeld = heldSeconds !== undefined && receiveCount < MAX_HELD_RECEIVES;
    const seconds = isHeld ? Math.min(heldSeconds, fullSeconds) : fullSeconds;
    try {
      await queue.hide(messages, seconds);
    } catch (error) {
      // They come back by themselves when their visibility time-out ends, only later than they could.
      logger.warn('messages stay hidden for longer than they should', { error: describeError(error) });
    }
  }
}

/** How long a message that was received so often stays hidden. Seconds. */
export function retryDelaySeconds(receiveCount: number, random: number): number {
  const full = Math.min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** Math.min(20, Math.max(0, receiveCount - 1)));
  // Half fixed, half by chance, so that the backlog of an outage does not come back in one wave.
  return Math.round(full / 2 + (full / 2) * random);
}

/**
 * Asks a cluster that was away whether it is back: by a query, and by one message where one is due, whatever the breaker
 * says.
 * @param received the message; of the queue where it is left out
 * @returns what became of the message
 * @throws what the cluster answered instead
 */
export async function probeCluster(
  cluster: ClusterName,
  queue: ReplayQueue,
  ports: ReplayPorts,
  options: ReplayOptions,
  signal?: AbortSignal,
  received?: ReceivedMessage,
): Promise<ReplayCounts> {
  const session = await ports.openSession(cluster);
  await session.query('SELECT key FROM system.local', [], signal ? { signal } : {});
  const messages = received === undefined ? await queue.receive(1, signal) : [received];
  const away: unknown[] = [];
  const breaker: ReplayPorts['breaker'] = {
    isOpen: async (which) => which !== cluster && (await ports.breaker.isOpen(which)),
    noteAway: async (which, error) => {
      if (which === cluster) away.push(error);
    },
    noteAnswered: async () => undefined,
  };
  const { ended, staying, counts } = await replayBatch(queue, messages, { ...ports, breaker }, options, signal);
  // Where it was given, too: to remove it twice is harmless.
  await queue.remove(ended);
  await putBack(queue, staying, ports.logger);
  if (away.length > 0) throw away[0];
  return counts;
}

export function addCounts(one: ReplayCounts, other: ReplayCounts): ReplayCounts {
  return {
    applied: one.applied + other.applied,
    away: one.away + other.away,
    refused: one.refused + other.refused,
    dead: one.dead + other.dead,
    copied: one.copied + other.copied,
  };
}

/** Waits, for `ReplayPorts`. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  delay(ms, undefined, signal ? { signal } : {});
