import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { LedgerStore } from '#core/ports.ts';
import { Journal } from '../../proxy-container/src/journal/journal.ts';
import { JournalSender } from '../../proxy-container/src/journal/journal-sender.ts';
import { SuspectMarks } from '../../proxy-container/src/journal/suspect-marks.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

let directory: string;
const logger = createLogger('test', 'silent');
const open = (maxBytes = 1_000_000) => Journal.open({ directory, maxBytes, logger, onNotDurable: () => undefined });
const message = (id: number) => ({ id: String(id), body: JSON.stringify({ id }) });

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringshift-journal-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function drain(journal: Journal): Promise<string[]> {
  const ids: string[] = [];
  for (let segment = await journal.oldest(); segment; segment = await journal.oldest()) {
    ids.push(...segment.messages.map(({ id }) => id));
    await segment.done();
  }
  return ids;
}

test('what one process appended the next one finds, in order', async () => {
  const journal = await open();
  for (let id = 0; id < 50; id++) expect(journal.append(message(id))).toBe(true);
  await journal.close();
  const next = await open();
  expect(next.messageCount).toBe(50);
  expect(await drain(next)).toEqual(Array.from({ length: 50 }, (_, id) => String(id)));
  expect(readdirSync(directory)).toEqual([]);
  await next.close();
});

test('its files are readable by their owner alone', async () => {
  const journal = await open();
  journal.append(message(1));
  await journal.flush();
  const [name] = readdirSync(directory);
  expect(statSync(join(directory, name!)).mode & 0o777).toBe(0o600);
  await journal.close();
});

test('a torn last record is left out and the others are kept', async () => {
  const journal = await open();
  journal.append(message(1));
  await journal.close();
  appendFileSync(join(directory, readdirSync(directory)[0]!), '2\t{"id":');
  const next = await open();
  expect(await drain(next)).toEqual(['1']);
  await next.close();
});

test('a full journal says so and takes again when there is room', async () => {
  const journal = await open(30);
  expect(journal.append(message(1))).toBe(true);
  expect(journal.append({ id: '2', body: 'x'.repeat(40) })).toBe(false);
  await drain(journal);
  expect(journal.append(message(3))).toBe(true);
  await journal.close();
});

test('messages appended while a segment is sent are not lost with it', async () => {
  const journal = await open();
  journal.append(message(1));
  const segment = await journal.oldest();
  journal.append(message(2));
  await segment!.done();
  await journal.close();
  const next = await open();
  expect(await drain(next)).toEqual(['2']);
  await next.close();
});

test('the sender goes on when the queue is back, and stops when it has nothing left', async () => {
  const journal = await open();
  const queue = new MemoryQueue();
  queue.isAway = true;
  const sender = new JournalSender({ journal, queue, batchSize: 10, maxBackoffMs: 300, logger });
  sender.start();
  for (let id = 0; id < 25; id++) journal.append(message(id));
  await vi.waitFor(() => expect(sender.lastError).toBeDefined(), 5000);
  queue.isAway = false;
  await vi.waitFor(() => expect(queue.messages).toHaveLength(25), 5000);
  await sender.stop(2000);
  expect(journal.messageCount).toBe(0);
  await journal.close();
});

test('suspect marks outlive a ledger that is away and a restart', async () => {
  const memory = createMemoryLedgerStore();
  let isAway = true;
  const store: LedgerStore = {
    ...memory,
    put: (...args) => (isAway ? Promise.reject(new Error('away')) : memory.put(...args)),
  };
  const ledger = createLedger(store);
  const marks = new SuspectMarks({ ledger, instance: 'one', directory, logger });
  marks.mark('ks', 't', 'a reason');
  await marks.flush();
  expect(await ledger.listSuspects()).toEqual([]);
  isAway = false;
  const next = new SuspectMarks({ ledger, instance: 'one', directory, logger });
  await next.restore();
  await next.flush();
  expect((await ledger.readTable('ks', 't'))?.state).toBe('suspect');
  expect((await ledger.listSuspects())[0]).toMatchObject({ keyspace: 'ks', table: 't', reason: 'a reason' });
  expect(readdirSync(directory)).toEqual([]);
});
