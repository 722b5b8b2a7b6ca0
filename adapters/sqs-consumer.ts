/** The queue of failed writes in SQS, as those who replay it see it. */

import { randomUUID } from 'node:crypto';
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageCommand,
} from '@aws-sdk/client-sqs';
import { PrerequisiteError } from '#core/errors.ts';
import type { DeadMessage, ReceivedMessage, ReplayQueue } from './replay-queue.ts';
import { createSqsFailedWriteQueue, findDeadLetterQueue, MAX_BATCH_ENTRIES, type SqsQueueOptions } from './sqs.ts';
import { resolveMessageBody, withOverflow } from './sqs-overflow.ts';

/** Longer than a batch of ten can take, so that no other consumer gets them meanwhile. */
const VISIBILITY_SECONDS = 300;
const MAX_DELAY_SECONDS = 900;
const MAX_HIDDEN_SECONDS = 43_200;

/** Long enough that the calls of one look get different ones. */
const PEEK_SECONDS = 5;
/** A redrive waits for those that a look hides. */
const REDRIVE_WAIT_SECONDS = PEEK_SECONDS + 3;
const MAX_REASON_CHARACTERS = 1000;

interface SqsReplayOptions extends SqsQueueOptions {
  /** Looked up by the queue's own redrive policy where it is left out. */
  readonly deadLetterQueueUrl?: string | undefined;
}

export function createSqsReplayQueue(options: SqsReplayOptions): ReplayQueue {
  const { client, queueUrl, overflow } = options;
  const base = createSqsFailedWriteQueue(options);
  let found: Promise<string | undefined> | undefined;
  const findDead = () => {
    if (options.deadLetterQueueUrl !== undefined) return Promise.resolve(options.deadLetterQueueUrl);
    found ??= findDeadLetterQueue(client, queueUrl).catch((error: unknown) => {
      found = undefined;
      throw error;
    });
    return found;
  };

  async function receiveFrom(
    from: string,
    visibilitySeconds: number,
    signal?: AbortSignal,
    { limit = MAX_BATCH_ENTRIES, waitSeconds = 1 } = {},
  ): Promise<Message[]> {
    const answer = await client.send(
      new ReceiveMessageCommand({
        QueueUrl: from,
        MaxNumberOfMessages: Math.min(MAX_BATCH_ENTRIES, limit),
        WaitTimeSeconds: waitSeconds,
        VisibilityTimeout: visibilitySeconds,
        MessageSystemAttributeNames: ['ApproximateReceiveCount', 'SentTimestamp'],
        MessageAttributeNames: ['reason'],
      }),
      { abortSignal: signal },
    );
    return answer.Messages ?? [];
  }

  return {
    ...base,
    receive: async (limit, signal) =>
      (await receiveFrom(queueUrl, VISIBILITY_SECONDS, signal, { limit })).map(toReceived),
    resolve: (body, signal) => resolveMessageBody(body, overflow, signal),
    async remove(messages) {
      for (const batch of tens(messages)) {
        const Entries = batch.map(({ receiptHandle }, at) => ({ Id: String(at), ReceiptHandle: receiptHandle }));
        // What is not removed comes back, and to apply it again changes nothing.
        await client.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
      }
    },
    async hide(messages, seconds) {
      const VisibilityTimeout = Math.max(0, Math.min(MAX_HIDDEN_SECONDS, Math.ceil(seconds)));
      for (const batch of tens(messages)) {
        const Entries = batch.map(({ receiptHandle }, at) => ({
          Id: String(at),
          ReceiptHandle: receiptHandle,
          VisibilityTimeout,
        }));
        await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
      }
    },
    async sendAgain(body, delaySeconds) {
      await client.send(
        new SendMessageCommand({
          QueueUrl: queueUrl,
          MessageBody: await withOverflow(body, randomUUID(), overflow),
          DelaySeconds: Math.max(0, Math.min(MAX_DELAY_SECONDS, Math.ceil(delaySeconds))),
        }),
      );
    },
    async bury({ id, body, reason }) {
      const deadLetterQueueUrl = await findDead();
      if (deadLetterQueueUrl === undefined) throw withoutDeadLetters(queueUrl);
      await client.send(
        new SendMessageCommand({
          QueueUrl: deadLetterQueueUrl,
          MessageBody: await withOverflow(body, randomUUID(), overflow),
          MessageAttributes: {
            reason: { DataType: 'String', StringValue: attributeText(reason ?? '') },
            messageId: { DataType: 'String', StringValue: attributeText(id) },
          },
        }),
      );
    },
    async peekDeadLetters(limit, signal) {
      const deadLetterQueueUrl = await findDead();
      const seen = new Map<string, DeadMessage>();
      while (deadLetterQueueUrl !== undefined && seen.size < limit) {
        const sizeBefore = seen.size;
        for (const message of await receiveFrom(deadLetterQueueUrl, PEEK_SECONDS, signal)) {
          seen.set(message.MessageId ?? '', toDead(message));
        }
        if (seen.size === sizeBefore) break;
      }
      return [...seen.values()].slice(0, limit);
    },
    // Not StartMessageMoveTask: that can't edit, reports only approximate numbers, and emulators lack it.
    async redriveDeadLetters(edit, signal) {
      const deadLetterQueueUrl = await findDead();
      let moved = 0;
      // Not those that come back dead meanwhile.
      const { deadLetters } = await base.depth();
      while (deadLetterQueueUrl !== undefined && moved < deadLetters) {
        const messages = await receiveFrom(deadLetterQueueUrl, 60, signal, { waitSeconds: REDRIVE_WAIT_SECONDS });
        if (messages.length === 0) break;
        for (const { Body = '', ReceiptHandle } of messages) {
          const body = await edit(Body);
          const MessageBody = await withOverflow(body, randomUUID(), overflow);
          await client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody }), { abortSignal: signal });
          await client.send(new DeleteMessageCommand({ QueueUrl: deadLetterQueueUrl, ReceiptHandle }));
          moved++;
        }
      }
      if (moved >= deadLetters) return { moved, left: 0 };
      // Both numbers are approximate, and the one of before also counts what has ended meanwhile.
      return { moved, left: Math.min(deadLetters - moved, (await base.depth()).deadLetters) };
    },
    close: () => client.destroy(),
  };
}

function toReceived(message: Message): ReceivedMessage {
  return {
    id: message.MessageId ?? '',
    receiptHandle: message.ReceiptHandle ?? '',
    body: message.Body ?? '',
    receiveCount: Number(message.Attributes?.ApproximateReceiveCount ?? 1),
    sentAtMillis: Number(message.Attributes?.SentTimestamp ?? 0),
  };
}

function toDead(message: Message): DeadMessage {
  const reason = message.MessageAttributes?.['reason']?.StringValue;
  return { id: message.MessageId ?? '', body: message.Body ?? '', ...(reason === undefined ? {} : { reason }) };
}

function* tens<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < all.length; start += MAX_BATCH_ENTRIES) yield all.slice(start, start + MAX_BATCH_ENTRIES);
}

/** SQS refuses attributes that are empty or have other control characters than these. */
function attributeText(text: string): string {
  const printable = text.replaceAll(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD]/gu, '?');
  return printable.slice(0, MAX_REASON_CHARACTERS) || 'unknown';
}

function withoutDeadLetters(queueUrl: string): PrerequisiteError {
  return new PrerequisiteError(
    `the queue ${queueUrl} has no dead letters, so a message that can't be applied stays in it; give it a redrive policy`,
  );
}
