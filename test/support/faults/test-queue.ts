/** A queue of failed writes with its dead letters, that a test looks into. */
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  PurgeQueueCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { createSqsClient } from '#adapters/aws-clients.ts';

const MAX_ENTRIES = 10;
/** Of one SendMessageBatch, all bodies together. */
const MAX_BYTES = 200_000;

export class TestQueue {
  readonly url: string;
  readonly #deadUrl: string;
  readonly #client: SQSClient;

  private constructor(client: SQSClient, url: string, deadUrl: string) {
    this.#client = client;
    this.url = url;
    this.#deadUrl = deadUrl;
  }

  /** One that is there already. */
  static of(client: SQSClient, url: string, deadUrl: string): TestQueue {
    return new TestQueue(client, url, deadUrl);
  }

  static async create(name: string): Promise<TestQueue> {
    const client = createSqsClient();
    const { QueueUrl: deadUrl } = await client.send(new CreateQueueCommand({ QueueName: `${name}-dead` }));
    const { Attributes } = await client.send(
      new GetQueueAttributesCommand({ QueueUrl: deadUrl, AttributeNames: ['QueueArn'] }),
    );
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: Attributes?.['QueueArn'], maxReceiveCount: 1000 });
    const { QueueUrl: url } = await client.send(
      new CreateQueueCommand({ QueueName: name, Attributes: { RedrivePolicy } }),
    );
    return new TestQueue(client, url!, deadUrl!);
  }

  /** Bodies of all messages that wait, which are in the queue no more. */
  async takeAll(): Promise<string[]> {
    const bodies: string[] = [];
    for (;;) {
      const { Messages: messages = [] } = await this.#client.send(
        new ReceiveMessageCommand({ QueueUrl: this.url, MaxNumberOfMessages: MAX_ENTRIES, VisibilityTimeout: 600 }),
      );
      if (messages.length === 0) return bodies;
      bodies.push(...messages.map(({ Body }) => Body!));
      const Entries = messages.map(({ ReceiptHandle }, at) => ({ Id: String(at), ReceiptHandle }));
      await this.#client.send(new DeleteMessageBatchCommand({ QueueUrl: this.url, Entries }));
    }
  }

  async send(bodies: readonly string[]): Promise<void> {
    let batch: string[] = [];
    const flush = async (): Promise<void> => {
      if (batch.length === 0) return;
      const Entries = batch.map((MessageBody, at) => ({ Id: String(at), MessageBody }));
      const { Failed } = await this.#client.send(new SendMessageBatchCommand({ QueueUrl: this.url, Entries }));
      if (Failed?.length) throw new Error(`the queue refused ${Failed.length} messages: ${Failed[0]?.Message}`);
      batch = [];
    };
    for (const body of bodies) {
      const bytes = batch.reduce((sum, each) => sum + Buffer.byteLength(each), Buffer.byteLength(body));
      if (batch.length === MAX_ENTRIES || bytes > MAX_BYTES) await flush();
      batch.push(body);
    }
    await flush();
  }

  /** Messages that wait, are being applied or are delayed; and the dead ones. */
  async depth(): Promise<{ readonly waiting: number; readonly dead: number }> {
    const [waiting, dead] = await Promise.all([this.#countOf(this.url), this.#countOf(this.#deadUrl)]);
    return { waiting, dead };
  }

  /** How long a message that somebody took and died with stays away. */
  async setVisibilityTimeout(seconds: number): Promise<void> {
    const Attributes = { VisibilityTimeout: String(seconds) };
    await this.#client.send(new SetQueueAttributesCommand({ QueueUrl: this.url, Attributes }));
  }

  async clear(): Promise<void> {
    for (const QueueUrl of [this.url, this.#deadUrl]) await this.#client.send(new PurgeQueueCommand({ QueueUrl }));
  }

  async remove(): Promise<void> {
    for (const QueueUrl of [this.url, this.#deadUrl]) await this.#client.send(new DeleteQueueCommand({ QueueUrl }));
    this.close();
  }

  close(): void {
    this.#client.destroy();
  }

  async #countOf(QueueUrl: string): Promise<number> {
    const AttributeNames = [
      'ApproximateNumberOfMessages',
      'ApproximateNumberOfMessagesNotVisible',
      'ApproximateNumberOfMessagesDelayed',
    ] as const;
    const { Attributes } = await this.#client.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...AttributeNames] }),
    );
    return AttributeNames.reduce((sum, name) => sum + Number(Attributes?.[name] ?? 0), 0);
  }
}
