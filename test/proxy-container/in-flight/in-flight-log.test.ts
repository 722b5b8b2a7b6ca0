import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { tokenHalves } from '#core/token/token.ts';
import { InFlightLog, type InFlightLogOptions } from '../../../proxy-container/src/in-flight/in-flight-log.ts';
import { NOT_NOTED, type NotedTable, PlaceFlag } from '../../../proxy-container/src/in-flight/in-flight-port.ts';
import { LogCounters } from '../../../proxy-container/src/in-flight/log-counters.ts';
import { type LogDisk, REAL_DISK } from '../../../proxy-container/src/in-flight/log-file.ts';
import { prepareReserve, RESERVE_BYTES } from '../../../proxy-container/src/in-flight/log-folder.ts';
import { readLog } from '../../../proxy-container/src/in-flight/read-log.ts';
import { eventually } from '../../support/eventually.ts';

let directory: string;
const logs: InFlightLog[] = [];
const marked: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringshift-in-flight-'));
  marked.length = 0;
});

afterEach(async () => {
  for (const log of logs.splice(0)) await log.close();
  rmSync(directory, { recursive: true });
});

function openLog(options: Partial<InFlightLogOptions> = {}): InFlightLog {
  const log = new InFlightLog({
    directory,
    firstSegment: 1,
    firstSequence: 1,
    bootId: 'boot',
    timestamps: { lastMicros: 17 },
    markTable: (keyspace, table) => marked.push(`${keyspace}.${table}`),
    counters: new LogCounters(),
    logger: createLogger('test', 'silent'),
    ...options,
  });
  logs.push(log);
  return log;
}

const tableOf = (table: string): NotedTable => ({ keyspace: 'ks', table, index: -1 });

/** A disk that takes so many bytes of segments, and so many of the reserve. */
class SmallDisk implements LogDisk {
  room = Number.POSITIVE_INFINITY;
  reserveRoom = Number.POSITIVE_INFINITY;
  readonly #reserves = new Set<number>();

  openSync(path: string, flags: string, mode: number): number {
    const isReserve = path.endsWith('reserve.log');
    if ((isReserve ? this.reserveRoom : this.room) <= 0) throw new Error('ENOSPC');
    const fd = REAL_DISK.openSync(path, flags, mode);
    if (isReserve) this.#reserves.add(fd);
    return fd;
  }

  writeSync(fd: number, bytes: Buffer, offset: number, length: number, position: number): number {
    const isReserve = this.#reserves.has(fd);
    const room = isReserve ? this.reserveRoom : this.room;
    if (room <= 0) throw new Error('ENOSPC');
    // As a disk does it: what fits is written, and the next call says that there is no room.
    const fits = Math.min(length, room);
    if (isReserve) this.reserveRoom -= fits;
    else this.room -= fits;
    return REAL_DISK.writeSync(fd, bytes, offset, fits, position);
  }

  closeSync(fd: number): void {
    REAL_DISK.closeSync(fd);
  }

  /** Flushes that were asked for while they fail. */
  refusedFlushes = 0;
  flushes = true;

  async fdatasync(fd: number): Promise<void> {
    if (this.flushes) return REAL_DISK.fdatasync(fd);
    this.refusedFlushes++;
    throw new Error('EIO');
  }
}

/** What a process that dies now leaves: by table, the tokens of writes under way. */
async function owedNow(): Promise<Record<string, bigint[]>> {
  const { owed } = await readLog(directory);
  return Object.fromEntries(owed.map(({ table, tokens }) => [table, [...tokens].sort((a, b) => Number(a - b))]));
}

test('what was begun and flushed is owed until it is done, without a look at the clock', async () => {
  const log = openLog();
  const a = tableOf('a');
  const b = tableOf('b');
  const first = log.begin(a, 0, 1, 0);
  const second = log.begin(a, -1, -2, 0);
  const third = log.begin(b, 0, 3, 0);
  log.flush();
  expect(await owedNow()).toEqual({ a: [-2n, 1n], b: [3n] });
  log.done(first);
  log.done(first);
  log.done(third);
  log.begin(b, 0, 4, 0);
  log.flush();
  // Above the oldest that is open all are named: too many, and never too few.
  expect(await owedNow()).toEqual({ a: [-2n], b: [3n, 4n] });
  log.done(second);
  log.begin(b, 0, 5, 0);
  log.flush();
  expect(await owedNow()).toEqual({ b: [4n, 5n] });
});

test('while nothing begins, the low water follows by itself', async () => {
  const log = openLog();
  const sequence = log.begin(tableOf('a'), 0, 1, 0);
  log.flush();
  log.done(sequence);
  await eventually(async () => expect(await owedNow()).toEqual({}));
});

test('all places of a request are owed until it is done, also where they fill more than one record', async () => {
  const log = openLog();
  const a = tableOf('a');
  const b = tableOf('b');
  const done = log.begin(a, 0, 1, 0);
  log.also(done, b, 0, 1, 0);
  const open = log.begin(a, 0, 0, 0);
  for (let lo = 1; lo < 12_000; lo++) log.also(open, b, 0, lo, 0);
  const last = log.begin(a, 0, 2, 0);
  log.flush();
  log.done(done);
  log.done(last);
  log.begin(tableOf('c'), 0, 3, 0);
  log.flush();
  const owed = await owedNow();
  expect(owed['a']).toEqual([0n, 2n]);
  expect(owed['b']).toHaveLength(11_999);
  log.done(open);
  log.begin(a, 0, 9, 0);
  log.flush();
  expect(await owedNow()).toEqual({ a: [9n], c: [3n] });
});

test('what kind of write it was stays with its place', async () => {
  const log = openLog();
  const table = tableOf('a');
  log.begin(table, 0, 1, PlaceFlag.ORIGIN_IS_SHADOW);
  log.begin(table, 0, 2, PlaceFlag.COUNTER);
  log.begin(table, 0, 3, PlaceFlag.BOTH_AT_ONCE);
  log.begin(table, 0, 4, PlaceFlag.NO_TOKEN | PlaceFlag.CONDITIONAL);
  log.flush();
  const { owed } = await readLog(directory);
  const kinds = owed.map(({ lacking, isCounter, isConditional, isWhole, tokens }) => [
    [...tokens][0],
    { lacking, isCounter, isConditional, isWhole },
  ]);
  expect(kinds).toEqual([
    [1n, { lacking: 'origin', isCounter: false, isConditional: false, isWhole: false }],
    [2n, { lacking: 'target', isCounter: true, isConditional: false, isWhole: false }],
    [3n, { lacking: null, isCounter: false, isConditional: false, isWhole: false }],
    [undefined, { lacking: 'target', isCounter: false, isConditional: true, isWhole: true }],
  ]);
});

test('a log that was closed says that nothing is owed only where that is so', async () => {
  const log = openLog();
  const sequence = log.begin(tableOf('a'), 0, 1, 0);
  log.done(sequence);
  await log.close();
  expect(await readLog(directory)).toMatchObject({ isClean: true, owed: [], lastTimestampMicros: 17 });
  const next = openLog({ firstSegment: 2, firstSequence: 2 });
  next.begin(tableOf('a'), 0, 1, 0);
  await next.close();
  expect(await readLog(directory)).toMatchObject({ isClean: false, nextSequence: 3 });
  expect(await owedNow()).toEqual({ a: [1n] });
});

test('old files go when nothing in them is owed, and stay while something is', async () => {
  const log = openLog();
  const halves = new Int32Array(2);
  const table = tableOf('a');
  const key = Buffer.alloc(4);
  const begin = (index: number): number => {
    key.writeInt32BE(index);
    tokenHalves(key, 0, 4, halves);
    return log.begin(table, halves[1]!, halves[0]!, 0);
  };
  const segments = (): string[] => readdirSync(directory).filter((name) => /^\d/.test(name));
  const held = begin(0);
  for (let index = 1; index < 750_000; index++) log.done(begin(index));
  await eventually(() => expect(segments()).toHaveLength(2));
  const { owed } = await readLog(directory);
  expect(owed[0]!.tokens.size).toBe(750_000);
  log.done(held);
  await eventually(() => expect(segments()).toEqual(['000000000002.log']));
  // The file that goes on knows the tables that the one before it has named.
  begin(1);
  log.flush();
  expect(Object.keys(await owedNow())).toEqual(['a']);
});

test('a full disk is answered with the space that was kept, and what is behind a torn record is not lost', async () => {
  await prepareReserve(directory);
  const disk = new SmallDisk();
  const log = openLog({ disk });
  const table = tableOf('a');
  log.begin(table, 0, 1, 0);
  log.flush();
  disk.room = 20;
  log.begin(table, 0, 2, 0);
  log.flush();
  log.begin(tableOf('b'), 0, 3, 0);
  log.flush();
  expect(log.isBlind).toBe(false);
  expect(marked).toEqual([]);
  expect(await owedNow()).toEqual({ a: [1n, 2n], b: [3n] });
  disk.room = Number.POSITIVE_INFINITY;
  await eventually(() => expect(readdirSync(directory)).toContain('000000000003.log'));
  log.begin(table, 0, 4, 0);
  log.flush();
  expect(await owedNow()).toEqual({ a: [1n, 2n, 4n], b: [3n] });
});

test('a disk that does not flush is told of once, asked now and then, and once more when it does', async () => {
  const told: string[] = [];
  const tell = (message: string): void => void told.push(message);
  const disk = new SmallDisk();
  const log = openLog({ disk, logger: { ...createLogger('test', 'silent'), error: tell, info: tell } });
  disk.flushes = false;
  log.begin(tableOf('a'), 0, 1, 0);
  await eventually(() => expect(log.flushError).toBe('EIO'));
  await eventually(() => expect(disk.refusedFlushes).toBeGreaterThan(1));
  expect(told).toEqual([expect.stringContaining('is not flushed')]);
  disk.flushes = true;
  // Without a further write.
  await eventually(() => expect(log.flushError).toBe(undefined));
  expect(told).toEqual([expect.anything(), expect.stringContaining('flushed again')]);
  // What a disk has refused it may have forgotten: another file names the table again.
  log.begin(tableOf('a'), 0, 2, 0);
  log.flush();
  expect(readdirSync(directory).filter((name) => name.startsWith('0'))).toHaveLength(2);
  expect(await owedNow()).toEqual({ a: [1n, 2n] });
});

test('where nothing can be written any more, tables are marked, and requests go on', async () => {
  await prepareReserve(directory);
  const disk = new SmallDisk();
  const log = openLog({ disk });
  const table = tableOf('a');
  const kept = log.begin(table, 0, 1, 0);
  log.flush();
  disk.room = 0;
  disk.reserveRoom = 0;
  const lost = log.begin(table, 0, 2, 0);
  expect(lost).not.toBe(NOT_NOTED);
  log.flush();
  expect(log.isBlind).toBe(true);
  expect(marked).toEqual(['ks.a']);
  expect(log.openCount).toBe(1);
  expect(log.begin(table, 0, 3, 0)).toBe(NOT_NOTED);
  expect(log.begin(tableOf('b'), 0, 3, 0)).toBe(NOT_NOTED);
  expect(marked).toEqual(['ks.a', 'ks.b']);
  disk.room = Number.POSITIVE_INFINITY;
  await eventually(() => expect(log.isBlind).toBe(false));
  log.done(kept);
  log.begin(table, 0, 4, 0);
  log.flush();
  expect(await owedNow()).toEqual({ a: [4n] });
});

test('the space that was kept is used to its end, and again when nothing in it is owed', async () => {
  await prepareReserve(directory);
  const disk = new SmallDisk();
  disk.room = 0;
  const log = openLog({ disk });
  const table = tableOf('a');
  const sequences: number[] = [];
  for (let count = 0; !log.isBlind && count * 12 < 2 * RESERVE_BYTES; count++) {
    sequences.push(log.begin(table, 0, count, 0));
    if (count % 5000 === 0) log.flush();
  }
  expect(log.isBlind).toBe(true);
  expect(marked).toEqual(['ks.a']);
  const owed = (await owedNow())['a']!;
  expect(owed.length * 12).toBeGreaterThan(RESERVE_BYTES - 200_000);
  for (const sequence of sequences) log.done(sequence);
  disk.room = Number.POSITIVE_INFINITY;
  await eventually(() => expect(log.isBlind).toBe(false));
  log.begin(table, 0, 1, 0);
  log.flush();
  await eventually(async () => expect((await owedNow())['a']).toEqual([1n]));
  log.done(1);
});

test('one write that is never settled does not stop the others: what is under way is marked instead', async () => {
  const log = openLog({ maxOpen: 1024 });
  log.begin(tableOf('stuck'), 0, 1, 0);
  const table = tableOf('a');
  for (let index = 0; index < 2000; index++) log.done(log.begin(table, 0, index, 0));
  expect(new Set(marked)).toEqual(new Set(['ks.stuck', 'ks.a']));
  expect(log.openCount).toBe(0);
});

test('however many names clients invent, each place is found under its own', async () => {
  const log = openLog();
  const sequences = Array.from({ length: 5000 }, (_, index) => log.begin(tableOf(`t${index}`), 0, index, 0));
  log.flush();
  const owed = await owedNow();
  expect(Object.keys(owed)).toHaveLength(5000);
  for (const [index, tokens] of Object.values(owed).entries()) expect(tokens).toEqual([BigInt(index)]);
  for (const sequence of sequences) log.done(sequence);
  expect(marked).toEqual([]);
});
