import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { expect, test } from 'vitest';
import type { ReceivedMessage } from '#adapters/replay-queue.ts';
import { createSqsReplayQueue } from '#adapters/sqs-consumer.ts';
import { PrerequisiteError } from '#core/errors.ts';
import { createMemoryObjectStore } from '../support/memory-object-store.ts';

function message(at: number): ReceivedMessage {
  return { id: `m${at}`, receiptHandle: `r${at}`, body: '{}', receiveCount: 1, sentAtMillis: 0 };
}

/** The queue over a client that notes what it is sent; `deadLetters` false: the queue has none. */
function queueOf({
  deadLetters = true,
  answer = (_: unknown): unknown => undefined,
  overflow = createMemoryObjectStore(),
} = {}) {
  const sent: { input: object }[] = [];
  const arn = '{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:000000000000:dead"}';
  const client = {
    send: async (command: { input: object }) => {
      const own = answer(command);
      if (own !== undefined) return own;
      if (command instanceof GetQueueAttributesCommand) {
        return { Attributes: { ...(deadLetters ? { RedrivePolicy: arn } : {}), ApproximateNumberOfMessages: '3' } };
      }
      if (command instanceof GetQueueUrlCommand) return { QueueUrl: 'http://dead' };
      sent.push(command);
      return {};
    },
    destroy: () => undefined,
  } as unknown as SQSClient;
  return { queue: createSqsReplayQueue({ client, queueUrl: 'http://queue', overflow }), sent, overflow };
}

test('messages are removed and hidden ten at a time, each by its own delivery', async () => {
  const { queue, sent } = queueOf();
  const messages = Array.from({ length: 12 }, (_, at) => message(at));
  await queue.remove(messages);
  await queue.hide(messages, 61.2);
  expect(sent.map((command) => command.constructor)).toEqual([
    DeleteMessageBatchCommand,
    DeleteMessageBatchCommand,
    ChangeMessageVisibilityBatchCommand,
    ChangeMessageVisibilityBatchCommand,
  ]);
  const entries = sent.map(({ input }) => (input as { Entries: { ReceiptHandle: string }[] }).Entries);
  expect(entries.map((batch) => batch.map(({ ReceiptHandle }) => ReceiptHandle))).toEqual([
    Array.from({ length: 10 }, (_, at) => `r${at}`),
    ['r10', 'r11'],
    Array.from({ length: 10 }, (_, at) => `r${at}`),
    ['r10', 'r11'],
  ]);
  expect(entries[2]![0]).toMatchObject({ VisibilityTimeout: 62 });
});

test('nothing is asked of SQS for no message', async () => {
  const { queue, sent } = queueOf();
  await queue.remove([]);
  await queue.hide([], 5);
  expect(sent).toEqual([]);
});

test('what is sent again is delayed by fifteen minutes at most', async () => {
  const { queue, sent } = queueOf();
  await queue.sendAgain('{"again":1}', 4000);
  expect(sent[0]!.input).toEqual({ QueueUrl: 'http://queue', MessageBody: '{"again":1}', DelaySeconds: 900 });
});

test('a body that is too large for the queue lies in the bucket, when it is sent again and when it is buried', async () => {
  const { queue, sent } = queueOf();
  const body = JSON.stringify({ large: 'x'.repeat(300_000) });
  await queue.sendAgain(body, 1);
  await queue.bury({ id: 'm1', body, reason: 'no' });
  for (const { input } of sent) {
    const { MessageBody } = input as { MessageBody: string };
    expect(MessageBody.length).toBeLessThan(1000);
    expect(await queue.resolve(MessageBody)).toBe(body);
  }
});

test('a buried message has its reason beside it, as SQS takes it', async () => {
  const { queue, sent } = queueOf();
  await queue.bury({ id: 'm1', body: '{}', reason: 'unknown column\u0000\u0007 with control characters' });
  await queue.bury({ id: 'm2', body: '{}', reason: 'r'.repeat(5000) });
  expect(sent[0]!.input).toMatchObject({
    QueueUrl: 'http://dead',
    MessageAttributes: {
      reason: { StringValue: 'unknown column?? with control characters' },
      messageId: { StringValue: 'm1' },
    },
  });
  const { MessageAttributes } = sent[1]!.input as { MessageAttributes: { reason: { StringValue: string } } };
  expect(MessageAttributes.reason.StringValue).toHaveLength(1000);
});

test('without dead letters nothing is buried', async () => {
  const { queue, sent } = queueOf({ deadLetters: false });
  await expect(queue.bury({ id: 'm1', body: '{}', reason: 'no' })).rejects.toThrow(PrerequisiteError);
  expect(sent).toEqual([]);
  expect(await queue.peekDeadLetters(10)).toEqual([]);
});

const letter = (id: string, reason?: string): Message => ({
  MessageId: id,
  ReceiptHandle: id,
  Body: `{"letter":"${id}"}`,
  ...(reason ? { MessageAttributes: { reason: { DataType: 'String', StringValue: reason } } } : {}),
});

test('dead letters are read with a short visibility time-out, each once, and none is deleted', async () => {
  const rounds = [[letter('1', 'why'), letter('2')], [letter('3')], [letter('1', 'why')]];
  const receives: ReceiveMessageCommand[] = [];
  const { queue, sent } = queueOf({
    answer: (command) => {
      if (!(command instanceof ReceiveMessageCommand)) return undefined;
      receives.push(command);
      return { Messages: rounds.shift() ?? [] };
    },
  });
  const letters = await queue.peekDeadLetters(20);
  expect(letters.map(({ id, reason }) => [id, reason])).toEqual([
    ['1', 'why'],
    ['2', undefined],
    ['3', undefined],
  ]);
  expect(sent).toEqual([]);
  for (const { input } of receives) expect(input).toMatchObject({ QueueUrl: 'http://dead', VisibilityTimeout: 5 });
});

test('a dead letter is removed only after it was sent back, and those that come back dead are left', async () => {
  const rounds = [[letter('1'), letter('2')], [letter('3')], [letter('4')]];
  const { queue, sent } = queueOf({
    answer: (command) => (command instanceof ReceiveMessageCommand ? { Messages: rounds.shift() ?? [] } : undefined),
  });
  // Three were there at the beginning.
  expect(await queue.redriveDeadLetters(async (body) => body.replace('letter', 'again'))).toEqual({
    moved: 3,
    left: 0,
  });
  expect(sent.map((command) => command.constructor)).toEqual(
    Array.from({ length: 3 }, () => [SendMessageCommand, DeleteMessageCommand]).flat(),
  );
  expect(sent[0]!.input).toEqual({ QueueUrl: 'http://queue', MessageBody: '{"again":"1"}' });
  expect(sent[1]!.input).toEqual({ QueueUrl: 'http://dead', ReceiptHandle: '1' });
});

test('a redrive waits for what a look hides, and says how many somebody else holds', async () => {
  const rounds = [[letter('1'), letter('2')], []];
  const waits: unknown[] = [];
  const { queue } = queueOf({
    answer: (command) => {
      if (!(command instanceof ReceiveMessageCommand)) return undefined;
      waits.push(command.input.WaitTimeSeconds);
      return { Messages: rounds.shift() ?? [] };
    },
  });
  expect(await queue.redriveDeadLetters(async (body) => body)).toEqual({ moved: 2, left: 1 });
  // A look hides for five.
  expect(waits).toEqual([8, 8]);
});

test('a dead letter that can not be sent back stays where it is', async () => {
  const { queue, sent } = queueOf({
    answer: (command) => {
      if (command instanceof SendMessageCommand) throw new Error('the queue is down');
      return command instanceof ReceiveMessageCommand ? { Messages: [letter('1')] } : undefined;
    },
  });
  await expect(queue.redriveDeadLetters(async (body) => body)).rejects.toThrow('down');
  expect(sent).toEqual([]);
});
