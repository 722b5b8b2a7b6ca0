import { expect, test } from 'vitest';
import type { FailedWriteQueue, QueuedMessage } from '#core/ports.ts';
import { queueWhenOpen } from '../../../proxy-container/src/journal/queue-when-open.ts';

test('a queue that can not be opened is away, and is there when it can', async () => {
  const sent: QueuedMessage[] = [];
  const real: FailedWriteQueue = {
    send: async (messages) => {
      sent.push(...messages);
      return [];
    },
    depth: async () => ({ waiting: sent.length, inFlight: 0, deadLetters: 0 }),
  };
  let openings = 0;
  const queue = queueWhenOpen(async () => {
    openings++;
    if (openings === 1) throw new Error('no such directory');
    return real;
  });
  const message = { id: '1', body: '{}' };
  await expect(queue.send([message])).rejects.toThrow('no such directory');
  expect(await queue.send([message])).toEqual([]);
  expect(await queue.depth()).toMatchObject({ waiting: 1 });
  expect(openings).toBe(2);
});
