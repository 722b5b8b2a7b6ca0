import {
  type SendMessageBatchCommandInput,
  type SendMessageBatchRequestEntry,
  type SQSClient,
  SQSServiceException,
} from '@aws-sdk/client-sqs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createSqsFailedWriteQueue, intoBatches } from '#adapters/sqs.ts';
import { resolveMessageBody } from '#adapters/sqs-overflow.ts';
import { MessageInvalidError, ObjectStoreError } from '#core/errors.ts';
import type { ObjectStore } from '#core/ports.ts';

function memoryStore(): ObjectStore & { readonly objects: Map<string, Uint8Array> } {
  const objects = new Map<string, Uint8Array>();
  return {
    name: 'memory',
    objects,
    async *list() {},
    open: () => Promise.reject(new Error('not used')),
    get: async (key) => objects.get(key),
    put: async (key, body) => {
      objects.set(key, typeof body === 'string' ? new TextEncoder().encode(body) : body);
    },
    remove: async (key) => {
      objects.delete(key);
    },
  };
}

type Send = (entries: SendMessageBatchRequestEntry[]) => { Failed?: { Id: string }[] };

function queueOf(send: Send, overflow = memoryStore()) {
  const client = {
    send: async (command: { input: SendMessageBatchCommandInput }) => send(command.input.Entries ?? []),
  } as unknown as SQSClient;
  return createSqsFailedWriteQueue({ client, queueUrl: 'http://queue', overflow });
}

test('the ids of messages that the queue did not take come back, and only those', async () => {
  const queue = queueOf((entries) => ({
    Failed: entries.filter((entry) => entry.MessageBody === 'bad') as { Id: string }[],
  }));
  const messages = Array.from({ length: 23 }, (_, index) => ({
    id: `write ${index}`,
    body: index % 7 === 3 ? 'bad' : 'good',
  }));
  expect(await queue.send(messages)).toEqual(['write 3', 'write 10', 'write 17']);
});

test('a queue that does not answer is an error with its cause, not a refusal of messages', async () => {
  const down = new SQSServiceException({ name: 'Down', $fault: 'server', $metadata: {}, message: 'it is down' });
  const queue = queueOf(() => {
    throw down;
  });
  await expect(queue.send([{ id: '1', body: 'x' }])).rejects.toBe(down);
});

test('one message that makes the whole call fail is refused alone', async () => {
  const queue = queueOf((entries) => {
    if (!entries.some((entry) => entry.MessageBody === 'bad')) return {};
    throw new SQSServiceException({ name: 'InvalidMessageContents', $fault: 'client', $metadata: {} });
  });
  const messages = Array.from({ length: 15 }, (_, index) => ({ id: `w${index}`, body: index === 4 ? 'bad' : 'good' }));
  expect(await queue.send(messages)).toEqual(['w4']);
});

test('a body that is too large goes to the store, and the message leads back to it', async () => {
  const overflow = memoryStore();
  const sent: string[] = [];
  const queue = queueOf((entries) => {
    sent.push(...entries.map((entry) => entry.MessageBody ?? ''));
    return {};
  }, overflow);
  const body = `{"text":"${'ü'.repeat(200_000)}"}`;
  expect(await queue.send([{ id: 'a/b', body }])).toEqual([]);
  expect(sent[0]?.length).toBeLessThan(200);
  expect(await resolveMessageBody(sent[0] ?? '', overflow)).toBe(body);
});

test('when the store does not take a large body the message is refused, not lost', async () => {
  const overflow = { ...memoryStore(), put: () => Promise.reject(new ObjectStoreError('down')) };
  expect(await queueOf(() => ({}), overflow).send([{ id: 'big', body: 'x'.repeat(300_000) }])).toEqual(['big']);
});

test('a pointer to nothing, to another size or out of its prefix can never be used', async () => {
  const overflow = memoryStore();
  const pointer = (key: string, byteLength: number) => JSON.stringify({ overflow: { key, byteLength } });
  await overflow.put('failed-writes/overflow/x', 'abc');
  await overflow.put('ledger/phase.json', 'abc');
  expect(await resolveMessageBody(pointer('failed-writes/overflow/x', 3), overflow)).toBe('abc');
  for (const body of [
    pointer('failed-writes/overflow/y', 3),
    pointer('failed-writes/overflow/x', 4),
    pointer('ledger/phase.json', 3),
    '{"overflow":',
  ]) {
    await expect(resolveMessageBody(body, overflow)).rejects.toThrow(MessageInvalidError);
  }
});

test('every other body is passed on as it is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.json(), async (body) => {
      fc.pre(!body.startsWith('{"overflow":'));
      expect(await resolveMessageBody(body, memoryStore())).toBe(body);
    }),
  );
});

test('batches keep order and content, and stay within what SQS takes', () => {
  const entry = fc.record({ bodyBytes: fc.integer({ min: 0, max: 250 * 1024 }) });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 60 }), (entries) => {
      const batches = [...intoBatches(entries)];
      expect(batches.flat()).toEqual(entries);
      for (const batch of batches) {
        expect(batch.length).toBeLessThanOrEqual(10);
        expect(batch.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0)).toBeLessThanOrEqual(256 * 1024);
      }
    }),
  );
});
