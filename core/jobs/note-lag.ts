import { describeError } from '../errors.ts';
import { changeReplayState } from '../ledger/replay-state.ts';
import type { Clock, LedgerStore, Logger } from '../ports.ts';

/** Each note is a write to the ledger. Milliseconds. */
const NOTED_EVERY_MS = 10_000;

export interface LagPorts {
  readonly store: LedgerStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Notes in the ledger how old the oldest of the messages is that were taken from the queue, for the gates of a change of
 * phase; now and then only. Never rejects.
 */
export function createLagNote({ store, clock, logger }: LagPorts) {
  let notedAtMillis = Number.NEGATIVE_INFINITY;
  return async (messages: readonly { readonly sentAtMillis: number }[]): Promise<void> => {
    const now = clock.nowMillis();
    if (messages.length === 0 || now - notedAtMillis < NOTED_EVERY_MS) return;
    notedAtMillis = now;
    const oldest = Math.min(...messages.map(({ sentAtMillis }) => sentAtMillis));
    const lag = { seconds: Math.max(0, (now - oldest) / 1000), at: new Date(now).toISOString() };
    try {
      await changeReplayState(store, (state) => ({ ...state, lag }));
    } catch (error) {
      logger.warn('how old the queue is could not be noted', { error: describeError(error) });
    }
  };
}
