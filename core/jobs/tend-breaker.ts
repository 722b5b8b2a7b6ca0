/** What is done every minute about the breaker of the replay: messages flow where they may, and a cluster that was away is asked. */
import { describeError } from '../errors.ts';
import { changeReplayState, openBreakers, type ReplayState, readReplayState } from '../ledger/replay-state.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Clock, LedgerStore, Logger } from '../ports.ts';
import { isFlowing, probed } from './replay-breaker.ts';

/** Whether messages are handed out at all. */
export interface MessageFlow {
  /** `changing`: a change of it is under way. */
  state(): Promise<'on' | 'off' | 'changing'>;
  /** Asks for a change, which may take a while, or come to nothing where another one is under way. */
  turn(wanted: 'on' | 'off'): Promise<void>;
}

export interface TendPorts {
  readonly store: LedgerStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** undefined: whoever replays asks the breaker by itself, and nothing is to be turned. */
  readonly flow: MessageFlow | undefined;
  /** Resolves when the cluster answers. @throws what it answered instead, or that it did not */
  readonly probe: (cluster: ClusterName) => Promise<unknown>;
}

/**
 * Turns the flow off where the breaker is open or somebody paused the replay, probes the clusters that were away, and turns
 * it on when nothing speaks against it, whoever turned it off. Any number of these may be at work at once, and end anywhere.
 * @returns the state that it left
 * @throws LedgerUnavailableError, and what the flow throws; the next call begins anew
 */
export async function tendBreaker(ports: TendPorts): Promise<ReplayState> {
  const { store, clock, logger, flow, probe } = ports;
  let state = await readReplayState(store);
  // Before the probes, which take as long as a cluster does not answer.
  if (!isFlowing(state) && flow !== undefined && (await flow.state()) === 'on') {
    await flow.turn('off');
    logger.warn('no more messages are handed to the replay', { open: openBreakers(state), paused: state.paused });
  }
  // A pause is for the clusters too.
  for (const cluster of state.paused === null ? openBreakers(state) : []) {
    const { since } = state[cluster]!;
    const error = await probe(cluster).then(() => null, describeError);
    const now = new Date(clock.nowMillis());
    state = await changeReplayState(store, (found) => probed(found, cluster, since, error, now));
    if (error === null) logger.info('a cluster answers again', { cluster });
    else logger.warn('a cluster still does not answer', { cluster, error, since });
  }
  if (flow === undefined || !isFlowing(state) || (await flow.state()) !== 'off') return state;
  await flow.turn('on');
  logger.info('messages are handed to the replay again');
  // What was decided meanwhile counts: it may have found the flow off, and left it so.
  const after = await readReplayState(store);
  if (!isFlowing(after)) await flow.turn('off');
  return after;
}
