import { setTimeout as delay } from 'node:timers/promises';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { createSqsClient } from '#adapters/aws-clients.ts';
import { type ReceivedMessage, settleMessage } from '#adapters/sqs-consumer.ts';
import { resolveMessageBody } from '#adapters/sqs-overflow.ts';
import { describeError } from '#core/errors.ts';
import { type ReplayResult, replayMessages } from '#core/jobs/replay.ts';
import { type Job, jobHandler } from './support/job-handler.ts';

const sqs = createSqsClient();

/** Applies a batch of failed writes; what could not be applied yet stays in the queue, what never can is buried. */
export const handler = jobHandler('replay-failed-writes', async (event: SQSEvent, job): Promise<SQSBatchResponse> => {
  const { environment, logger, signal } = job;
  const { clock, ledger, objects } = environment;
  const results = await replayMessages(
    event.Records.map((record) => ({
      id: record.messageId,
      body: () => resolveMessageBody(record.body, objects, signal),
    })),
    {
      openSession: (side) => environment.session(side),
      ledger,
      clock,
      logger,
      sleep: (ms, stop) => delay(ms, undefined, { signal: stop }),
    },
    { maxAttempts: environment.config.failedWrites.maxAttempts },
    signal,
  );
  const records = new Map(event.Records.map((record) => [record.messageId, record]));
  const staying = await Promise.all(results.map((result) => settle(result, records.get(result.id), job)));
  const failed = staying.filter((id) => id !== undefined);
  logger.info('failed writes replayed', {
    messages: results.length,
    applied: countApplied(results),
    staying: failed.length,
  });
  return { batchItemFailures: failed.map((itemIdentifier) => ({ itemIdentifier })) };
});

/** Resolves to the id of a message that must stay in the queue. */
async function settle(result: ReplayResult, record: SQSRecord | undefined, { environment, logger }: Job) {
  const { queueUrl, retryIntervalSecs } = environment.config.failedWrites;
  if (result.kind === 'applied' || record === undefined) return undefined;
  if (queueUrl === null) return result.id;
  const message: ReceivedMessage = {
    id: record.messageId,
    receiptHandle: record.receiptHandle,
    body: record.body,
    receiveCount: Number(record.attributes.ApproximateReceiveCount),
  };
  const queues = { queueUrl, deadLetterQueueUrl: environment.deadLetterQueueUrl, retryIntervalSecs };
  try {
    // What is not reported as staying is deleted when this handler returns.
    if (await settleMessage(sqs, queues, message, result)) return undefined;
  } catch (error) {
    // It comes back by itself when its visibility time-out ends, only later than it could.
    logger.warn('message neither delayed, sent again nor buried', { id: result.id, error: describeError(error) });
  }
  return result.id;
}

function countApplied(results: readonly ReplayResult[]): number {
  return results.filter((result) => result.kind === 'applied').length;
}
