import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import type { Mark } from '#core/ledger/mark.ts';
import { type CopyMessage, MAX_PLACES } from '#core/model/message.ts';
import { InFlightLog } from '../../../proxy-container/src/in-flight/in-flight-log.ts';
import { type NotedTable, PlaceFlag } from '../../../proxy-container/src/in-flight/in-flight-port.ts';
import { LogCounters } from '../../../proxy-container/src/in-flight/log-counters.ts';
import { prepareReserve } from '../../../proxy-container/src/in-flight/log-folder.ts';
import { openInFlight } from '../../../proxy-container/src/in-flight/open-in-flight.ts';
import { type RecoveryPorts, recoverLog } from '../../../proxy-container/src/in-flight/recover.ts';
import { Flusher } from '../../../proxy-container/src/transport/frame-writer.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';

let directory: string;
let log: InFlightLog;
const copies: CopyMessage[] = [];
const marks: Mark[] = [];
let everything = 0;
const logger = createLogger('test', 'silent');

const tableOf = (table: string): NotedTable => ({ keyspace: 'ks', table, index: -1 });

function ports(more: Partial<RecoveryPorts> = {}): RecoveryPorts {
  return {
    instance: 'test',
    bootId: 'boot',
    journal: {
      addCopy: async (message) => {
        // What is not kept yet must still be in the log.
        expect(readdirSync(directory).some((name) => name.startsWith('0'))).toBe(true);
        copies.push(message);
      },
    },
    marks: { mark: (mark) => marks.push(mark), markEverything: () => everything++ },
    facts: undefined,
    clock: { nowMillis: () => 1_790_000_000_000 },
    logger,
    ...more,
  };
}

/** A log that nobody closes: what a kill leaves. */
async function begin(): Promise<void> {
  await prepareReserve(directory);
  log = new InFlightLog({
    ...{ directory, firstSegment: 1, firstSequence: 1, bootId: 'boot', logger },
    counters: new LogCounters(),
    timestamps: { lastMicros: 1_800_000_000_000_000 },
    markTable: () => undefined,
  });
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ringshift-recover-'));
  copies.length = 0;
  marks.length = 0;
  everything = 0;
  await begin();
});

afterEach(async () => {
  await log.close();
  rmSync(directory, { recursive: true });
});

test('places are copied, each once, and the log goes when the journal has them', async () => {
  const table = tableOf('a');
  const done = log.begin(table, 0, 7, 0);
  log.done(done);
  for (let lo = 0; lo < 3000; lo++) log.begin(table, 0, lo % 2500, 0);
  log.begin(tableOf('b'), -1, -1, PlaceFlag.ORIGIN_IS_SHADOW);
  log.flush();
  const recovered = await recoverLog(directory, ports());
  expect(recovered).toMatchObject({ copiedCount: 2501, markedCount: 0, lastTimestampMicros: 1_800_000_001_000_000 });
  expect(copies.map(({ table: name, lacking, tokens }) => [name, lacking, tokens.length])).toEqual([
    ['a', 'target', MAX_PLACES],
    ['a', 'target', 500],
    ['b', 'origin', 1],
  ]);
  expect(new Set(copies.slice(0, 2).flatMap(({ tokens }) => tokens)).size).toBe(2500);
  expect(copies[2]!.tokens).toEqual([-1n]);
  expect(marks).toEqual([]);
  expect(readdirSync(directory)).toEqual(['reserve.log']);
  // A later log is above the first one in everything.
  expect(recovered.firstSegment).toBe(2);
  expect(recovered.firstSequence).toBeGreaterThan(3001);
  expect(await recoverLog(directory, ports())).toMatchObject({ copiedCount: 0, markedCount: 0 });
});

test('counters, conditional writes and writes of unknown partitions are marked', async () => {
  log.begin(tableOf('c'), 0, 1, PlaceFlag.COUNTER);
  log.begin(tableOf('l'), 0, 2, PlaceFlag.CONDITIONAL);
  log.begin(tableOf('t'), 0, 0, PlaceFlag.NO_TOKEN);
  log.begin(tableOf('s'), 0, 3, PlaceFlag.BOTH_AT_ONCE);
  log.flush();
  await recoverLog(directory, ports());
  expect(marks.map(({ table, code, tokens, lacking }) => ({ table, code, tokens, lacking }))).toEqual([
    { table: 'c', code: 'counter', tokens: [1n], lacking: 'target' },
    { table: 'l', code: 'conditional-missing', tokens: [2n], lacking: 'target' },
    { table: 't', code: 'crash-window', tokens: null, lacking: 'target' },
  ]);
  expect(copies.map(({ table, lacking }) => [table, lacking])).toEqual([
    ['l', 'target'],
    ['s', null],
  ]);
});

test('what the cluster says of a table decides whether it has counters', async () => {
  log.begin(tableOf('a'), 0, 1, PlaceFlag.COUNTER);
  log.begin(tableOf('c'), 0, 2, 0);
  log.flush();
  const facts = { of: async (_: string, table: string) => ({ isCounter: table === 'c' }) };
  await recoverLog(directory, ports({ facts: facts as unknown as RecoveryPorts['facts'] & object }));
  expect(copies.map(({ table }) => table)).toEqual(['a']);
  expect(marks.map(({ table, code }) => [table, code])).toEqual([['c', 'counter']]);
});

test('what the journal does not take is marked', async () => {
  log.begin(tableOf('a'), 0, 1, 0);
  log.flush();
  await recoverLog(directory, ports({ journal: { addCopy: () => Promise.reject(new Error('no disk')) } }));
  expect(marks).toMatchObject([{ table: 'a', code: 'crash-window', tokens: [1n], lacking: 'target' }]);
});

test('after a loss of power all tables of the log are marked as well; after a clean end nothing is', async () => {
  log.done(log.begin(tableOf('a'), 0, 1, 0));
  log.begin(tableOf('b'), 0, 1, 0);
  log.flush();
  await recoverLog(directory, ports({ bootId: 'another' }));
  expect(marks.map(({ table, tokens, lacking }) => [table, tokens, lacking])).toEqual([
    ['a', null, null],
    ['b', null, null],
  ]);
  expect(copies.map(({ table }) => table)).toEqual(['b']);
  marks.length = 0;
  await log.close();
  await begin();
  log.done(log.begin(tableOf('a'), 0, 1, 0));
  await log.close();
  // It has noted its last write time; one that died may have given out later ones.
  const clean = await recoverLog(directory, ports({ bootId: 'another' }));
  expect(clean.lastTimestampMicros).toBe(1_800_000_000_000_000);
  expect(marks).toEqual([]);
});

test('cut at any byte, the log gives the places of all records that are whole', async () => {
  const table = tableOf('a');
  for (let lo = 1; lo <= 5; lo++) {
    log.begin(table, 0, lo, 0);
    log.flush();
  }
  const path = join(directory, '000000000001.log');
  // The header, the name of the table, and five records of one place.
  const first = 96 + (36 + 4 + 2 + 1);
  for (let length = first + 5 * 48; length >= 0; length -= 7) {
    truncateSync(path, length);
    copies.length = 0;
    const kept = readFileSync(path);
    await recoverLog(directory, ports());
    const whole = Math.max(0, Math.floor((length - first) / 48));
    expect(copies.flatMap(({ tokens }) => tokens)).toEqual([1n, 2n, 3n, 4n, 5n].slice(0, whole));
    writeFileSync(path, kept);
  }
});

test('a file that the disk does not give back costs every table, and not only those that the others name', async () => {
  log.begin(tableOf('a'), 0, 1, 0);
  log.flush();
  rmSync(join(directory, 'reserve.log'));
  // Not readable as a file.
  const broken = join(directory, '000000000000.log');
  mkdirSync(broken);
  await recoverLog(directory, ports());
  expect(copies.map(({ table }) => table)).toEqual(['a']);
  expect(marks).toMatchObject([{ table: 'a', tokens: null }]);
  expect(everything).toBe(1);
  expect(existsSync(broken)).toBe(true);
});

test('a journal that takes nothing holds no start up: what it would have copied is marked', async () => {
  for (let lo = 0; lo < 2 * MAX_PLACES + 5; lo++) log.begin(tableOf('a'), 0, lo, 0);
  log.flush();
  let asked = 0;
  const journal = {
    addCopy: () => {
      asked++;
      return new Promise<void>(() => undefined);
    },
  };
  const recovered = await recoverLog(directory, ports({ journal, keptWithinMs: 500 }));
  expect(recovered).toMatchObject({ copiedCount: 0, markedCount: 2 * MAX_PLACES + 5 });
  // Once it is late nothing more is tried; timers may be a little early.
  expect(asked).toBeLessThan(3);
  expect(new Set(marks.flatMap(({ tokens }) => tokens ?? [])).size).toBe(2 * MAX_PLACES + 5);
  expect(marks.every(({ code, lacking }) => code === 'crash-window' && lacking === 'target')).toBe(true);
  expect(readdirSync(directory)).toEqual(['reserve.log']);
});

test.each([
  ['beside the journal, now elsewhere', null, 'tmpfs'],
  ['elsewhere, now beside the journal', 'tmpfs', null],
  ['elsewhere, now at a third place', 'tmpfs', 'else'],
])('a log that was %s, is found all the same', async (_, before, now) => {
  const journalDir = join(directory, 'journal');
  mkdirSync(journalDir);
  const openAt = (place: string | null) =>
    openInFlight({
      ...ports({ journal: { addCopy: async (message) => void copies.push(message) } }),
      failedWrites: { journalDir, inFlightDir: place && join(directory, place) },
      ...{ timestamps: new TimestampGenerator(), flusher: new Flusher(), counters: new LogCounters() },
    });
  const killed = await openAt(before);
  killed.begin(tableOf('a'), 0, 7, 0);
  killed.flush();
  const next = await openAt(now);
  expect(copies).toMatchObject([{ table: 'a', tokens: [7n] }]);
  await next.close();
  await (await openAt(before)).close();
  expect(copies).toHaveLength(1);
  await killed.close();
});
