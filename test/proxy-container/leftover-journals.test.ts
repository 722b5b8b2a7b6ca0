import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { decodeMessage } from '#core/model/message.ts';
import { LogCounters } from '../../proxy-container/src/in-flight/log-counters.ts';
import { logFolderOf } from '../../proxy-container/src/in-flight/log-folder.ts';
import { openInFlight } from '../../proxy-container/src/in-flight/open-in-flight.ts';
import { DirectoryLock } from '../../proxy-container/src/journal/directory-lock.ts';
import { LeftoverJournals } from '../../proxy-container/src/journal/leftover-journals.ts';
import { openJournal } from '../../proxy-container/src/journal/open-journal.ts';
import { SuspectMarks } from '../../proxy-container/src/journal/suspect-marks.ts';
import {
  configOfProcess,
  instanceOfDirectory,
  leftoverDirectories,
  placeVariable,
  processCount,
  readPlace,
} from '../../proxy-container/src/processes/process-place.ts';
import { Flusher } from '../../proxy-container/src/transport/frame-writer.ts';
import { TimestampGenerator } from '../../proxy-container/src/writes/timestamps.ts';
import { eventually } from '../support/eventually.ts';
import { failedInsert } from '../support/failed-frames.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { journalHere } from '../support/journal-here.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

let folder: string;
const logger = createLogger('test', 'silent');
const ledger = createLedger(createMemoryLedgerStore());

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-leftover-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const cluster = { contactPoints: ['127.0.0.1'] };
const config = migrationConfigSchema.parse({
  origin: cluster,
  target: cluster,
  failedWrites: { kind: 'directory', path: '/nowhere', retryIntervalSecs: 1 },
});
const portsOf = (queue: MemoryQueue | null) => ({
  startJournal: journalHere(queue),
  journalKeys: { current: null, previous: [] },
  maxMessageBytes: 250_000,
  logger,
});

async function leave(directory: string, timestampMicros: number): Promise<void> {
  const marks = new SuspectMarks({ ledger, instance: 'other', directory, clock: { nowMillis: Date.now }, logger });
  await marks.restore();
  const mine = { ...config, failedWrites: { ...config.failedWrites, journalDir: directory } };
  const owner = { instance: 'other', processId: `process-${timestampMicros}` };
  const events = { onKept: () => undefined, onDone: () => undefined };
  const journal = await openJournal(mine, portsOf(null), owner, marks, events);
  journal.add(failedInsert(timestampMicros), -1);
  await journal.stop(10_000);
}

function leftovers(directories: readonly string[], queue: MemoryQueue | null, its = config): LeftoverJournals {
  return new LeftoverJournals({
    config: its,
    instance: 'me',
    instanceOf: (directory) => instanceOfDirectory(directory, 'me'),
    processId: 'mine',
    directories,
    ledger,
    ports: portsOf(queue),
  });
}

const timesOf = (queue: MemoryQueue) => queue.writes.map(({ timestampMicros }) => Number(timestampMicros));

test('what processes have left that are no more asked for goes to the queue', async () => {
  const directory = join(folder, 'process-3');
  await leave(directory, 11);
  const queue = new MemoryQueue();
  queue.isAway = true;
  const found = leftovers([directory, join(folder, 'process-4')], queue);
  found.start();
  await eventually(() => expect(existsSync(join(directory, 'lock'))).toBe(true));
  queue.isAway = false;
  await eventually(() => expect(timesOf(queue)).toEqual([11]));
  await eventually(() => expect(readdirSync(directory).filter((name) => /journal|lock/.test(name))).toEqual([]));
  await found.stop();
});

test.each([null, 'memory'])(
  'what such a process had under way when it was killed is to be copied (log in %s)',
  async (kind) => {
    const inFlightDir = kind && join(folder, kind);
    const failedWrites = { ...config.failedWrites, journalDir: join(folder, 'process-5'), inFlightDir };
    const marks = { mark: () => undefined, markEverything: () => undefined };
    const journal = { addCopy: () => Promise.resolve() };
    const log = await openInFlight({
      ...{ failedWrites, instance: 'other', journal, marks, facts: undefined, logger },
      ...{ timestamps: new TimestampGenerator(), flusher: new Flusher(), counters: new LogCounters() },
    });
    log.begin({ keyspace: 'ks', table: 't', index: -1 }, 0, 7, 0);
    log.flush();
    mkdirSync(failedWrites.journalDir, { recursive: true });
    const queue = new MemoryQueue();
    const found = leftovers([failedWrites.journalDir], queue, { ...config, failedWrites });
    found.start();
    await eventually(() =>
      expect(queue.messages.map(({ body }) => decodeMessage(body))).toMatchObject([
        { kind: 'copy', keyspace: 'ks', table: 't', tokens: [7n], lacking: 'target' },
      ]),
    );
    await eventually(() => expect(existsSync(logFolderOf(failedWrites))).toBe(false));
    await found.stop();
    await log.close();
  },
);

test('a process of which nothing is left leaves the ledger, and one whose journal goes nowhere stays in it', async () => {
  const record = (instance: string) => ({
    ...({ version: 1, instance, drainedForEpoch: 1, actingEpoch: 1, counters: {}, storage: 'volume' } as const),
    ...{ startedAt: new Date(0).toISOString(), leaseUntil: new Date(0).toISOString() },
  });
  for (const name of ['me-p3', 'me-p4', 'me']) await ledger.putProxy(record(name));
  await leave(join(folder, 'process-3'), 13);
  const queue = new MemoryQueue();
  const found = leftovers([join(folder, 'process-3')], queue);
  found.start();
  await eventually(async () => expect(await ledger.readProxy('me-p3')).toBeUndefined());
  expect(timesOf(queue)).toEqual([13]);
  await leave(join(folder, 'process-4'), 14);
  const nowhere = { ...config, failedWrites: { ...config.failedWrites, kind: 'sqs' as const, path: null } };
  const kept = leftovers([join(folder, 'process-4')], null, nowhere);
  kept.start();
  await eventually(() => expect(existsSync(join(folder, 'process-4', 'marks.bits'))).toBe(false));
  await Promise.all([found.stop(), kept.stop()]);
  expect((await ledger.listProxies()).map(({ instance }) => instance)).toEqual(['me-p4', 'me']);
});

test('a directory whose process lives is left to it', async () => {
  const directory = join(folder, 'process-2');
  await leave(directory, 12);
  const lock = await DirectoryLock.take(directory, 'other', logger);
  const queue = new MemoryQueue();
  const found = leftovers([directory], queue);
  found.start();
  await found.stop();
  expect(queue.messages).toEqual([]);
  expect(readdirSync(directory)).toContain('journal.db');
  await lock.release();
});

test('a host looks into the directories that none of its processes has', async () => {
  for (const name of ['process-1', 'process-2', 'process-3', 'else']) mkdirSync(join(folder, name));
  const names = (paths: string[]) => paths.map((path) => path.slice(folder.length + 1)).sort();
  expect(names(await leftoverDirectories(folder, 1))).toEqual(['process-1', 'process-2', 'process-3']);
  expect(names(await leftoverDirectories(folder, 2))).toEqual(['', 'process-3']);
  expect(await leftoverDirectories(join(folder, 'nothing'), 1)).toEqual([]);
});

test('each process has a name and a journal of its own', () => {
  const place = { index: 2, instance: 'host' };
  expect(readPlace(placeVariable(place))).toEqual(place);
  const cluster = { contactPoints: ['a'] };
  const config = migrationConfigSchema.parse({
    origin: cluster,
    target: cluster,
    proxy: { processes: 'auto' },
    failedWrites: { journalDir: '/j' },
  });
  expect(configOfProcess(config, place)).toMatchObject({
    proxy: { instance: 'host-p2' },
    failedWrites: { journalDir: '/j/process-2' },
  });
  expect(processCount(config.proxy)).toBeGreaterThanOrEqual(1);
  expect(processCount({ ...config.proxy, processes: 3 })).toBe(3);
});
