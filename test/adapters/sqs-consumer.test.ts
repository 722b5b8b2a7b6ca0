import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { expect, test } from 'vitest';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import { type ReceivedMessage, settleMessage } from '#adapters/sqs-consumer.ts';
import { resolveMessageBody, withAttempts } from '#adapters/sqs-overflow.ts';
import type { ObjectStore } from '#core/ports.ts';
import { describeDeadLetter, settle } from '../../cli/replay.ts';

const queues = { queueUrl: 'http://queue', deadLetterQueueUrl: 'http://dead', retryIntervalSecs: 1800 };
const message: ReceivedMessage = { id: 'm1', receiptHandle: 'r1', body: '{"id":"w1","attempts":1}', receiveCount: 1 };
const objects = { name: 'memory', get: async () => Buffer.from('{"id":"w1","attempts":1}') } as unknown as ObjectStore;

function clientOf(answer: (command: unknown) => unknown = () => ({})) {
  const sent: unknown[] = [];
  const client = {
    send: async (command: { input: unknown }) => {
      sent.push(command);
      return answer(command);
    },
  } as unknown as SQSClient;
  return { client, sent };
}

test('a refused message is sent again with its attempts and a delay before the old one may be deleted', async () => {
  const { client, sent } = clientOf();
  expect(await settleMessage(client, queues, message, { kind: 'refused', id: 'm1', reason: 'no', attempts: 2 })).toBe(
    true,
  );
  expect(sent).toHaveLength(1);
  expect((sent[0] as SendMessageCommand).input).toEqual({
    QueueUrl: 'http://queue',
    MessageBody: '{"id":"w1","attempts":2}',
    DelaySeconds: 900,
  });
});

test('a message whose successor could not be sent is not deleted', async () => {
  const { client } = clientOf(() => {
    throw new Error('the queue is down');
  });
  const result = { kind: 'refused', id: 'm1', reason: 'no', attempts: 2 } as const;
  await expect(settleMessage(client, queues, message, result)).rejects.toThrow('down');
});

test('what queues refuse to carry stays escaped when a message is sent again', () => {
  const again = withAttempts('{"text":"\\ufffe\\uffff","attempts":1}', 2);
  expect(again).toBe('{"text":"\\ufffe\\uffff","attempts":2}');
});

test('a message that can not be settled is tried again, and ends no local replay', async () => {
  const { client, sent } = clientOf((command) => {
    if (command instanceof SendMessageCommand) throw new Error('the body is refused');
    return {};
  });
  const refused = { kind: 'refused', id: 'm1', reason: 'no', attempts: 2 } as const;
  const settled = await settle(client, queues, message, refused);
  expect(settled).toMatchObject({ kind: 'retry', id: 'm1', reason: expect.stringContaining('the body is refused') });
  // Not deleted.
  expect(sent).toHaveLength(1);
  const applied = { kind: 'applied', id: 'm1' } as const;
  expect(await settle(client, queues, message, applied)).toBe(applied);
  expect(sent[1]).toBeInstanceOf(DeleteMessageCommand);
});

test('a dead message goes to the dead letters with its reason, and stays where there are none', async () => {
  const dead = { kind: 'dead', id: 'm1', reason: 'unknown column' } as const;
  const { client, sent } = clientOf();
  expect(await settleMessage(client, queues, message, dead)).toBe(true);
  expect((sent[0] as SendMessageCommand).input).toMatchObject({
    QueueUrl: 'http://dead',
    MessageAttributes: { reason: { StringValue: 'unknown column' } },
  });
  expect(await settleMessage(client, { ...queues, deadLetterQueueUrl: undefined }, message, dead)).toBe(false);
  expect(sent[1]).toBeInstanceOf(ChangeMessageVisibilityCommand);
});

test('a pointer counts the attempts of what it points to', async () => {
  const pointer = JSON.stringify({ overflow: { key: 'failed-writes/overflow/w1', byteLength: 24 } });
  expect(JSON.parse(await resolveMessageBody(withAttempts(pointer, 3), objects))).toEqual({ id: 'w1', attempts: 3 });
});

test('dead letters are read with a short visibility time-out, each once, and none is deleted', async () => {
  const letter = (id: string, reason?: string): Message => ({
    MessageId: id,
    ReceiptHandle: id,
    Body: '{}',
    ...(reason ? { MessageAttributes: { reason: { DataType: 'String', StringValue: reason } } } : {}),
  });
  const rounds = [[letter('1', 'why'), letter('2')], [letter('3')], [letter('1', 'why')]];
  const { client, sent } = clientOf((command) => {
    if (command instanceof GetQueueAttributesCommand) {
      return { Attributes: { RedrivePolicy: '{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:000000000000:dead"}' } };
    }
    if (command instanceof GetQueueUrlCommand) return { QueueUrl: 'http://dead' };
    return { Messages: rounds.shift() ?? [] };
  });
  const queue = createSqsFailedWriteQueue({ client, queueUrl: 'http://queue', overflow: objects });
  const letters = await queue.peekDeadLetters(20);
  expect(letters.map(({ id, reason }) => [id, reason])).toEqual([
    ['1', 'why'],
    ['2', undefined],
    ['3', undefined],
  ]);
  const receives = sent.filter((command) => command instanceof ReceiveMessageCommand);
  expect(sent).toHaveLength(receives.length + 2);
  for (const { input } of receives) expect(input).toMatchObject({ QueueUrl: 'http://dead', VisibilityTimeout: 5 });
});

test('of a dead letter its tables, reason and attempts are told, and no value', async () => {
  const body = JSON.stringify({
    version: 1,
    id: 'w1',
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table: 't' }],
    consistency: 6,
    timestampMicros: '1',
    writtenAtSeconds: 1,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: "INSERT INTO t (k) VALUES ('secret')", values: [] }],
    idempotent: true,
    reason: 'Timeout',
    attempts: 3,
    enqueuedAt: '2026-01-01T00:00:00.000Z',
    instance: 'p1',
  });
  const told = await describeDeadLetter({ ...message, body, reason: 'unknown column' }, objects);
  expect(told).toEqual({ id: 'w1', tables: ['ks.t'], reason: 'unknown column', attempts: 3 });
  const givenUp = await describeDeadLetter({ ...message, body }, objects);
  expect(givenUp.reason).toContain('too many deliveries');
  expect(givenUp.reason).toContain('Timeout');
  expect((await describeDeadLetter({ ...message, body: 'torn' }, objects)).attempts).toBeNull();
});
