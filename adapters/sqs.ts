import {
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { ObjectStoreError } from '#core/errors.ts';
import type { FailedWriteQueue, ObjectStore, QueuedMessage } from '#core/ports.ts';
import { type ReceivedMessage, receiveMessages } from './sqs-consumer.ts';
import { encodeOverflowPointer, MAX_BODY_BYTES, overflowKey } from './sqs-overflow.ts';

/** Limits of SendMessageBatch: entries, and bytes of all bodies together (the older, smaller limit of 256 KiB). */
const MAX_BATCH_ENTRIES = 10;
const MAX_BATCH_BYTES = 256 * 1024;

/** Most dead letters that are looked at in one call. */
const MAX_DEAD_LETTERS = 10_000;

/** Long enough that the calls of one look get different ones, short enough that a redrive at once finds them all. */
const PEEK_SECONDS = 5;

/** What operators do with dead letters, besides the port that the proxy uses. */
export interface SqsFailedWriteQueue extends FailedWriteQueue {
  /** Puts dead letters back into the queue; resolves to how many. A message is deleted only after it was sent. */
  redriveDeadLetters(limit?: number, signal?: AbortSignal): Promise<number>;
  /** Some of the dead letters, at most `limit`; they stay where they are. */
  peekDeadLetters(limit: number, signal?: AbortSignal): Promise<readonly ReceivedMessage[]>;
  /** undefined: the queue has no dead letters. */
  deadLetterQueueUrl(): Promise<string | undefined>;
}

interface SqsQueueOptions {
  readonly client: SQSClient;
  readonly queueUrl: string;
  /** Where bodies go that are too large for a message. */
  readonly overflow: ObjectStore;
}

interface Entry {
  readonly message: QueuedMessage;
  readonly body: string;
  readonly bodyBytes: number;
}

/** The queue of failed shadow writes in SQS. A body over 250 KiB goes to the bucket and a pointer to the queue. */
export function createSqsFailedWriteQueue(options: SqsQueueOptions): SqsFailedWriteQueue {
  const { client, queueUrl } = options;
  let deadLetterUrl: Promise<string | undefined> | undefined;
  const findDeadLetters = () => {
    deadLetterUrl ??= findDeadLetterQueue(client, queueUrl).catch((error: unknown) => {
      deadLetterUrl = undefined;
      throw error;
    });
    return deadLetterUrl;
  };
  return {
    async send(messages, signal) {
      const refused: string[] = [];
      const entries: Entry[] = [];
      for (const message of messages) {
        try {
          entries.push(await toEntry(message, options.overflow, signal));
        } catch (error) {
          if (signal?.aborted || !(error instanceof ObjectStoreError)) throw error;
          refused.push(message.id);
        }
      }
      for (const batch of intoBatches(entries)) refused.push(...(await sendBatch(client, queueUrl, batch, signal)));
      return refused;
    },
    async depth() {
      const deadLetters = await findDeadLetters();
      const [queue, dead] = await Promise.all([
        readDepth(client, queueUrl),
        deadLetters === undefined ? { waiting: 0, inFlight: 0 } : readDepth(client, deadLetters),
      ]);
      return { ...queue, deadLetters: dead.waiting + dead.inFlight };
    },
    async redriveDeadLetters(limit = MAX_DEAD_LETTERS, signal) {
      const deadLetters = await findDeadLetters();
      if (deadLetters === undefined) return 0;
      return moveMessages(client, deadLetters, queueUrl, Math.min(limit, MAX_DEAD_LETTERS), signal);
    },
    async peekDeadLetters(limit, signal) {
      const deadLetters = await findDeadLetters();
      const found = new Map<string, ReceivedMessage>();
      while (deadLetters !== undefined && found.size < limit) {
        const messages = await receiveMessages(client, deadLetters, PEEK_SECONDS, signal);
        const sizeBefore = found.size;
        for (const message of messages) found.set(message.id, message);
        if (found.size === sizeBefore) break;
      }
      return [...found.values()].slice(0, limit);
    },
    deadLetterQueueUrl: findDeadLetters,
  };
}

async function toEntry(message: QueuedMessage, overflow: ObjectStore, signal?: AbortSignal): Promise<Entry> {
  const bodyBytes = Buffer.byteLength(message.body);
  if (bodyBytes <= MAX_BODY_BYTES) return { message, body: message.body, bodyBytes };
  const key = overflowKey(message.id);
  await overflow.put(key, message.body, signal);
  const pointer = encodeOverflowPointer({ key, byteLength: bodyBytes });
  return { message, body: pointer, bodyBytes: Buffer.byteLength(pointer) };
}

/** Splits so that neither the number of entries nor the bytes of a batch exceed what SQS takes. */
export function* intoBatches<T extends { readonly bodyBytes: number }>(entries: readonly T[]): Generator<T[]> {
  let batch: T[] = [];
  let bytes = 0;
  for (const entry of entries) {
    if (batch.length === MAX_BATCH_ENTRIES || (batch.length > 0 && bytes + entry.bodyBytes > MAX_BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(entry);
    bytes += entry.bodyBytes;
  }
  if (batch.length > 0) yield batch;
}

/** Names of errors that say what is wrong with the messages, not with the queue or the way to it. */
const REFUSALS: ReadonlySet<string> = new Set([
  'BatchRequestTooLong',
  'InvalidMessageContents',
  'InvalidParameterValue',
  'InvalidParameterValueException',
]);

/**
 * Sends one batch; resolves to the ids that were not taken.
 * @throws the client's error when the queue did not answer, or refused for another reason than the messages
 */
async function sendBatch(
  client: SQSClient,
  queueUrl: string,
  batch: readonly Entry[],
  signal?: AbortSignal,
): Promise<string[]> {
  try {
    const answer = await client.send(
      new SendMessageBatchCommand({
        QueueUrl: queueUrl,
        // An entry id allows letters, digits, - and _ only, so the position stands for the message.
        Entries: batch.map((entry, index) => ({ Id: String(index), MessageBody: entry.body })),
      }),
      { abortSignal: signal },
    );
    return (answer.Failed ?? []).flatMap((entry) => batch[Number(entry.Id)]?.message.id ?? []);
  } catch (error) {
    if (!(error instanceof Error) || !REFUSALS.has(error.name)) throw error;
    if (batch.length === 1) return [batch[0]!.message.id];
    // One of them is at fault; the others must not go with it.
    const refused: string[] = [];
    for (const entry of batch) refused.push(...(await sendBatch(client, queueUrl, [entry], signal)));
    return refused;
  }
}

async function readDepth(client: SQSClient, queueUrl: string): Promise<{ waiting: number; inFlight: number }> {
  const answer = await client.send(
    new GetQueueAttributesCommand({
      QueueUrl: queueUrl,
      AttributeNames: [
        'ApproximateNumberOfMessages',
        'ApproximateNumberOfMessagesNotVisible',
        'ApproximateNumberOfMessagesDelayed',
      ],
    }),
  );
  const count = (name: keyof NonNullable<typeof answer.Attributes>) => Number(answer.Attributes?.[name] ?? 0);
  return {
    waiting: count('ApproximateNumberOfMessages') + count('ApproximateNumberOfMessagesDelayed'),
    inFlight: count('ApproximateNumberOfMessagesNotVisible'),
  };
}

async function findDeadLetterQueue(client: SQSClient, queueUrl: string): Promise<string | undefined> {
  const answer = await client.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['RedrivePolicy'] }),
  );
  const policy = answer.Attributes?.RedrivePolicy;
  if (policy === undefined || policy === '') return undefined;
  const arn = String((JSON.parse(policy) as { deadLetterTargetArn?: string }).deadLetterTargetArn ?? '');
  const [, , , , account, name] = arn.split(':');
  if (name === undefined) return undefined;
  return (await client.send(new GetQueueUrlCommand({ QueueName: name, QueueOwnerAWSAccountId: account }))).QueueUrl;
}

/** Not StartMessageMoveTask: that can't be limited, reports only approximate numbers, and emulators lack it. */
async function moveMessages(
  client: SQSClient,
  from: string,
  to: string,
  limit: number,
  signal?: AbortSignal,
): Promise<number> {
  let moved = 0;
  while (moved < limit) {
    const received = await client.send(
      new ReceiveMessageCommand({
        QueueUrl: from,
        MaxNumberOfMessages: Math.min(MAX_BATCH_ENTRIES, limit - moved),
        WaitTimeSeconds: 1,
        VisibilityTimeout: 60,
      }),
      { abortSignal: signal },
    );
    const messages = received.Messages ?? [];
    if (messages.length === 0) return moved;
    const entries = messages.map((message) => ({
      message: { id: message.ReceiptHandle ?? '', body: message.Body ?? '' },
      body: message.Body ?? '',
      bodyBytes: Buffer.byteLength(message.Body ?? ''),
    }));
    const refused = new Set<string>();
    for (const batch of intoBatches(entries)) {
      for (const id of await sendBatch(client, to, batch, signal)) refused.add(id);
    }
    for (const message of messages) {
      if (message.ReceiptHandle === undefined || refused.has(message.ReceiptHandle)) continue;
      await client.send(new DeleteMessageCommand({ QueueUrl: from, ReceiptHandle: message.ReceiptHandle }));
      moved++;
    }
    // What was refused comes back by itself when its visibility time-out ends; asking on now would spin.
    if (refused.size > 0) return moved;
  }
  return moved;
}
