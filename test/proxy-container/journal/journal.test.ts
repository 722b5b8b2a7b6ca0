import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { decodeMessage } from '#core/model/message.ts';
import type { FailedWriteQueue } from '#core/ports.ts';
import type { LostWrite } from '../../../proxy-container/src/journal/bundle-writes.ts';
import type { ChunkWrite } from '../../../proxy-container/src/journal/chunk.ts';
import { Journal } from '../../../proxy-container/src/journal/journal.ts';
import type { JournalSettings, StartJournalThread } from '../../../proxy-container/src/journal/journal-protocol.ts';
import { startThread } from '../../../proxy-container/src/journal/start-thread.ts';
import { eventually } from '../../support/eventually.ts';
import { failedInsert } from '../../support/failed-frames.ts';
import { MemoryQueue } from '../../support/in-process-proxy.ts';
import { journalHere } from '../../support/journal-here.ts';

const MIB = 1024 * 1024;
const cluster = { contactPoints: ['127.0.0.1'] };
let directory: string;
let journals: Journal[];
let lost: LostWrite[];
let done: number[];
let kept: number;
let run = 0;

beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'ringshift-journal-')), 'journal');
  journals = [];
  lost = [];
  done = [];
  kept = 0;
});
afterEach(async () => {
  for (const journal of journals) await journal.stop(0);
  rmSync(join(directory, '..'), { recursive: true, force: true });
});

interface Opening extends Partial<JournalSettings> {
  readonly queue?: FailedWriteQueue | null;
  readonly start?: StartJournalThread;
  readonly maxPendingBytes?: number;
  readonly maxRefusals?: number;
}

async function open({
  queue = null,
  start,
  maxPendingBytes,
  maxRefusals,
  ...settings
}: Opening = {}): Promise<Journal> {
  const { failedWrites, ledger } = migrationConfigSchema.parse({ origin: cluster, target: cluster });
  const journal = new Journal({
    settings: {
      stores: { failedWrites, ledger },
      directory,
      maxBytes: 100 * MIB,
      keys: { current: null, previous: [] },
      instance: 'one',
      run: `run-${++run}`,
      bundleBytes: 20_000,
      maxMessageBytes: 250_000,
      maxPauseMs: 300,
      ...settings,
    },
    start: start ?? journalHere(queue, maxRefusals === undefined ? {} : { maxRefusals }),
    logger: createLogger('test', 'silent'),
    ...(maxPendingBytes === undefined ? {} : { maxPendingBytes }),
    onKept: (writes) => {
      kept += writes;
    },
    onLost: (one) => void lost.push(one),
    onDone: (sequence) => void done.push(sequence),
  });
  journals.push(journal);
  await journal.open();
  return journal;
}

async function close(journal: Journal): Promise<void> {
  await journal.stop(10_000);
  journals = journals.filter((one) => one !== journal);
}

const timesOf = (queue: MemoryQueue): number[] => queue.writes.map(({ timestampMicros }) => Number(timestampMicros));
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);
const marks = (): string[] =>
  lost.flatMap(({ tables, code, reason }) => tables.map(({ table }) => `${table} ${code}: ${reason}`));
const of = (table: string): Partial<ChunkWrite> => ({ tables: [{ keyspace: 'ks', table }] });

/** What the next process finds, by sending it to a queue. */
async function found(settings: Opening = {}): Promise<number[]> {
  const queue = new MemoryQueue();
  const journal = await open({ ...settings, queue });
  await eventually(() => expect(journal.health.messages).toBe(0));
  await close(journal);
  return timesOf(queue);
}

test('what one process took the next one finds, in order, and leaves nothing behind', async () => {
  const journal = await open();
  for (const time of upTo(500)) expect(journal.add(failedInsert(time), time)).toBe(true);
  await journal.flush(20_000);
  expect(done).toEqual(upTo(500));
  expect([kept, journal.health.messages]).toEqual([500, 500]);
  await close(journal);
  expect(await found()).toEqual(upTo(500));
  expect(readdirSync(directory)).toEqual([]);
});

test('a write travels with everything that applying it again needs', async () => {
  const queue = new MemoryQueue();
  const journal = await open({ queue });
  const types = '["text"]';
  journal.add(
    failedInsert(7, {
      epoch: 9,
      destination: 'origin',
      tables: [{ keyspace: 'ks', table: 't', tokens: [-5n, 6n] }],
      statements: [{ text: 'INSERT INTO t (id, v) VALUES (1, ?) USING TTL 60', types }],
    }),
    -1,
  );
  await eventually(() => expect(queue.messages).toHaveLength(1));
  const message = decodeMessage(queue.messages[0]!.body);
  expect(message).toMatchObject({ kind: 'writes', instance: 'one' });
  expect(queue.writes).toEqual([
    {
      id: expect.any(String),
      keyspace: 'ks',
      tables: [{ keyspace: 'ks', table: 't', tokens: [-5n, 6n] }],
      consistency: 6,
      timestampMicros: 7n,
      writtenAtSeconds: 1_700_000_000,
      expiresAtSeconds: 1_700_000_060,
      epoch: 9,
      destination: 'origin',
      kind: 'query',
      statements: [
        { text: 'INSERT INTO t (id, v) VALUES (1, ?) USING TTL 60', types: ['text'], values: [new Uint8Array([118])] },
      ],
      idempotent: true,
      reason: 'the shadow refused it',
      attempts: 1,
    },
  ]);
  expect(done).toEqual([]);
});

test('nothing is started and nothing written while nothing fails', async () => {
  let starts = 0;
  const start: StartJournalThread = (...args) => {
    starts++;
    return journalHere(null)(...args);
  };
  const journal = await open({ start });
  expect([starts, existsSync(directory)]).toEqual([0, false]);
  journal.add(failedInsert(1), 1);
  await journal.flush(20_000);
  expect(starts).toBe(1);
});

test('its files are readable by their owner alone', async () => {
  const journal = await open();
  journal.add(failedInsert(1), 1);
  await journal.flush(20_000);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(directory))
    expect([name, statSync(join(directory, name)).mode & 0o777]).toEqual([name, 0o600]);
});

const KEY = Buffer.alloc(32, 7);
const OTHER_KEY = Buffer.alloc(32, 8);

test('with a key no value is on the disk in clear; the key of before still opens what it wrote', async () => {
  const secret = 'a value of the application';
  const journal = await open({ keys: { current: KEY, previous: [] } });
  journal.add(failedInsert(1, { value: secret }), 1);
  await journal.flush(20_000);
  const clear = readdirSync(directory).filter((name) => readFileSync(join(directory, name)).includes('application'));
  expect(clear).toEqual([]);
  await close(journal);
  expect(await found({ keys: { current: OTHER_KEY, previous: [KEY] } })).toEqual([1]);
});

test('what no key opens stays, its tables are marked, and the start goes on; the key brings it back', async () => {
  const journal = await open({ keys: { current: KEY, previous: [] } });
  journal.add(failedInsert(1, of('locked')), 1);
  await close(journal);
  const queue = new MemoryQueue();
  const next = await open({ queue, keys: { current: OTHER_KEY, previous: [] } });
  await eventually(() => expect(next.health.unreadable).toBe(1));
  next.add(failedInsert(2), 2);
  await eventually(() => expect(timesOf(queue)).toEqual([2]));
  expect(marks()).toEqual(['locked torn: failed writes can not be read from the journal']);
  await close(next);
  expect(await found({ keys: { current: null, previous: [KEY] } })).toEqual([1]);
});

test('a damaged journal is kept beside a new one, and its tables are marked', async () => {
  const journal = await open();
  journal.add(failedInsert(1, of('first')), 1);
  journal.add(failedInsert(2, of('second')), 2);
  await close(journal);
  truncateSync(join(directory, 'journal.db'), 5000);
  const queue = new MemoryQueue();
  const next = await open({ queue });
  // Before it serves anybody.
  const reason = 'torn: the journal of failed writes is damaged';
  expect(marks()).toEqual([`first ${reason}`, `second ${reason}`]);
  next.add(failedInsert(3), 3);
  await eventually(() => expect(timesOf(queue)).toEqual([3]));
  expect(readdirSync(directory).some((name) => name.startsWith('journal.db.damaged-'))).toBe(true);
});

test('a file that is no database is no reason not to start either', async () => {
  const journal = await open();
  journal.add(failedInsert(1, of('first')), 1);
  await close(journal);
  writeFileSync(join(directory, 'journal.db'), 'x'.repeat(10_000));
  await open();
  expect(marks()).toEqual(['first torn: the journal of failed writes is damaged']);
});

test('a full journal is told from a full disk: what has no room is in memory, then refused, and taken when there is room', async () => {
  const queue = new MemoryQueue();
  queue.isAway = true;
  const random = () => Buffer.from(crypto.getRandomValues(new Uint8Array(30_000))).toString('base64');
  const journal = await open({ queue, maxBytes: 400_000, maxPendingBytes: MIB });
  let added = 0;
  await eventually(() => {
    while (journal.add(failedInsert(added + 1, { value: random() }), added + 1)) added++;
    expect(journal.health.diskError).toMatch(/full/);
  });
  expect(journal.add(failedInsert(999_999, { value: random() }), 0)).toBe(false);
  expect(done.length).toBeLessThan(added);
  queue.isAway = false;
  await eventually(() => expect(new Set(timesOf(queue))).toEqual(new Set(upTo(added))));
  await eventually(() => expect(done).toEqual(upTo(added)));
  expect(journal.add(failedInsert(added + 1, { value: random() }), added + 1)).toBe(true);
  await eventually(() => expect(new Set(timesOf(queue))).toEqual(new Set(upTo(added + 1))));
  expect(lost).toEqual([]);
});

test('a write that is too large for any message is marked, and the others are kept', async () => {
  const journal = await open({ maxMessageBytes: 10_000 });
  journal.add(failedInsert(1), 1);
  journal.add(failedInsert(2, { ...of('large'), value: 'x'.repeat(9000) }), 2);
  journal.add(failedInsert(3), 3);
  await journal.flush(20_000);
  expect(marks()).toEqual(['large too-large: a shadow write failed and is too large for the queue']);
  expect([done, kept]).toEqual([[1, 2, 3], 2]);
});

test('places to copy are kept like failed writes', async () => {
  const queue = new MemoryQueue();
  queue.isAway = true;
  const journal = await open({ queue });
  const copy = {
    kind: 'copy',
    id: 'c1',
    keyspace: 'ks',
    table: 't',
    tokens: [1n, -2n],
    lacking: 'target',
    code: 'crash-window',
    attempts: 1,
    enqueuedAt: new Date().toISOString(),
    instance: 'one',
  } as const;
  const before = Date.now();
  await journal.addCopy(copy);
  expect(journal.health).toMatchObject({ messages: 1, oldestAtMs: expect.any(Number) });
  expect(journal.settledAtMs).toBeGreaterThanOrEqual(before);
  expect(journal.settledAtMs).toBe(journal.health.oldestAtMs);
  queue.isAway = false;
  await eventually(() => expect(queue.messages.map(({ body }) => decodeMessage(body))).toEqual([copy]));
  await eventually(() => expect(journal.health.oldestAtMs).toBe(null));
});

test('the sender goes on when the queue is back', async () => {
  const queue = new MemoryQueue();
  queue.isAway = true;
  const journal = await open({ queue });
  for (const time of upTo(25)) journal.add(failedInsert(time), time);
  await eventually(() => expect(journal.health.queueError).toBe('the queue is away'));
  expect(journal.health.lastSentAtMs).toBe(null);
  queue.isAway = false;
  await eventually(() => expect(timesOf(queue)).toEqual(upTo(25)));
  await eventually(() => expect(journal.health).toMatchObject({ messages: 0, bytes: 0, sent: 25, queueError: null }));
  expect(journal.health.lastSentAtMs).toBeGreaterThan(0);
});

/** A queue that refuses what `isBad` says. */
class ChoosyQueue extends MemoryQueue {
  readonly tries: number[][] = [];
  readonly isBad: (times: readonly number[]) => boolean;

  constructor(isBad: (times: readonly number[]) => boolean) {
    super();
    this.isBad = isBad;
  }

  override async send(messages: Parameters<MemoryQueue['send']>[0]): Promise<readonly string[]> {
    const refused: string[] = [];
    for (const message of messages) {
      const alone = new MemoryQueue();
      await alone.send([message]);
      const times = timesOf(alone);
      this.tries.push(times);
      if (this.isBad(times)) refused.push(message.id);
      else await super.send([message]);
    }
    return refused;
  }
}

test('a bundle that the queue refuses is sent write by write; the one that it never takes is set aside and marked, and offered again by the next process', async () => {
  const queue = new ChoosyQueue((times) => times.includes(2));
  const journal = await open({ queue, maxRefusals: 8, maxPauseMs: 10 });
  journal.add(failedInsert(1), 1);
  journal.add(failedInsert(2, of('bad')), 2);
  journal.add(failedInsert(3), 3);
  await journal.flush(20_000);
  journal.add(failedInsert(4), 4);
  await eventually(() => expect(journal.health.setAside).toBe(1));
  await eventually(() => expect(timesOf(queue).sort()).toEqual([1, 3, 4]));
  expect(marks()).toEqual(['bad torn: a failed write is refused by the queue']);
  expect(journal.health.messages).toBe(0);
  await close(journal);
  // The next process offers it again, and so does the one after that.
  const still = await open({ queue, maxRefusals: 2, maxPauseMs: 10 });
  await eventually(() => expect(still.health).toMatchObject({ messages: 0, setAside: 1 }));
  await close(still);
  const mended = new MemoryQueue();
  const next = await open({ queue: mended });
  await eventually(() => expect(timesOf(mended)).toEqual([2]));
  await eventually(() => expect(next.health).toMatchObject({ messages: 0, setAside: 0 }));
});

test('messages that the queue takes do not wait for one that it refuses', async () => {
  const queue = new ChoosyQueue((times) => times.includes(1));
  const journal = await open({ queue, maxPauseMs: 600_000 });
  journal.add(failedInsert(1), 1);
  await journal.flush(20_000);
  await eventually(() => expect(queue.tries.length).toBeGreaterThanOrEqual(3));
  journal.add(failedInsert(2), 2);
  await eventually(() => expect(timesOf(queue)).toEqual([2]));
  await eventually(() => expect(journal.health).toMatchObject({ messages: 1, setAside: 0 }));
  const before = queue.tries.filter(([time]) => time === 1).length;
  // The last round tries it once more, whatever pause it is in, and leaves it to the next process.
  await close(journal);
  expect(queue.tries.filter(([time]) => time === 1)).toHaveLength(before + 1);
  expect(await found()).toEqual([1]);
});

test('a pause that a killed process was in, by a clock that was hours ahead, is over for the next one', async () => {
  const queue = new ChoosyQueue(() => true);
  const start = journalHere(queue, { nowMillis: () => Date.now() + 10 * 3_600_000 });
  const journal = await open({ start, maxPauseMs: 600_000 });
  journal.add(failedInsert(1), 1);
  await eventually(() => expect(queue.tries.length).toBeGreaterThanOrEqual(2));
  await journal.stop(0);
  expect(await found({ maxPauseMs: 600_000 })).toEqual([1]);
});

test('who stops tries once more, however long the pause is, and no longer than it may', async () => {
  const queue = new MemoryQueue();
  queue.isAway = true;
  const journal = await open({ queue, maxPauseMs: 600_000 });
  journal.add(failedInsert(1), 1);
  await eventually(() => expect(journal.health.queueError).not.toBe(null));
  queue.isAway = false;
  await close(journal);
  expect(timesOf(queue)).toEqual([1]);

  let tries = 0;
  const stuck = new MemoryQueue();
  stuck.send = (_, signal?: AbortSignal) => {
    tries++;
    if (signal === undefined) throw new Error('no signal');
    return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const other = await open({ queue: stuck });
  other.add(failedInsert(2), 2);
  await eventually(() => expect(tries).toBe(1));
  await other.stop(100);
  expect(await found()).toEqual([2]);
});

test('a thread that dies loses nothing: another one gets what was not kept, and keeps nothing twice', async () => {
  const ends: (() => void)[] = [];
  const start: StartJournalThread = (settings, events) => {
    const isFirst = ends.length === 0;
    const thread = journalHere(null)(settings, {
      ...events,
      // The first one commits, and dies before it says so.
      onMessage: (message) => {
        if (!isFirst || message.kind !== 'kept') events.onMessage(message);
        else thread.end();
      },
    });
    ends.push(() => thread.end());
    return thread;
  };
  const journal = await open({ start });
  journal.add(failedInsert(1), 1);
  await eventually(() => expect(journal.health.diskError).toMatch(/thread/));
  journal.add(failedInsert(2), 2);
  await eventually(() => expect(done).toEqual([1, 2]));
  expect([ends.length, journal.health.diskError, journal.health.messages]).toEqual([2, null, 2]);
  await close(journal);
  expect(await found()).toEqual([1, 2]);
});

test('a chunk at which the thread dies again and again is given up and marked, and the others go on', async () => {
  const start: StartJournalThread = (settings, events) => {
    const thread = journalHere(null)(settings, events);
    return {
      ...thread,
      post: (message) => (message.kind === 'chunk' && message.number === 1 ? thread.end() : thread.post(message)),
    };
  };
  const journal = await open({ start });
  journal.add(failedInsert(1, of('poison')), 1);
  await journal.flush(1);
  journal.add(failedInsert(2), 2);
  await eventually(() => expect(done).toEqual([1, 2]));
  expect(marks()).toEqual(['poison journal-full: failed writes are lost: the journal can not take them']);
});

test('what a process that stops can not keep is marked', async () => {
  const journal = await open({ start: () => ({ post: () => undefined, end: () => undefined }) });
  journal.add(failedInsert(1, of('first')), 1);
  await journal.stop(50);
  expect(marks()).toEqual(['first journal-full: failed writes are lost: the proxy stopped before the disk had them']);
  expect(journal.add(failedInsert(2), 2)).toBe(false);
});

test('in a thread of its own it keeps what was committed, also when that is ended in the middle', async () => {
  const threads: { end(): void }[] = [];
  const start: StartJournalThread = (...args) => {
    const thread = startThread(...args);
    threads.push(thread);
    return thread;
  };
  const journal = await open({ start });
  for (const time of upTo(2000)) expect(journal.add(failedInsert(time), time)).toBe(true);
  await eventually(() => expect(done.length).toBeGreaterThan(0));
  threads[0]!.end();
  for (let time = 2001; time <= 4000; time++) expect(journal.add(failedInsert(time), time)).toBe(true);
  await eventually(() => expect(done).toHaveLength(4000));
  expect(journal.health).toMatchObject({ messages: 4000, diskError: null });
  await close(journal);
  expect(await found()).toEqual(upTo(4000));
}, 60_000);

test('a journal that can not be opened is not an empty one', async () => {
  await close(await open());
  const first = await open();
  first.add(failedInsert(1), 1);
  await first.flush(10_000);
  await close(first);
  let mayStart = false;
  const here = journalHere(null);
  const start: StartJournalThread = (settings, events) => {
    if (mayStart) return here(settings, events);
    setImmediate(() => events.onGone('the disk refuses'));
    return { post: () => undefined, end: () => undefined };
  };
  const journal = await open({ start });
  expect(journal.health.messages).toBe(1);
  expect(journal.health.oldestAtMs).toBeLessThanOrEqual(Date.now());
  expect(journal.settledAtMs).toBe(journal.health.oldestAtMs);
  mayStart = true;
  await eventually(() => expect(journal.health).toMatchObject({ messages: 1, diskError: null }));
  await close(journal);
  expect(await found()).toEqual([1]);
});
