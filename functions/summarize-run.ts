import { z } from 'zod';
import { remainingDifferences } from '#core/jobs/settle-table.ts';
import { type RunSummary, summarizeRun } from '#core/jobs/summarize-run.ts';
import { jobHandler } from './support/job-handler.ts';
import { migrationName, writeMetrics } from './support/logger.ts';
import { causeOf, type Failure, parseFailure } from './support/run-cause.ts';

const eventSchema = z.object({
  runId: z.string().min(1).max(200),
  kind: z.enum(['load', 'validation']),
  /** The state machine's own state: what went wrong before, if anything did. */
  state: z.object({ failure: z.unknown(), indexFailure: z.unknown() }).partial().optional(),
});

/** Most failed ranges that travel in the execution's output; the file in S3 has more. */
const MAX_FAILED_IN_OUTPUT = 20;
const MAX_REASON_CHARACTERS = 500;

/** Ends a run: its summary to S3, its tables marked, its keyspace given free; also after failures. */
export const handler = jobHandler('summarize-run', async (event: unknown, job) => {
  const { runId, kind, state } = eventSchema.parse(event);
  const { ledger, objects, clock, bucket } = job.environment;
  const failure = parseFailure(state?.failure) ?? parseFailure(state?.indexFailure);
  if ((await ledger.readRun(runId)) === undefined) {
    // Planning refused before the run began: there is nothing to add up, only something to say.
    return { runId, kind, status: 'failed' as const, cause: causeOf(runId, kind, failure) };
  }
  const summary = await summarizeRun(runId, { ledger, objects, clock });
  const status = failure === undefined || summary.status === 'failed' ? summary.status : statusAfter(summary, failure);
  job.logger.info('run summarized', { runId, status, ranges: summary.rangeCount, failed: summary.failed.length });
  if (kind === 'validation') {
    writeMetrics(
      migrationName('summarize-run'),
      { Differences: remainingDifferences(summary.totals) },
      clock.nowMillis(),
    );
  }
  return {
    ...summary,
    status,
    failed: summary.failed.slice(0, MAX_FAILED_IN_OUTPUT).map(({ index, table, error }) => ({
      index,
      table,
      error: { name: error.name, message: error.message.slice(0, MAX_REASON_CHARACTERS) },
    })),
    summary: `s3://${bucket}/runs/${runId}/summary.json`,
    cause: causeOf(runId, kind, failure, summary),
  };
});

/** All ranges are there although the map failed: a retry made up for it, unless the map never began. */
function statusAfter(summary: RunSummary, failure: Failure): RunSummary['status'] {
  return summary.rangeCount === 0 || failure.error === 'States.ItemReaderFailed' ? 'failed' : summary.status;
}
