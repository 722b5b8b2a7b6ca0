import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import { passHeld } from '#adapters/held-replay.ts';
import { putBack, replayBatch } from '#adapters/replay-batch.ts';
import type { ReceivedMessage } from '#adapters/replay-queue.ts';
import { jobHandler } from './support/job-handler.ts';
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
  const invocation = { ...ports, logger };
  const probeMs = environment.config.failedWrites.probeSecs * 1000;
  const passed = await passHeld(messages, { queue, ports: invocation, replay: options, probeMs }, signal);
  if (passed === undefined) {
    // Until the breaker's function has turned the flow of messages off.
    await putBack(queue, messages, logger, probeMs / 1000);
    return failuresOf(messages);
  }
  await noteLag(messages);
  const { staying, counts } = await replayBatch(queue, passed, invocation, { ...options, deadlineMillis }, signal);
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

/** What is not named here is deleted when the handler returns. */
function failuresOf(messages: readonly ReceivedMessage[]): SQSBatchResponse {
  return { batchItemFailures: messages.map(({ id }) => ({ itemIdentifier: id })) };
}
