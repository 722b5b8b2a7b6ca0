import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { LedgerStore } from '#core/ports.ts';
import { Journal } from '../../proxy-container/src/journal/journal.ts';
import { JournalSender } from '../../proxy-container/src/journal/journal-sender.ts';
import { SuspectMarks } from '../../proxy-container/src/journal/suspect-marks.ts';
import { eventually } from '../support/eventually.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

let directory: string;
const logger = createLogger('test', 'silent');
let doubts: string[];
const open = (maxBytes = 1_000_000, memoryBytes?: number) =>
  Journal.open({
    directory,
    maxBytes,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    logger,
    onDoubt: (tables, reason) => doubts.push(...tables.map(({ keyspace, table }) => `${keyspace}.${table}: ${reason}`)),
  });
const message = (id: number) => ({ id: String(id), body: JSON.stringify({ id }) });
const writing = (id: string, table: string, length = 0) => ({
  id,
  body: JSON.stringify({
    version: 1,
    id,
    keyspace: null,
    tables: [{ keyspace: 'ks', table }],
    text: 'x'.repeat(length),
  }),
});
/** A file of which every write fails with ENOSPC. */
const fillDisk = (sequence: number) =>
  symlinkSync('/dev/full', join(directory, `${String(sequence).padStart(12, '0')}.journal`));
const MIB = 1024 * 1024;

beforeEach(() => {
  doubts = [];
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

test('a torn last record is counted and its tables are in doubt; the others are kept', async () => {
  const journal = await open();
  journal.append(message(1));
  await journal.close();
  const torn = writing('2', 'torn', 100);
  appendFileSync(join(directory, readdirSync(directory)[0]!), `${torn.id}\t${torn.body.slice(0, -50)}`);
  const next = await open();
  expect(next.lostCount).toBe(1);
  expect(doubts).toEqual(['ks.torn: a failed write was torn on the disk']);
  expect(await drain(next)).toEqual(['1']);
  await next.close();
});

test('what the disk refuses is sent from memory however much comes behind it, and its tables are in doubt', async () => {
  const journal = await open(100 * MIB, MIB);
  fillDisk(1);
  journal.append(writing('a', 'first', MIB));
  await journal.flush();
  expect(doubts).toEqual(['ks.first: failed writes were in memory only: the disk refused them']);
  // Beyond what is held in memory while the disk refuses, the caller is told.
  expect(journal.append(writing('b', 'second'))).toBe(false);
  expect(await drain(journal)).toEqual(['a']);
  for (const id of ['c', 'd', 'e', 'f']) {
    expect(journal.append(writing(id, 'third', MIB))).toBe(true);
    await journal.flush();
  }
  expect(await drain(journal)).toEqual(['c', 'd', 'e', 'f']);
  expect(doubts).toHaveLength(1);
  await journal.close();
});

test('a full segment that is not on the disk stays in memory beside those that are', async () => {
  const journal = await open(100 * MIB, 2.1 * MIB);
  journal.append(writing('head', 'first', MIB));
  await journal.flush();
  fillDisk(2);
  // All before the first of them fails, so that its segment is full and closed by then.
  for (const id of ['a', 'b', 'c', 'd']) expect(journal.append(writing(id, 'rest', MIB))).toBe(true);
  await journal.flush();
  expect(await drain(journal)).toEqual(['head', 'a', 'b', 'c', 'd']);
  expect(journal.lostCount).toBe(0);
  await journal.close();
});

test('nothing is written behind half a record: after a refused write the next message gets another file', async () => {
  const journal = await open();
  fillDisk(1);
  journal.append(writing('a', 't'));
  await journal.flush();
  await journal.oldest();
  journal.append(writing('b', 't'));
  await journal.flush();
  expect(readFileSync(join(directory, '000000000002.journal'), 'utf8')).toBe(`b\t${writing('b', 't').body}\n`);
  expect(await drain(journal)).toEqual(['a', 'b']);
  await journal.close();
});

test('a file that vanished before its turn is counted, and its tables are in doubt', async () => {
  const journal = await open(100 * MIB, MIB);
  for (const [id, table] of [
    ['a', 'first'],
    ['b', 'second'],
    ['c', 'third'],
    ['d', 'fourth'],
  ] as const) {
    journal.append(writing(id, table, MIB));
    await journal.flush();
  }
  rmSync(join(directory, '000000000002.journal'));
  expect(await drain(journal)).toEqual(['a', 'c', 'd']);
  expect(journal.lostCount).toBe(1);
  expect(doubts).toEqual(['ks.second: failed writes are lost with a file of the journal']);
  await journal.close();
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
  await eventually(() => expect(sender.lastError).toBeDefined());
  queue.isAway = false;
  await eventually(() => expect(queue.messages).toHaveLength(25));
  await sender.stop(20_000);
  expect(journal.messageCount).toBe(0);
  await journal.close();
});

test('a message that the queue never takes is set aside and marked, and keeps no other one waiting', async () => {
  const journal = await open();
  const taken: string[] = [];
  const queue = new MemoryQueue();
  queue.send = async (messages) => {
    taken.push(...messages.map(({ id }) => id).filter((id) => id !== 'bad'));
    return messages.map(({ id }) => id).filter((id) => id === 'bad');
  };
  journal.append(writing('bad', 'big'));
  journal.append(writing('good', 't'));
  const sender = new JournalSender({ journal, queue, batchSize: 10, maxBackoffMs: 10, maxRefusals: 3, logger });
  sender.start();
  await eventually(() => expect(journal.setAsideCount).toBe(1));
  journal.append(writing('later', 't'));
  await eventually(() => expect(taken).toEqual(['good', 'later']));
  await sender.stop(20_000);
  expect(doubts).toEqual(['ks.big: a failed write is refused by the queue']);
  await journal.close();
  expect(readFileSync(join(directory, 'set-aside'), 'utf8')).toBe(`bad\t${writing('bad', 'big').body}\n`);
  const next = await open();
  expect([next.messageCount, next.setAsideCount]).toEqual([0, 1]);
  await next.close();
});

test('messages that the queue takes do not wait for one that it refuses', async () => {
  const journal = await open();
  const tries: string[] = [];
  const queue = new MemoryQueue();
  queue.send = async (messages) => {
    tries.push(...messages.map(({ id }) => id));
    return messages.map(({ id }) => id).filter((id) => id === 'bad');
  };
  const sender = new JournalSender({ journal, queue, batchSize: 10, maxBackoffMs: 60_000, logger });
  // After its third refusal a message has a pause that this test does not outlive.
  const putBack = journal.putBack.bind(journal);
  journal.putBack = (messages, pauseMs) => putBack(messages, pauseMs < 1000 ? pauseMs : pauseMs + 600_000);
  journal.append(writing('bad', 'big'));
  journal.append(writing('good', 't'));
  sender.start();
  const refusals = () => tries.filter((id) => id === 'bad').length;
  await eventually(() => expect(refusals()).toBe(3));
  expect(sender.lastError).toContain('refused 1');
  journal.append(writing('later', 't'));
  await eventually(() => expect(tries).toContain('later'));
  expect(refusals()).toBe(3);
  expect(journal.messageCount).toBe(1);
  await sender.stop(20_000);
  // The last round tries it once more and leaves it to the next process.
  expect(refusals()).toBe(4);
  await journal.close();
  const next = await open();
  expect(await drain(next)).toEqual(['bad']);
  await next.close();
});

test('a sender that stops tries once more, however long its pause is, and no longer than it may', async () => {
  const journal = await open();
  const queue = new MemoryQueue();
  queue.isAway = true;
  const sender = new JournalSender({ journal, queue, batchSize: 10, maxBackoffMs: 60_000, logger });
  sender.start();
  journal.append(message(1));
  await eventually(() => expect(sender.lastError).toBeDefined());
  queue.isAway = false;
  await sender.stop(20_000);
  expect(queue.messages.map(({ id }) => id)).toEqual(['1']);
  expect([journal.messageCount, sender.lastError]).toEqual([0, undefined]);

  let tries = 0;
  queue.send = (_, signal?: AbortSignal) => {
    if (++tries === 1) throw new Error('away');
    return new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
  };
  const stuck = new JournalSender({ journal, queue, batchSize: 10, maxBackoffMs: 60_000, logger });
  stuck.start();
  journal.append(message(2));
  await eventually(() => expect(stuck.lastError).toBeDefined());
  // Would wait for the queue for ever.
  await stuck.stop(100);
  expect([tries, journal.messageCount]).toEqual([2, 1]);
  await journal.close();
});

const A_MARK = { keyspace: 'ks', table: 't', tokens: null, code: 'other', reason: 'a reason', lacking: null } as const;

test('suspect marks outlive a ledger that is away and a restart', async () => {
  const memory = createMemoryLedgerStore();
  let isAway = true;
  const store: LedgerStore = {
    ...memory,
    put: (...args) => (isAway ? Promise.reject(new Error('away')) : memory.put(...args)),
  };
  const ledger = createLedger(store);
  const marks = new SuspectMarks({ ledger, instance: 'one', directory, logger });
  marks.mark(A_MARK);
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

test('a mark that is repeated before or while it is sent carries the time of the last loss', async () => {
  const memory = createMemoryLedgerStore();
  let isAway = true;
  let onPut: (() => void) | undefined;
  const ledger = createLedger({
    ...memory,
    put: async (...args) => {
      if (isAway) throw new Error('away');
      onPut?.();
      return memory.put(...args);
    },
  });
  const times = async () => (await ledger.listSuspects()).map(({ at }) => at).sort();
  vi.useFakeTimers({ toFake: ['Date'], now: 1_000 });
  try {
    const marks = new SuspectMarks({ ledger, instance: 'one', directory, logger });
    marks.mark(A_MARK);
    await marks.flush();
    vi.setSystemTime(2_000);
    marks.mark(A_MARK);
    isAway = false;
    onPut = () => {
      onPut = undefined;
      vi.setSystemTime(3_000);
      marks.mark(A_MARK);
    };
    await marks.flush();
    expect(await times()).toEqual([new Date(2_000).toISOString()]);
    await marks.flush();
    expect(await times()).toEqual([new Date(2_000).toISOString(), new Date(3_000).toISOString()]);
    isAway = true;
    marks.mark(A_MARK);
    await marks.flush();
    vi.setSystemTime(9_000);
    isAway = false;
    const next = new SuspectMarks({ ledger, instance: 'one', directory, logger });
    await next.restore();
    await next.flush();
    expect((await times()).at(-1)).toBe(new Date(9_000).toISOString());
  } finally {
    vi.useRealTimers();
  }
});
