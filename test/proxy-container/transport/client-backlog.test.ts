import { expect, test } from 'vitest';
import { ClientBacklog, type SlowClient } from '../../../proxy-container/src/transport/client-backlog.ts';

class Client implements SlowClient {
  waitingBytes = 0;
  isClosed = false;

  close(): void {
    this.isClosed = true;
    this.waitingBytes = 0;
  }
}

function begin(maxBytes: number) {
  const closed: number[] = [];
  const backlog = new ClientBacklog({ maxBytes, onClosed: () => closed.push(1) });
  const wait = (client: Client, bytes: number): void => {
    client.waitingBytes = bytes;
    backlog.note(client, bytes);
  };
  return { backlog, wait, closed };
}

test('the client that fell behind first is closed when all of them together hold too much', () => {
  const { backlog, wait, closed } = begin(100);
  const clients = [new Client(), new Client(), new Client()];
  for (const client of clients) wait(client, 30);
  expect(closed).toEqual([]);
  wait(clients[2]!, 50);
  expect(clients.map(({ isClosed }) => isClosed)).toEqual([true, false, false]);
  expect(backlog.byteCount).toBe(80);
  expect(closed).toEqual([1]);
});

test('one that holds little is not closed for those that hold much', () => {
  const { wait } = begin(100);
  const [small, large, other] = [new Client(), new Client(), new Client()];
  wait(small, 1);
  wait(large, 60);
  wait(other, 60);
  expect([small, large, other].map(({ isClosed }) => isClosed)).toEqual([false, true, false]);
});

test('what was read meanwhile without a word does not count', () => {
  const { backlog, wait } = begin(100);
  const [fast, slow] = [new Client(), new Client()];
  wait(fast, 80);
  fast.waitingBytes = 0;
  wait(slow, 90);
  expect([fast.isClosed, slow.isClosed]).toEqual([false, false]);
  expect(backlog.byteCount).toBe(90);
});

test('a client alone may have the longest answer there is', () => {
  const { wait, closed } = begin(100);
  const client = new Client();
  wait(client, 200);
  expect(closed).toEqual([]);
  wait(client, 0);
  wait(new Client(), 50);
  expect(closed).toEqual([]);
});
