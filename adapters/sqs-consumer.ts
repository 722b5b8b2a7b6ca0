/** What a consumer does with a message that it could not use, beside leaving it in the queue. */

import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import type { ReplayResult } from '#core/jobs/replay.ts';
import { withAttempts } from './sqs-overflow.ts';

/** A message as a consumer has it. */
export interface ReceivedMessage {
  readonly id: string;
  readonly receiptHandle: string;
  readonly body: string;
  /** 1 for the first delivery. */
  readonly receiveCount: number;
  /** Why it was buried; of dead letters that were not given up by the queue itself. */
  readonly reason?: string;
}

/** A cluster that restarts is back in seconds, one that is repaired in hours: the delay doubles between these. */
const FIRST_DELAY_SECONDS = 5;
const MAX_DELAY_SECONDS = 900;

/** Where messages go. */
export interface ReplayQueues {
  readonly queueUrl: string;
  /** undefined: dead messages stay until the queue itself gives them up. */
  readonly deadLetterQueueUrl: string | undefined;
  /** Between two attempts of a message that the cluster refused; SQS takes up to 900. */
  readonly retryIntervalSecs: number;
}

/**
 * Does what a result asks for; resolves to whether the message is to be deleted. What replaces a message is sent before:
 * a crash in between leaves two of it, which is harmless, and never none.
 */
export async function settleMessage(
  client: SQSClient,
  queues: ReplayQueues,
  message: ReceivedMessage,
  result: ReplayResult,
): Promise<boolean> {
  if (result.kind === 'applied') return true;
  if (result.kind === 'dead' && queues.deadLetterQueueUrl !== undefined) {
    await buryMessage(client, queues.deadLetterQueueUrl, message, result.reason);
    return true;
  }
  if (result.kind === 'refused') {
    await client.send(
      new SendMessageCommand({
        QueueUrl: queues.queueUrl,
        MessageBody: withAttempts(message.body, result.attempts),
        DelaySeconds: Math.min(MAX_DELAY_SECONDS, queues.retryIntervalSecs),
      }),
    );
    return true;
  }
  await delayMessage(client, queues.queueUrl, message);
  return false;
}

/** How long a message that was received so often stays hidden. Seconds. */
export function retryDelaySeconds(receiveCount: number, random: number): number {
  const full = Math.min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** Math.min(20, Math.max(0, receiveCount - 1)));
  // Half fixed, half by chance, so that the backlog of an outage does not come back in one wave.
  return Math.round(full / 2 + (full / 2) * random);
}

/** Hides a message until its next try, instead of for the queue's whole visibility time-out. */
export async function delayMessage(
  client: SQSClient,
  queueUrl: string,
  message: ReceivedMessage,
  random: number = Math.random(),
): Promise<void> {
  await client.send(
    new ChangeMessageVisibilityCommand({
      QueueUrl: queueUrl,
      ReceiptHandle: message.receiptHandle,
      VisibilityTimeout: retryDelaySeconds(message.receiveCount, random),
    }),
  );
}

/** Puts a message that no later try can help among the dead letters, with the reason beside it. */
async function buryMessage(
  client: SQSClient,
  deadLetterQueueUrl: string,
  message: ReceivedMessage,
  reason: string,
): Promise<void> {
  await client.send(
    new SendMessageCommand({
      QueueUrl: deadLetterQueueUrl,
      MessageBody: message.body,
      MessageAttributes: {
        reason: { DataType: 'String', StringValue: printable(reason).slice(0, 1000) || 'unknown' },
        messageId: { DataType: 'String', StringValue: message.id },
      },
    }),
  );
}

/** SQS refuses attributes with other control characters than these. */
function printable(text: string): string {
  return text.replaceAll(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD]/gu, '?');
}

/** Up to ten messages, hidden from others for `visibilitySeconds`; none when the queue is empty for a second. */
export async function receiveMessages(
  client: SQSClient,
  queueUrl: string,
  visibilitySeconds: number,
  signal?: AbortSignal,
): Promise<ReceivedMessage[]> {
  const answer = await client.send(
    new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: 10,
      WaitTimeSeconds: 1,
      VisibilityTimeout: visibilitySeconds,
      MessageSystemAttributeNames: ['ApproximateReceiveCount'],
      MessageAttributeNames: ['reason'],
    }),
    { abortSignal: signal },
  );
  return (answer.Messages ?? []).map((message) => {
    const reason = message.MessageAttributes?.['reason']?.StringValue;
    return {
      id: message.MessageId ?? '',
      receiptHandle: message.ReceiptHandle ?? '',
      body: message.Body ?? '',
      receiveCount: Number(message.Attributes?.ApproximateReceiveCount ?? 1),
      ...(reason === undefined ? {} : { reason }),
    };
  });
}

/** Ends a message that was applied. */
export async function deleteMessage(client: SQSClient, queueUrl: string, message: ReceivedMessage): Promise<void> {
  await client.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle: message.receiptHandle }));
}
