import { setTimeout as delay } from 'node:timers/promises';
import { loadItemSchema } from '#core/jobs/load-plan.ts';
import { loadRange } from '#core/jobs/load-range.ts';
import { takeRange } from '#core/jobs/load-tickets.ts';
import { jobHandler } from './support/job-handler.ts';
import { toRangeResult } from './support/range-event.ts';
import { openSnapshot } from './support/snapshot-place.ts';

/** Loads one token range of a snapshot into the target. */
export const handler = jobHandler('load-range', async (event: unknown, job) => {
  const { environment, logger, signal, deadlineMillis } = job;
  const { objects, ledger, clock } = environment;
  const item = await takeRange(loadItemSchema.parse(event), { objects, ledger });
  const result = await loadRange({
    item,
    ports: {
      objects,
      openSnapshot: (uri) => openSnapshot(environment, uri),
      target: await environment.session('target'),
      ledger,
      clock,
      logger,
      sleep: (ms) => delay(ms),
    },
    deadlineMillis,
    signal,
  });
  return toRangeResult(item, result.kind === 'done' ? result : { kind: 'checkpoint', next: result.checkpoint });
});
