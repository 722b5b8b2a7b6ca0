import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDirectoryQueue } from '#adapters/queue-directory.ts';
import { ObjectStoreError } from '#core/errors.ts';
import { eventually } from '../support/eventually.ts';

let folder: string;
let path: string;
let now: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-queue-'));
  path = join(folder, 'queue');
  now = 1_790_000_000_000;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (maxBytes = 1 << 20) => openDirectoryQueue({ path, maxBytes, nowMillis: () => now });
const message = (body: string) => ({ id: body, body });
const SECOND = 1000;

test('what was sent is received by one consumer, and gone once it is removed', async () => {
  const [proxy, one, other] = [await open(), await open(), await open()];
  expect(await proxy.send([message('a'), message('b')])).toEqual([]);
  expect(await proxy.depth()).toEqual({ waiting: 2, inFlight: 0, deadLetters: 0 });
  const received = await one.receive(10);
  expect(received.map(({ body, receiveCount, sentAtMillis }) => [body, receiveCount, sentAtMillis]).sort()).toEqual([
    ['a', 1, now],
    ['b', 1, now],
  ]);
  expect(await other.receive(10)).toEqual([]);
  expect(await proxy.depth()).toEqual({ waiting: 0, inFlight: 2, deadLetters: 0 });
  await one.remove(received);
  expect(await proxy.depth()).toEqual({ waiting: 0, inFlight: 0, deadLetters: 0 });
});

test('the oldest comes first, ten at a time', async () => {
  const queue = await open();
  for (let at = 0; at < 12; at++) {
    await queue.send([message(String(at))]);
    now += 1;
  }
  expect((await queue.receive(10)).map(({ body }) => body)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  expect((await queue.receive(10)).map(({ body }) => body)).toEqual(['10', '11']);
});

test('a message of a consumer that died comes back, and its late removal does not touch the next delivery', async () => {
  const [one, other] = [await open(), await open()];
  await one.send([message('a')]);
  const [first] = await one.receive(10);
  now += 299 * SECOND;
  expect(await other.receive(10)).toEqual([]);
  now += 2 * SECOND;
  const [second] = await other.receive(10);
  expect(second).toMatchObject({ id: first!.id, body: 'a', receiveCount: 2 });
  await one.remove([first!]);
  await one.hide([first!], 0);
  expect(await one.depth()).toMatchObject({ inFlight: 1 });
  await other.remove([second!]);
  expect(await one.depth()).toMatchObject({ waiting: 0, inFlight: 0 });
});

test('what is hidden or sent again with a delay is due after it, and a wait beyond all of them is none', async () => {
  const queue = await open();
  await queue.send([message('a')]);
  await queue.hide(await queue.receive(10), 60);
  await queue.sendAgain('b', 120);
  expect(await queue.receive(10)).toEqual([]);
  expect(await queue.depth()).toEqual({ waiting: 2, inFlight: 0, deadLetters: 0 });
  now += 60 * SECOND;
  expect((await queue.receive(10)).map(({ body, receiveCount }) => [body, receiveCount])).toEqual([['a', 2]]);
  now += 60 * SECOND;
  expect((await queue.receive(10)).map(({ body }) => body)).toEqual(['b']);
  await queue.sendAgain('sent by a clock that was a day ahead', 86_400);
  expect((await queue.receive(10)).map(({ body }) => body)).toEqual(['sent by a clock that was a day ahead']);
});

test('dead letters lie apart with their reasons, and go back as they are edited', async () => {
  const queue = await open();
  await queue.bury({ id: 'm1', body: 'one', reason: 'unknown column' });
  now += 1;
  await queue.bury({ id: 'm2', body: 'two' });
  expect(await queue.depth()).toEqual({ waiting: 0, inFlight: 0, deadLetters: 2 });
  expect(await queue.peekDeadLetters(10)).toEqual([
    { id: 'm1', body: 'one', reason: 'unknown column' },
    { id: 'm2', body: 'two' },
  ]);
  expect(await queue.peekDeadLetters(1)).toHaveLength(1);
  await expect(
    queue.redriveDeadLetters(async (body) => {
      if (body === 'two') throw new Error('not this one');
      return `${body} again`;
    }),
  ).rejects.toThrow('not this one');
  expect(await queue.peekDeadLetters(10)).toMatchObject([{ body: 'two' }]);
  expect(await queue.redriveDeadLetters(async (body) => body)).toEqual({ moved: 1, left: 0 });
  expect((await queue.receive(10)).map(({ body }) => body).sort()).toEqual(['one again', 'two']);
});

test('a full queue takes no more until something left it, dead letters included; what never fits is named', async () => {
  const queue = await open(100);
  expect(await queue.send([message('x'.repeat(101)), message('y'.repeat(60))])).toEqual(['x'.repeat(101)]);
  await expect(queue.send([message('z'.repeat(60))])).rejects.toThrow(ObjectStoreError);
  await expect((await open(100)).send([message('z'.repeat(60))])).rejects.toThrow(/is full.*failedWrites\.maxMB/);
  const [taken] = await queue.receive(10);
  await queue.bury({ id: taken!.id, body: taken!.body, reason: 'no' });
  await queue.remove([taken!]);
  now += 2 * SECOND;
  await expect(queue.send([message('z'.repeat(60))])).rejects.toThrow(/is full/);
  await queue.redriveDeadLetters(async (body) => body);
  await queue.remove(await queue.receive(10));
  now += 2 * SECOND;
  expect(await queue.send([message('z'.repeat(60))])).toEqual([]);
});

test('only its owner may read it, and drafts of processes that died are swept away', async () => {
  const queue = await open();
  await queue.send([message('secret')]);
  await queue.bury({ id: 'm', body: 'secret', reason: 'no' });
  for (const name of readdirSync(path, { recursive: true }) as string[]) {
    expect(statSync(join(path, name)).mode & 0o077, name).toBe(0);
  }
  const draft = join(path, 'tmp', 'left-behind');
  writeFileSync(draft, 'half');
  await open();
  expect(readdirSync(join(path, 'tmp'))).toEqual(['left-behind']);
  const longAgo = new Date(now - 2 * 3_600_000);
  utimesSync(draft, longAgo, longAgo);
  await open();
  expect(readdirSync(join(path, 'tmp'))).toEqual([]);
});

test('two consumers at once share what waits, and none gets what the other has', async () => {
  const proxy = await open();
  for (let at = 0; at < 200; at++) await proxy.send([message(String(at))]);
  const drain = async () => {
    const queue = await open();
    const mine: string[] = [];
    for (;;) {
      const received = await queue.receive(10);
      if (received.length === 0) return mine;
      mine.push(...received.map(({ body }) => body));
    }
  };
  const [one, other] = await Promise.all([drain(), drain()]);
  expect([...one, ...other].map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, at) => at));
});

test('a sender and a consumer that are killed at any moment lose nothing that was sent', async () => {
  const script = join(import.meta.dirname, '../support/directory-queue-process.ts');
  const told = { send: new Set<string>(), receive: new Set<string>() };
  const start = (role: 'send' | 'receive'): ChildProcess => {
    const child = spawn(process.execPath, [script, path, role], { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop()!;
      for (const line of lines) told[role].add(line);
    });
    return child;
  };
  for (let round = 1; round <= 3; round++) {
    const children = [start('send'), start('receive')];
    const enough = { send: told.send.size + 40, receive: told.receive.size + 20 };
    await eventually(async () => {
      expect(told.send.size).toBeGreaterThan(enough.send);
      expect(told.receive.size).toBeGreaterThan(enough.receive);
    });
    for (const child of children) {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  }
  // What the killed consumers had comes back.
  now = Date.now() + 301 * SECOND;
  const queue = await open(1 << 30);
  const left = new Set<string>();
  for (let received = await queue.receive(10); received.length > 0; received = await queue.receive(10)) {
    for (const { body } of received) {
      expect(body.length).toBeGreaterThan(20_000);
      left.add(body.split(' ')[0]!);
    }
  }
  const lost = [...told.send].filter((one) => !told.receive.has(one) && !left.has(one));
  expect(lost).toEqual([]);
}, 120_000);
