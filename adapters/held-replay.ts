/** What a call of the replay does first: nothing, while a cluster is away or a person has paused it. */

import { describeError } from '#core/errors.ts';
import type { ReplayOptions, ReplayPorts } from '#core/jobs/replay.ts';
import { claimedProbe, isFlowing } from '#core/jobs/replay-breaker.ts';
import { tendBreaker } from '#core/jobs/tend-breaker.ts';
import { changeReplayState, openBreakers } from '#core/ledger/replay-state.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { probeCluster } from './replay-batch.ts';
import type { ReceivedMessage, ReplayQueue } from './replay-queue.ts';

export interface HeldReplayOptions {
  readonly queue: ReplayQueue;
  readonly ports: ReplayPorts;
  readonly replay: ReplayOptions;
  /** The longest pause between two probes. Milliseconds. */
  readonly probeMs: number;
}

/**
 * Which of the messages are to be replayed now; undefined: none, they go back. A cluster that went away a moment ago is
 * asked here, by one of the messages: the schedule comes once a minute, and most outages are shorter. A ledger that is away
 * holds nothing up.
 */
export async function passHeld(
  messages: readonly ReceivedMessage[],
  { queue, ports, replay, probeMs }: HeldReplayOptions,
  signal?: AbortSignal,
): Promise<readonly ReceivedMessage[] | undefined> {
  const { clock, logger, ledger } = ports;
  const ended = new Set<ReceivedMessage>();
  const noting: ReplayQueue = {
    ...queue,
    async remove(removed) {
      for (const message of removed) ended.add(message);
      await queue.remove(removed);
    },
  };
  const probe = (cluster: ClusterName) =>
    probeCluster(
      cluster,
      noting,
      ports,
      replay,
      signal,
      messages.find((message) => !ended.has(message)),
    );
  try {
    let isMine = false;
    let state = await changeReplayState(ledger.store, (found) => {
      const claimed = claimedProbe(found, probeMs, clock.nowMillis());
      isMine = claimed !== undefined;
      return claimed;
    });
    if (isMine) {
      state = await tendBreaker({ store: ledger.store, clock, logger, flow: undefined, probe });
    }
    if (!isFlowing(state)) {
      logger.info('replay is held up; the batch goes back', { open: openBreakers(state), paused: state.paused });
      return undefined;
    }
  } catch (error) {
    logger.warn('the state of the replay is not known', { error: describeError(error) });
  }
  return messages.filter((message) => !ended.has(message));
}
