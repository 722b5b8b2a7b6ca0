import { expect, test } from 'vitest';
import { probeCluster, putBack, replayBatch, retryDelaySeconds } from '#adapters/replay-batch.ts';
import type { DeadMessage, ReceivedMessage, ReplayQueue } from '#adapters/replay-queue.ts';
import { ClusterUnreachableError, ServerError } from '#core/errors.ts';
import type { ReplayOptions, ReplayPorts } from '#core/jobs/replay.ts';
import { createLedger } from '#core/ledger/ledger.ts';
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

test('messages that are held up stay hidden for at least as long as they are told, and longer when they came often', async () => {
  const { queue, told } = bed();
  const often = { ...received('m2', ''), receiveCount: 50 };
  await putBack(queue, [received('m1', ''), often], silent, 60);
  expect(told[0]).toBe('hide m1 for 60');
  expect(Number(told[1]!.split(' ').at(-1))).toBeGreaterThanOrEqual(450);
  const broken = { hide: () => Promise.reject(new Error('down')) };
  await putBack(broken, [often], silent);
});
