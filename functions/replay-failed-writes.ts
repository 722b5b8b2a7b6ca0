import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import { putBack, replayBatch } from '#adapters/replay-batch.ts';
import type { ReceivedMessage } from '#adapters/replay-queue.ts';
import { describeError } from '#core/errors.ts';
import { isFlowing } from '#core/jobs/replay-breaker.ts';
import { openBreakers, readReplayState } from '#core/ledger/replay-state.ts';
import { type Job, jobHandler } from './support/job-handler.ts';
import { migrationName, writeMetrics } from './support/logger.ts';
import { replayParts } from './support/replay.ts';

/** Applies a batch of failed writes; what could not be applied yet stays in the queue, what never can is buried. */
export const handler = jobHandler('replay-failed-writes', async (event: SQSEvent, job): Promise<SQSBatchResponse> => {
  const { environment, logger, deadlineMillis, signal } = job;
  const { queue, ports, options, noteLag } = replayParts(environment, logger);
  const messages = event.Records.map(
    (record): ReceivedMessage => ({
      id: record.messageId,
      receiptHandle: record.receiptHandle,
      body: record.body,
      receiveCount: Number(record.attributes.ApproximateReceiveCount),
      sentAtMillis: Number(record.attributes.SentTimestamp),
    }),
  );
  if (await isHeldUp(job)) {
    // Until the breaker's function has turned the flow of messages off.
    await putBack(queue, messages, logger, environment.config.failedWrites.probeSecs);
    return failuresOf(messages);
  }
  await noteLag(messages);
  const invocation = { ...ports, logger };
  const { staying, counts } = await replayBatch(queue, messages, invocation, { ...options, deadlineMillis }, signal);
  await putBack(queue, staying, logger);
  logger.info('failed writes replayed', { messages: messages.length, staying: staying.length, ...counts });
  const { applied, refused, dead, copied } = counts;
  writeMetrics(
    migrationName('replay-failed-writes'),
    { ReplayApplied: applied, ReplayRefused: refused, ReplayDead: dead, CopiedPlaces: copied },
    environment.clock.nowMillis(),
  );
  return failuresOf(staying);
});

/** Whether the breaker is open, or a person has paused the replay. A ledger that is away holds nothing up. */
async function isHeldUp({ environment, logger }: Job): Promise<boolean> {
  try {
    const state = await readReplayState(environment.ledger.store);
    if (isFlowing(state)) return false;
    logger.info('replay is held up; the batch goes back', { open: openBreakers(state), paused: state.paused });
    return true;
  } catch (error) {
    logger.warn('the state of the replay is not known', { error: describeError(error) });
    return false;
  }
}

/** What is not named here is deleted when the handler returns. */
function failuresOf(messages: readonly ReceivedMessage[]): SQSBatchResponse {
  return { batchItemFailures: messages.map(({ id }) => ({ itemIdentifier: id })) };
}
