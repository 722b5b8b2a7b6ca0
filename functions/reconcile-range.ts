import { authorityOf, reconcileRange } from '#core/jobs/reconcile-range.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { jobHandler } from './support/job-handler.ts';
import { rangeEventSchema, toRangeResult } from './support/range-event.ts';
import { validationOptions, validationPorts } from './support/validation-job.ts';

/** Brings the partitions together that the validation of a range found to differ. */
export const handler = jobHandler('reconcile-range', async (event: unknown, job) => {
  const { checkpoint, ...item } = rangeEventSchema.parse(event);
  const { config, ledger } = job.environment;
  const phase = await ledger.readPhase();
  const outcome = await reconcileRange(
    item,
    checkpoint ?? null,
    await validationPorts(job),
    {
      ...validationOptions(job),
      originWriteConsistency: Consistency[config.origin.consistency.write],
      targetWriteConsistency: Consistency[config.target.consistency.write],
      authority: authorityOf(phase?.active.phase),
    },
    job.signal,
  );
  return toRangeResult(item, outcome);
});
