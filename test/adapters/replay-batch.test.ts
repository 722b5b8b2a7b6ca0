import { expect, test } from 'vitest';
import { passHeld } from '#adapters/held-replay.ts';
import { probeCluster, putBack, replayBatch, retryDelaySeconds } from '#adapters/replay-batch.ts';
import type { DeadMessage, ReceivedMessage, ReplayQueue } from '#adapters/replay-queue.ts';
import { ClusterUnreachableError, ServerError } from '#core/errors.ts';
import type { ReplayOptions, ReplayPorts } from '#core/jobs/replay.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { changeReplayState, readReplayState } from '#core/ledger/replay-state.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { encodeMessage } from '#core/model/message.ts';
import type { CqlSession } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';

const NOW = 1_790_000_000;
const OPTIONS = {} as ReplayOptions;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

function write(id: string, attempts = 1): FailedWrite {
  return {
    id,
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table: 't' }],
    consistency: 6,
    timestampMicros: BigInt(NOW - 60) * 1_000_000n,
    writtenAtSeconds: NOW - 60,
    expiresAtSeconds: null,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: `INSERT INTO t (k) VALUES ('${id}')`, values: [] }],
    idempotent: true,
    attempts,
  };
}

const bodyOf = (...writes: FailedWrite[]) =>
  encodeMessage({ kind: 'writes', instance: 'p', enqueuedAt: new Date(NOW * 1000).toISOString(), writes });

const received = (id: string, body: string): ReceivedMessage => ({
  id,
  receiptHandle: id,
  body,
  receiveCount: 1,
  sentAtMillis: NOW * 1000,
});

/** A cluster that answers each write as the last word of its key says. */
const session = {
  protocolVersion: 5,
  prepare: async (text: string) => ({ text, id: new Uint8Array() }),
  execute: async () => ({ rows: [], columns: [] }),
  query: async (text: string) => {
    if (text.includes('refused')) throw new ServerError('unknown column', 0x2200, false);
    if (text.includes('away')) throw new ClusterUnreachableError('gone');
    return { rows: [], columns: [] };
  },
} as unknown as CqlSession;

function bed({ isOpen = false, open = async () => session } = {}) {
  const told: string[] = [];
  const queue = {
    waiting: [] as ReceivedMessage[],
    async receive(limit: number) {
      return this.waiting.splice(0, limit);
    },
    resolve: async (body: string) => body,
    sendAgain: async (body: string, seconds: number) => {
      told.push(`again ${body.match(/"id":"([^"]+)"/)?.[1]} after ${seconds}`);
    },
    bury: async ({ id, reason }: DeadMessage) => {
      told.push(`bury ${id}: ${reason}`);
    },
    remove: async (messages: readonly ReceivedMessage[]) => {
      if (messages.length > 0) told.push(`remove ${messages.map(({ id }) => id).join()}`);
    },
    hide: async (messages: readonly ReceivedMessage[], seconds: number) => {
      told.push(`hide ${messages.map(({ id }) => id).join()} for ${seconds <= 5 ? 'a moment' : seconds}`);
    },
  };
  const ports: ReplayPorts = {
    openSession: open,
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => NOW * 1000 },
    logger: silent,
    sleep: async () => undefined,
    breaker: {
      isOpen: async () => isOpen,
      noteAway: async (cluster) => {
        told.push(`away ${cluster}`);
      },
      noteAnswered: async () => undefined,
    },
  };
  return { queue: queue as typeof queue & ReplayQueue, ports, told };
}

test('each message ends only when all that follows from it was sent', async () => {
  const { queue, ports, told } = bed();
  const messages = [
    received('m1', bodyOf(write('w1'))),
    received('m2', bodyOf(write('w2-refused'))),
    received('m3', bodyOf(write('w3-refused', 3))),
    received('m4', bodyOf(write('w4-away'))),
    received('m5', 'not JSON'),
  ];
  const { ended, staying, counts } = await replayBatch(queue, messages, ports, OPTIONS);
  expect(ended.map(({ id }) => id)).toEqual(['m1', 'm2', 'm3', 'm5']);
  expect(staying.map(({ id }) => id)).toEqual(['m4']);
  expect(counts).toMatchObject({ applied: 1, refused: 1, dead: 2, away: 1 });
  expect(told.filter((one) => !one.startsWith('away')).sort()).toEqual([
    'again w2-refused after 60',
    'bury m3: unknown column (attempt 3)',
    'bury m5: the message is no JSON (SyntaxError)',
  ]);
});

test('a message whose successor could not be sent stays, and the others end', async () => {
  const { queue, ports } = bed();
  const broken = { ...queue, sendAgain: () => Promise.reject(new Error('the queue is down')) };
  const messages = [received('m1', bodyOf(write('w1'))), received('m2', bodyOf(write('w2-refused')))];
  const { ended, staying, outcomes } = await replayBatch(broken, messages, ports, OPTIONS);
  expect(ended.map(({ id }) => id)).toEqual(['m1']);
  expect(staying.map(({ id }) => id)).toEqual(['m2']);
  expect(outcomes[1]!.reason).toContain('the queue is down');
});

test('a probe asks the cluster and applies one message, although the breaker is open', async () => {
  const { queue, ports, told } = bed({ isOpen: true });
  queue.waiting.push(received('m1', bodyOf(write('w1'))), received('m2', bodyOf(write('w2'))));
  expect(await probeCluster('target', queue, ports, OPTIONS)).toMatchObject({ applied: 1 });
  expect(told).toEqual(['remove m1']);
  expect(queue.waiting).toHaveLength(1);
});

test('a probe fails when nobody can be reached, and takes no message then', async () => {
  const { queue, ports, told } = bed({ open: () => Promise.reject(new ClusterUnreachableError('no node')) });
  queue.waiting.push(received('m1', bodyOf(write('w1'))));
  await expect(probeCluster('target', queue, ports, OPTIONS)).rejects.toThrow('no node');
  expect(told).toEqual([]);
  expect(queue.waiting).toHaveLength(1);
});

test('a probe fails when its message gets no answer, and the message comes again', async () => {
  const { queue, ports, told } = bed({ isOpen: true });
  queue.waiting.push(received('m1', bodyOf(write('w1-away'))));
  await expect(probeCluster('target', queue, ports, OPTIONS)).rejects.toThrow('gone');
  expect(told).toEqual(['hide m1 for a moment']);
});

test('a refusal is an answer: the probe succeeds, and the message goes its way', async () => {
  const { queue, ports, told } = bed({ isOpen: true });
  queue.waiting.push(received('m1', bodyOf(write('w1-refused'))));
  await probeCluster('target', queue, ports, OPTIONS);
  expect(told).toEqual(['again w1-refused after 60', 'remove m1']);
});

test('the delay of the next try doubles up to a quarter of an hour', () => {
  expect([1, 2, 3, 20, 200].map((count) => retryDelaySeconds(count, 1))).toEqual([5, 10, 20, 900, 900]);
  expect(retryDelaySeconds(20, 0)).toBe(450);
});

test('messages that came often stay hidden for longer', async () => {
  const { queue, told } = bed();
  const often = { ...received('m2', ''), receiveCount: 50 };
  await putBack(queue, [received('m1', ''), often], silent);
  expect(told[0]).toBe('hide m1 for a moment');
  expect(Number(told[1]!.split(' ').at(-1))).toBeGreaterThanOrEqual(450);
  const broken = { hide: () => Promise.reject(new Error('down')) };
  await putBack(broken, [often], silent);
  // Held up, they were not tried: they come soon, unless nobody stops them from coming.
  told.length = 0;
  await putBack(queue, [often, { ...often, id: 'm3', receiveCount: 100 }], silent, 60);
  expect(told[0]).toBe('hide m2 for 60');
  expect(Number(told[1]!.split(' ').at(-1))).toBeGreaterThanOrEqual(450);
});

/** Messages that come while the target's breaker has been open for so long. */
async function whileOpen(seconds: number, first: FailedWrite, given: Parameters<typeof bed>[0] = {}) {
  const { queue, ports, told } = bed({ isOpen: true, ...given });
  const since = new Date((NOW - seconds) * 1000).toISOString();
  const target = { state: 'open', since, failures: 0, lastError: 'gone', probedAt: null } as const;
  await changeReplayState(ports.ledger.store, (state) => ({ ...state, target }));
  const messages = [received('m1', bodyOf(first)), received('m2', bodyOf(write('w2')))];
  const passed = await passHeld(messages, { queue, ports, replay: OPTIONS, probeMs: 60_000 });
  const { target: found } = await readReplayState(ports.ledger.store);
  return { passed: passed?.map(({ id }) => id), state: found?.state, told };
}

test('a cluster that went away a moment ago is not asked, and after seconds it is, by a message that comes', async () => {
  expect(await whileOpen(2, write('w1'))).toEqual({ passed: undefined, state: 'open', told: [] });
  // The message that asked has ended; the others are replayed at once.
  expect(await whileOpen(6, write('w1'))).toEqual({ passed: ['m2'], state: 'closed', told: ['remove m1'] });
});

test('a cluster that is still away keeps all messages where they are', async () => {
  const away = await whileOpen(6, write('w1-away'));
  expect(away).toMatchObject({ passed: undefined, state: 'open', told: ['hide m1 for a moment'] });
  const unreachable = { open: () => Promise.reject(new ClusterUnreachableError('no node')) };
  expect(await whileOpen(6, write('w1'), unreachable)).toEqual({ passed: undefined, state: 'open', told: [] });
});

test('while nothing is away, paused or known all messages pass, and none while somebody has paused the replay', async () => {
  const { queue, ports } = bed();
  const held = { queue, ports, replay: OPTIONS, probeMs: 60_000 };
  const messages = [received('m1', bodyOf(write('w1')))];
  expect(await passHeld(messages, held)).toEqual(messages);
  const store = { ...ports.ledger.store, get: () => Promise.reject(new Error('the ledger is away')) };
  const blind = { ...held, ports: { ...ports, ledger: createLedger(store) } };
  expect(await passHeld(messages, blind)).toEqual(messages);
  const paused = { by: 'ana', why: 'maintenance', at: new Date(NOW * 1000).toISOString() };
  await changeReplayState(ports.ledger.store, (state) => ({ ...state, paused }));
  expect(await passHeld(messages, held)).toBeUndefined();
});
