import { EventEmitter } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { ConfigError, FencedError, GateClosedError, LedgerUnavailableError, PrerequisiteError } from '#core/errors.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import { DirectoryLock } from '../../proxy-container/src/journal/directory-lock.ts';
import { Registration } from '../../proxy-container/src/phase/registration.ts';
import { installLastResort } from '../../proxy-container/src/processes/last-resort.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy } from '../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';
import { errorReply } from '../support/mock-cluster.ts';

let folder: string;
let ledger: Ledger;
const logger = createLogger('test', 'silent');

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-start-'));
  ledger = createLedger(createMemoryLedgerStore());
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const record = (processId: string, leaseMs = 15_000): ProxyRecord => ({
  version: 1,
  instance: 'unit',
  processId,
  startedAt: new Date().toISOString(),
  leaseUntil: new Date(Date.now() + leaseMs).toISOString(),
  drainedForEpoch: 0,
  actingEpoch: 0,
  counters: {},
});
const registration = (processId: string, over = ledger) =>
  new Registration({ ledger: over, instance: 'unit', processId, stopsWithLease: false, logger });

test('a second proxy of the same name does not start while the first one lives, and takes nothing from it', async () => {
  const first = await startTestProxy({}, { ledger });
  const renew = setInterval(() => void ledger.putProxy({ ...record('another'), instance: 'unit' }), 200);
  try {
    await ledger.putProxy(record('another'));
    await expect(startTestProxy({}, { ledger })).rejects.toThrow(/another process with this name is alive/);
    expect(await ledger.listProxies()).toHaveLength(1);
  } finally {
    clearInterval(renew);
    await first.stop();
  }
});

test('the lease of a process that died is waited for, and one that is known to be dead is not', async () => {
  await ledger.putProxy(record('dead', 700));
  await registration('mine').waitForName(undefined);
  expect(Date.parse((await ledger.listProxies())[0]!.leaseUntil)).toBeLessThan(Date.now());
  await ledger.putProxy(record('dead'));
  await registration('mine').waitForName('dead');
  expect(await ledger.listProxies()).toEqual([]);
});

test('a record of another living process is neither overwritten nor removed', async () => {
  await ledger.putProxy(record('another'));
  const mine = registration('mine');
  await expect(mine.ledger.putProxy(record('mine'))).rejects.toThrow(GateClosedError);
  await mine.ledger.removeProxy('unit');
  expect((await ledger.listProxies())[0]?.processId).toBe('another');
});

test('a lease is over by the clock alone, counted from what the ledger took', async () => {
  const mine = registration('mine');
  await mine.ledger.putProxy(record('mine', 15_000));
  expect(mine.isLeaseOver).toBe(false);
  await mine.ledger.putProxy(record('mine', -1));
  expect(mine.isLeaseOver).toBe(true);
  await mine.ledger.putProxy(record('mine', 15_000));
  expect(mine.isLeaseOver).toBe(false);
});

test('a process that was fenced can not register again, nor one whose name or record is gone after its lease', async () => {
  const fenced = registration('fenced');
  await fenced.ledger.putProxy(record('fenced'));
  expect(await ledger.fenceProxy('unit', new Date())).toBe(true);
  await expect(fenced.ledger.putProxy(record('fenced'))).rejects.toThrow(FencedError);
  await expect(fenced.ledger.putProxy(record('fenced'))).rejects.toThrow(/declared dead/);
  await fenced.ledger.removeProxy('unit');
  expect((await ledger.listProxies())[0]).toMatchObject({ processId: 'fenced', fencedAt: expect.any(String) });
  expect(fenced.mayNotServe).toBe(true);

  await ledger.putProxy(record('dead', -1));
  const paused = registration('paused');
  await paused.ledger.putProxy(record('paused', -1));
  await registration('next').ledger.putProxy(record('next'));
  await expect(paused.ledger.putProxy(record('paused'))).rejects.toThrow(/another process has taken its name/);

  await ledger.removeProxy('unit');
  const wiped = registration('wiped');
  await wiped.ledger.putProxy(record('wiped'));
  await ledger.removeProxy('unit');
  await wiped.ledger.putProxy(record('wiped', -1));
  await ledger.removeProxy('unit');
  await expect(wiped.ledger.putProxy(record('wiped'))).rejects.toThrow(/taken out of the ledger/);
});

test('a lease is renewed by one request, also when the answer to the one before was lost', async () => {
  const memory = createMemoryLedgerStore();
  const calls: string[] = [];
  let isAnswerLost = false;
  const store: typeof memory = {
    ...memory,
    get: (key) => {
      calls.push('get');
      return memory.get(key);
    },
    async put(key, value, expected) {
      calls.push('put');
      const version = await memory.put(key, value, expected);
      if (isAnswerLost) throw new LedgerUnavailableError('the answer was lost');
      return version;
    },
  };
  const mine = new Registration({
    ...{ ledger: createLedger(store), instance: 'unit', processId: 'mine', stopsWithLease: true, logger },
  });
  const put = () => mine.ledger.putProxy(record('mine'));
  await put();
  calls.length = 0;
  await put();
  expect(calls).toEqual(['put']);
  isAnswerLost = true;
  await expect(put()).rejects.toThrow('the answer was lost');
  isAnswerLost = false;
  await put();
  calls.length = 0;
  await put();
  expect(calls).toEqual(['put']);
});

test('a proxy that is fenced while it lives refuses requests and says so, and stays declared dead', async () => {
  const parts = await startTestProxy({ lease: { pollMs: 100, heartbeatSecs: 1 } }, { ledger });
  const client = await parts.connect();
  const query = () => client.request(Opcode.QUERY, 0, encodeQuery('SELECT * FROM t', {}, 4), 20_000);
  expect(opcodeOf(await query())).toBe(Opcode.RESULT);
  await ledger.fenceProxy('unit', new Date());
  await eventually(() => expect(parts.fenced).toEqual([expect.stringMatching(/declared dead/)]));
  expect(decodeError(bodyOf(await query()), 4)).toMatchObject({ code: ErrorCode.OVERLOADED });
  await parts.stop();
  expect((await ledger.listProxies())[0]).toMatchObject({ instance: 'unit', fencedAt: expect.any(String) });
});

test('a proxy that keeps serving without its ledger goes on in its phase, and is heard of again when that is back', async () => {
  const memory = createMemoryLedgerStore();
  let isAway = false;
  const away = () => Promise.reject(new LedgerUnavailableError('the ledger is away'));
  const store: typeof memory = {
    ...memory,
    get: (key) => (isAway ? away() : memory.get(key)),
    put: (...args) => (isAway ? away() : memory.put(...args)),
  };
  const shared = createLedger(store);
  const parts = await startTestProxy(
    { initialPhase: 'dual-async', lease: { pollMs: 50, heartbeatSecs: 1 } },
    { ledger: shared },
  );
  const client = await parts.connect();
  const query = () => client.request(Opcode.QUERY, 0, encodeQuery('SELECT * FROM t', {}, 4), 20_000);
  isAway = true;
  const { leaseUntil } = JSON.parse((await memory.get('proxies/unit.json'))!.value) as ProxyRecord;
  await eventually(() => expect(Date.now()).toBeGreaterThan(Date.parse(leaseUntil)));
  expect(opcodeOf(await query())).toBe(Opcode.RESULT);
  expect(parts.proxy.status()).toMatchObject({ phase: 'dual-async', ledger: { error: 'the ledger is away' } });
  expect(parts.proxy.status().ledger.awayMs).toBeGreaterThan(1000);
  isAway = false;
  await eventually(async () => {
    expect(Date.parse((await shared.listProxies())[0]!.leaseUntil)).toBeGreaterThan(Date.now());
  });
  expect(parts.proxy.status().ledger.error).toBeNull();
  expect(parts.fenced).toEqual([]);
  await parts.stop();
});

test('a proxy that stops without its ledger refuses requests from the end of its lease, also when the ledger only hangs', async () => {
  const memory = createMemoryLedgerStore();
  let isHanging = false;
  const hang = new Promise<never>(() => undefined);
  const store = {
    ...memory,
    get: (key: string) => (isHanging ? hang : memory.get(key)),
    put: (...args: Parameters<typeof memory.put>) => (isHanging ? hang : memory.put(...args)),
  };
  const parts = await startTestProxy({ onLedgerLoss: 'stop' }, { ledger: createLedger(store) });
  const client = await parts.connect();
  const query = () => client.request(Opcode.QUERY, 0, encodeQuery('SELECT * FROM t', {}, 4), 20_000);
  expect(opcodeOf(await query())).toBe(Opcode.RESULT);
  isHanging = true;
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 16_000);
  try {
    expect(decodeError(bodyOf(await query()), 4)).toMatchObject({ code: ErrorCode.OVERLOADED });
  } finally {
    vi.restoreAllMocks();
    isHanging = false;
    client.close();
  }
});

test('a proxy that is told to end does not wait for a ledger that hangs', async () => {
  const memory = createMemoryLedgerStore();
  let isHanging = false;
  let hangs = 0;
  const hang = (): Promise<never> => {
    hangs++;
    return new Promise(() => undefined);
  };
  const store = {
    ...memory,
    get: (key: string) => (isHanging ? hang() : memory.get(key)),
    put: (...args: Parameters<typeof memory.put>) => (isHanging ? hang() : memory.put(...args)),
  };
  const parts = await startTestProxy({ lease: { pollMs: 100 } }, { ledger: createLedger(store) });
  isHanging = true;
  await eventually(() => expect(hangs).toBeGreaterThan(0));
  await parts.proxy.stop();
  isHanging = false;
  expect((await parts.ledger.readProxy('unit'))?.record).toMatchObject({ instance: 'unit' });
  await parts.stop();
}, 60_000);

const quick = { touchMs: 20, staleAfterMs: 3000 };
const takeLock = (processId: string) => DirectoryLock.take(folder, processId, logger, quick);

test('a directory has one process; a dead one’s lock is taken over and its process told', async () => {
  const lock = await takeLock('first');
  await expect(takeLock('second')).rejects.toThrow(PrerequisiteError);
  await lock.release();
  expect(readdirSync(folder)).toEqual([]);
  const holder = { host: hostname(), processId: 'gone' };
  // No process has a number above the kernel's limit of 2^22.
  writeFileSync(join(folder, 'lock'), JSON.stringify({ ...holder, pid: 2 ** 22 + 7 }));
  const next = await takeLock('second');
  expect(next.deadProcessId).toBe('gone');
  await next.release();
});

test('a restarted container starts at once over the lock of its predecessor, which had the same process number', async () => {
  const path = join(folder, 'lock');
  writeFileSync(path, JSON.stringify({ host: hostname(), processId: 'before', pid: process.pid }));
  const before = new Date(performance.timeOrigin - 1000);
  utimesSync(path, before, before);
  const lock = await DirectoryLock.take(folder, 'after', logger, { touchMs: 20, staleAfterMs: 3_600_000 });
  expect(lock.deadProcessId).toBe('before');
  await lock.release();
});

test('a lock whose process can not be looked up is respected while it is touched, and taken over when it is not', async () => {
  const path = join(folder, 'lock');
  for (const text of [
    JSON.stringify({ host: 'elsewhere.example', processId: 'x', pid: 1 }),
    // The number of a process that is not a proxy.
    JSON.stringify({ host: hostname(), processId: 'x', pid: process.ppid }),
    '',
  ]) {
    writeFileSync(path, text);
    const touching = setInterval(() => utimesSync(path, new Date(), new Date()), quick.touchMs);
    await expect(takeLock('y')).rejects.toThrow(/is in use by process/);
    clearInterval(touching);
    await (await takeLock('y')).release();
  }
});

test('of several processes that find the same dead one’s lock one gets it', async () => {
  const path = join(folder, 'lock');
  for (let round = 0; round < 10; round++) {
    writeFileSync(path, JSON.stringify({ host: hostname(), processId: 'gone', pid: 2 ** 22 + 7 }));
    const takers = await Promise.allSettled(['a', 'b', 'c', 'd'].map(takeLock));
    const got = takers.filter((one) => one.status === 'fulfilled');
    expect(got).toHaveLength(1);
    expect(got[0]!.value.deadProcessId).toBe('gone');
    await got[0]!.value.release();
    expect(readdirSync(folder)).toEqual([]);
  }
});

test('a silent lock is taken over though its time is hours ahead of the clock, and respected when its time goes back', async () => {
  const path = join(folder, 'lock');
  const ahead = (ms: number) => new Date(Date.now() + 7_200_000 + ms);
  writeFileSync(path, JSON.stringify({ host: 'elsewhere.example', processId: 'x', pid: 1 }));
  utimesSync(path, ahead(0), ahead(0));
  let touches = 0;
  const touching = setInterval(() => utimesSync(path, ahead(-++touches * 1000), ahead(-touches * 1000)), quick.touchMs);
  await expect(takeLock('y')).rejects.toThrow(/is in use by process/);
  clearInterval(touching);
  const lock = await takeLock('y');
  expect(lock.deadProcessId).toBe('x');
  await lock.release();
});

test.runIf(process.platform === 'linux')(
  'a disk that refuses the lock does not keep the application from its database',
  async () => {
    const errors: unknown[] = [];
    const telling = { ...logger, error: (message: string) => errors.push(message) };
    // Nobody can make a file there, not even root.
    await (await DirectoryLock.take('/proc/self', 'p', telling, quick)).release();
    expect(errors).toEqual([expect.stringContaining('starting without it')]);
  },
);

test('two proxies do not share a journal', async () => {
  const journalDir = join(folder, 'journal');
  const first = await startTestProxy({ instance: 'one' }, { ledger, journalDir });
  await expect(startTestProxy({ instance: 'two' }, { ledger, journalDir })).rejects.toThrow(/journalDir/);
  await first.stop();
  const second = await startTestProxy({ instance: 'two' }, { ledger, journalDir });
  await second.stop();
});

test('a secure connect bundle beside contact points is refused: each says where the cluster is', async () => {
  const start = startTestProxy({}, { originConfig: { secureConnectBundle: 'bundle.zip' } });
  await expect(start).rejects.toThrow(/the secureConnectBundle says where the nodes are; leave it out/);
});

test('renames are refused, as the proxy would write to the tables of the old names', async () => {
  const start = startTestProxy({}, { renames: { keyspaces: { old: 'new' } } });
  await expect(start).rejects.toThrow(ConfigError);
  await expect(start).rejects.toThrow(/renames: not supported by the proxy yet/);
});

test('in target-only what a filter excludes is refused, and never reaches the origin', async () => {
  const filterRules = join(folder, 'filter.yaml');
  writeFileSync(filterRules, 'tables: { exclude: [ks.kept] }\n');
  const parts = await startTestProxy({ initialPhase: 'target-only', filterRules });
  const client = await parts.connect();
  const query = (text: string) => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
  const refused = [
    await query('INSERT INTO kept (id) VALUES (1)'),
    await query('SELECT * FROM kept'),
    await client.request(Opcode.PREPARE, 0, encodePrepare('INSERT INTO kept (id) VALUES (?)', 4), 20_000),
  ];
  for (const reply of refused) {
    expect(decodeError(bodyOf(reply), 4)).toMatchObject({ code: ErrorCode.INVALID });
  }
  expect(opcodeOf(await query('INSERT INTO t (id) VALUES (1)'))).toBe(Opcode.RESULT);
  expect(parts.origin.seen).toEqual([]);
  expect(parts.proxy.status().inFlight).toBe(0);
  await parts.stop();
});

test('what nobody caught is logged and counted, and ends nothing', () => {
  const emitter = new EventEmitter();
  let faults = 0;
  installLastResort(emitter, { logger, onFault: () => faults++ });
  expect(emitter.emit('uncaughtException', new Error('a fault'))).toBe(true);
  expect(emitter.emit('unhandledRejection', undefined)).toBe(true);
  expect(faults).toBe(2);
});

test('a proxy that stops with failed writes in its journal stays in the ledger, until its next process has sent them', async () => {
  const journalDir = join(folder, 'journal');
  const first = await startTestProxy({ initialPhase: 'dual-async' }, { ledger, journalDir });
  try {
    const client = await first.connect();
    first.queue.isAway = true;
    first.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
    await client.request(Opcode.QUERY, 0, encodeQuery('INSERT INTO t (id) VALUES (1)', {}, 4), 20_000);
    await eventually(() => expect(first.proxy.status().failedWrites.journalMessages).toBe(1));
  } finally {
    await first.stop();
  }
  const [left] = await ledger.listProxies();
  expect(left).toMatchObject({ instance: 'unit', storage: 'volume', journal: { messages: 1 } });
  expect(Date.parse(left!.leaseUntil)).toBeLessThanOrEqual(Date.now());
  const second = await startTestProxy({}, { ledger, journalDir });
  try {
    await eventually(() => expect(second.queue.writes).toHaveLength(1));
    await eventually(() => expect(second.proxy.status().failedWrites.journalMessages).toBe(0));
  } finally {
    await second.stop();
  }
  // It is the same disk: nothing had to be marked.
  expect(await ledger.listSuspects()).toEqual([]);
  expect(await ledger.listProxies()).toEqual([]);
});

test('a proxy whose predecessor had another disk marks what that one has taken with it', async () => {
  await ledger.initPhase('dual-async', 'test', new Date(Date.now() - 60_000));
  await ledger.setTable('ks', 't', 'validated', { now: new Date(), by: 'test' });
  await ledger.putProxy({
    ...record('lost', -1),
    storage: 'volume',
    journal: { messages: 5, bytes: 1, oldestAt: null },
  });
  const proxy = await startTestProxy({}, { ledger, journalDir: join(folder, 'another') });
  try {
    expect(await ledger.listSuspects()).toMatchObject([{ table: 't', code: 'vanished', lacking: 'target' }]);
  } finally {
    await proxy.stop();
  }
});

test('a record that another process has taken meanwhile is not removed', async () => {
  const interrupted = {
    ...ledger,
    removeProxy: async (instance: string, version?: string) => {
      await ledger.putProxy(record('another'));
      return ledger.removeProxy(instance, version);
    },
  };
  const stopping = registration('mine', interrupted);
  await stopping.ledger.putProxy(record('mine', -1));
  await stopping.ledger.removeProxy('unit');
  expect((await ledger.listProxies())[0]?.processId).toBe('another');
});
