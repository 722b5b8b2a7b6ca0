import { createEventSource, createLambdaClient } from '#adapters/event-source.ts';
import { probeCluster } from '#adapters/replay-batch.ts';
import { ConfigError } from '#core/errors.ts';
import { markVanished } from '#core/jobs/mark-vanished.ts';
import { tendBreaker } from '#core/jobs/tend-breaker.ts';
import { openBreakers, type ReplayState } from '#core/ledger/replay-state.ts';
import { jobHandler } from './support/job-handler.ts';
import { migrationName, writeMetrics } from './support/logger.ts';
import { replayParts } from './support/replay.ts';

const lambda = createLambdaClient();

/**
 * By schedule: stops handing out failed writes while a cluster does not answer or a person has paused the replay, asks the
 * cluster whether it is back, and looks for proxies that have vanished together with their disks.
 */
export const handler = jobHandler('replay-breaker', async (_event: unknown, { environment, logger, signal }) => {
  const { ledger, clock } = environment;
  const { queue, ports, options } = replayParts(environment, logger);
  const tending = tendBreaker({
    store: ledger.store,
    clock,
    logger,
    flow: createEventSource(lambda, eventSourceId()),
    probe: (cluster) => probeCluster(cluster, queue, { ...ports, logger }, options, signal),
  });
  const marking = markVanished({ ledger, clock, logger });
  // Neither waits for the other, and a failure of one does not keep the other from its end.
  await Promise.allSettled([tending, marking]);
  const [state, vanished] = await Promise.all([tending, marking]);
  const now = clock.nowMillis();
  writeMetrics(
    migrationName('replay-breaker'),
    { BreakerOpenSeconds: openSeconds(state, now), VanishedInstances: vanished.length },
    now,
  );
  return { open: openBreakers(state), paused: state.paused !== null, vanished };
});

/** How long the breaker has been open; of two the longer. */
function openSeconds(state: ReplayState, now: number): number {
  return Math.max(0, ...openBreakers(state).map((cluster) => (now - Date.parse(state[cluster]!.since)) / 1000));
}

function eventSourceId(): string {
  const id = process.env['RINGSHIFT_EVENT_SOURCE_ID'];
  if (id !== undefined) return id;
  const message = 'is not set; deploy with cdk';
  throw new ConfigError('the environment', [{ path: 'RINGSHIFT_EVENT_SOURCE_ID', message }]);
}
