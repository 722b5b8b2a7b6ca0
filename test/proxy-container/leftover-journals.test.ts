import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { DirectoryLock } from '../../proxy-container/src/journal/directory-lock.ts';
import { Journal } from '../../proxy-container/src/journal/journal.ts';
import { LeftoverJournals } from '../../proxy-container/src/journal/leftover-journals.ts';
import {
  configOfProcess,
  leftoverDirectories,
  placeVariable,
  processCount,
  readPlace,
} from '../../proxy-container/src/processes/process-place.ts';
import { eventually } from '../support/eventually.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

let folder: string;
const logger = createLogger('test', 'silent');
const ledger = createLedger(createMemoryLedgerStore());

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-leftover-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function leave(directory: string, id: string): Promise<void> {
  const journal = await Journal.open({ directory, maxBytes: 1e6, logger, onDoubt: () => undefined });
  journal.append({ id, body: JSON.stringify({ id }) });
  await journal.flush();
  await journal.close();
}

function leftovers(directories: readonly string[], queue: MemoryQueue): LeftoverJournals {
  const settings = { batchSize: 10, maxBackoffMs: 100, instance: 'me', processId: 'mine' };
  return new LeftoverJournals({ ...settings, directories, ledger, queue, logger });
}

test('what processes have left that are no more asked for goes to the queue and the ledger', async () => {
  const directory = join(folder, 'process-3');
  await leave(directory, 'a');
  const mark = { keyspace: 'ks', table: 't', reason: 'a reason', at: new Date().toISOString() };
  writeFileSync(join(directory, 'suspects.jsonl'), `${JSON.stringify(mark)}\n`);
  const queue = new MemoryQueue();
  queue.isAway = true;
  const found = leftovers([directory, join(folder, 'process-4')], queue);
  found.start();
  await eventually(async () => expect((await ledger.listSuspects()).map(({ table }) => table)).toEqual(['t']));
  expect(existsSync(join(directory, 'lock'))).toBe(true);
  queue.isAway = false;
  await eventually(() => expect(queue.messages.map(({ id }) => id)).toEqual(['a']));
  await eventually(() => expect(readdirSync(directory)).toEqual([]));
  await found.stop();
});

test('a directory whose process lives is left to it', async () => {
  const directory = join(folder, 'process-2');
  await leave(directory, 'b');
  const lock = await DirectoryLock.take(directory, 'other', logger);
  const queue = new MemoryQueue();
  const found = leftovers([directory], queue);
  found.start();
  await found.stop();
  expect(queue.messages).toEqual([]);
  expect(readdirSync(directory).filter((name) => name.endsWith('.journal'))).toHaveLength(1);
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
