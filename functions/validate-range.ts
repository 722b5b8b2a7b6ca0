import { validateRange } from '#core/jobs/validate-range.ts';
import { jobHandler } from './support/job-handler.ts';
import { rangeEventSchema, toRangeResult } from './support/range-event.ts';
import { validationOptions, validationPorts } from './support/validation-job.ts';

/** Compares one token range of a table on both clusters. */
export const handler = jobHandler('validate-range', async (event: unknown, job) => {
  const { checkpoint, ...item } = rangeEventSchema.parse(event);
  const outcome = await validateRange(
    item,
    checkpoint ?? null,
    await validationPorts(job),
    validationOptions(job),
    job.signal,
  );
  return toRangeResult(item, outcome);
});
