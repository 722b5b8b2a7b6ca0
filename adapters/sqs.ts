import {
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { ObjectStoreError } from '#core/errors.ts';
import type { FailedWriteQueue, ObjectStore, QueuedMessage } from '#core/ports.ts';
import { withOverflow } from './sqs-overflow.ts';

/** Limits of SendMessageBatch: entries, and bytes of all bodies together (the older, smaller limit of 256 KiB). */
export const MAX_BATCH_ENTRIES = 10;
const MAX_BATCH_BYTES = 256 * 1024;

export interface SqsQueueOptions {
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
export function createSqsFailedWriteQueue(options: SqsQueueOptions): FailedWriteQueue {
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
  };
}

async function toEntry(message: QueuedMessage, overflow: ObjectStore, signal?: AbortSignal): Promise<Entry> {
  const body = await withOverflow(message.body, message.id, overflow, signal);
  return { message, body, bodyBytes: Buffer.byteLength(body) };
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

/** undefined: the queue has no dead letters. */
export async function findDeadLetterQueue(client: SQSClient, queueUrl: string): Promise<string | undefined> {
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
