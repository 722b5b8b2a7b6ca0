import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import {
  AuthenticationFailedError,
  ClusterUnreachableError,
  MessageInvalidError,
  PrerequisiteError,
  ServerError,
} from '#core/errors.ts';
import { type ReplayPorts, replayMessages } from '#core/jobs/replay.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { encodeFailedWrite, type FailedWrite } from '#core/model/failed-write.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { MemoryCluster } from '../../support/memory-cluster.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const NOW = 1_800_000_000;
const schema: TableSchema = {
  keyspace: 'ks',
  table: 't',
  partitionKey: [{ name: 'k', type: { kind: 'native', name: 'text' } }],
  clustering: [],
  staticColumns: [],
  regularColumns: [
    { name: 'v', type: { kind: 'native', name: 'text' } },
    { name: 'w', type: { kind: 'native', name: 'text' } },
  ],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
};

function portsFor(target: MemoryCluster): ReplayPorts {
  return {
    openSession: async () => target,
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => NOW * 1000 },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async () => undefined,
  };
}

function failedWrite(change: Partial<FailedWrite> = {}): FailedWrite {
  return {
    version: 1,
    id: 'w1',
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table: 't' }],
    consistency: 6,
    timestampMicros: BigInt(NOW - 60) * 1_000_000n,
    writtenAtSeconds: NOW - 60,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: 'INSERT INTO t (k, v) VALUES (?, ?)', values: [encodeText('a'), encodeText('x')] }],
    idempotent: true,
    attempts: 1,
    enqueuedAt: new Date(NOW * 1000).toISOString(),
    instance: 'p1',
    ...change,
  };
}

const message = (write: FailedWrite, id = write.id) => ({ id, body: async () => encodeFailedWrite(write) });

/** Writes to few rows and columns with few timestamps, so that they meet and tie. */
const writes = fc.array(
  fc.record({
    key: fc.constantFrom('a', 'b'),
    column: fc.constantFrom('v', 'w'),
    value: fc.constantFrom('x', 'y', 'zz', null),
    at: fc.integer({ min: 1, max: 4 }),
    inBatch: fc.boolean(),
  }),
  { maxLength: 12 },
);

test('a backlog applied twice, in any order, after newer writes, ends in the same cells', async () => {
  await fc.assert(
    fc.asyncProperty(writes, fc.infiniteStream(fc.nat()), async (backlog, random) => {
      const messages = backlog.map(({ key, column, value, at, inBatch }, i) =>
        message(
          failedWrite({
            id: `w${i}`,
            timestampMicros: BigInt(at),
            ...(inBatch ? { kind: 'batch', batchKind: 'logged' } : {}),
            statements: [
              value === null
                ? { text: `DELETE ${column} FROM t WHERE k = ?`, values: [encodeText(key)] }
                : {
                    text: `INSERT INTO t (k, ${column}) VALUES (:key, :value)`,
                    values: new Map([
                      ['value', encodeText(value)],
                      ['key', encodeText(key)],
                    ]),
                  },
            ],
          }),
        ),
      );
      const [once, twice] = [new MemoryCluster(schema), new MemoryCluster(schema)];
      for (const cluster of [once, twice]) {
        cluster.apply('INSERT INTO ks.t (k, v) VALUES (?, ?)', [encodeText('a'), encodeText('newer')], {
          timestampMicros: 3n,
        });
      }
      const results = await replayMessages(messages, portsFor(once));
      expect(results.every((result) => result.kind === 'applied')).toBe(true);
      const shuffled = [...messages, ...messages]
        .map((each) => ({ each, order: random.next().value as number }))
        .sort((x, y) => x.order - y.order)
        .map(({ each }) => each);
      await replayMessages(shuffled, portsFor(twice), { concurrency: 3 });
      expect(twice.contents()).toEqual(once.contents());
    }),
  );
});

test('a TTL ends at its original instant, by the server on v5 and by what is left of it before', async () => {
  const withTtl = failedWrite({
    statements: [
      {
        text: 'INSERT INTO t (k, v) VALUES (?, ?) USING TTL ?',
        values: [encodeText('a'), encodeText('x'), encodeInt(100)],
      },
    ],
  });
  const contents = [];
  for (const version of [4, 5]) {
    const target = new MemoryCluster(schema, version);
    await replayMessages([message(withTtl)], portsFor(target));
    contents.push(target.contents());
    const [row] = (await target.query(target.table.partitionText, [encodeText('a')])).rows;
    expect(row?.[5]).toEqual(encodeInt(40));
  }
  expect(contents[0]).toEqual(contents[1]);
});

test('what could count twice, is too old, or is refused by the server is dead, and its table suspect', async () => {
  const refusing = new MemoryCluster(schema);
  refusing.onRequest = () => {
    throw new ServerError('unknown column', 0x2200, false);
  };
  for (const [write, target] of [
    [failedWrite({ idempotent: false }), new MemoryCluster(schema)],
    [failedWrite({ writtenAtSeconds: NOW - 10 * 86_400 }), new MemoryCluster(schema)],
    [failedWrite({ attempts: 3 }), refusing],
  ] as const) {
    const ports = portsFor(target);
    expect(await replayMessages([message(write)], ports)).toMatchObject([{ kind: 'dead', id: 'w1' }]);
    expect(target.written).toEqual([]);
    expect(await ports.ledger.readTable('ks', 't')).toMatchObject({ state: 'suspect' });
    expect(await ports.ledger.listSuspects()).toMatchObject([{ keyspace: 'ks', table: 't', by: 'replay' }]);
  }
});

test('a cluster that is away means a later try for its messages only, and a broken message never stops the others', async () => {
  const target = new MemoryCluster(schema);
  const ports: ReplayPorts = {
    ...portsFor(target),
    openSession: async (cluster) => {
      if (cluster === 'origin') throw new ClusterUnreachableError('no node of the origin answers');
      return target;
    },
  };
  const results = await replayMessages(
    [
      message(failedWrite({ destination: 'origin' }), 'm1'),
      { id: 'm2', body: async () => '{}' },
      {
        id: 'm3',
        body: async () => {
          throw new MessageInvalidError('the body is gone');
        },
      },
      message(failedWrite(), 'm4'),
    ],
    ports,
  );
  expect(results.map(({ id, kind }) => `${id} ${kind}`)).toEqual(['m1 retry', 'm2 dead', 'm3 dead', 'm4 applied']);
  expect(await ports.ledger.listSuspects()).toEqual([]);
});

test('credentials, rights and settings that are wrong now bury nothing: the queue waits until they are mended', async () => {
  const noRights = new MemoryCluster(schema);
  noRights.onRequest = () => {
    throw new ServerError('no rights', 0x2100, false);
  };
  for (const openSession of [
    () => Promise.reject(new AuthenticationFailedError('the password was rotated')),
    () => Promise.reject(new PrerequisiteError('the CA file is missing')),
    async () => noRights,
  ]) {
    const ports = { ...portsFor(noRights), openSession };
    const results = await replayMessages([message(failedWrite({ attempts: 100 }))], ports);
    expect(results).toMatchObject([{ kind: 'retry', id: 'w1' }]);
    expect(await ports.ledger.listSuspects()).toEqual([]);
  }
});

test('only refusals of the message itself count as attempts, and the last of them makes it dead', async () => {
  const target = new MemoryCluster(schema);
  const answer = (code: number, retryable: boolean, attempts: number) => {
    target.onRequest = () => {
      throw new ServerError("Invalid STRING constant (secret) at 'it''s secret' in table t", code, retryable);
    };
    return replayMessages([message(failedWrite({ attempts }))], portsFor(target), { maxAttempts: 2 });
  };
  expect(await answer(0x1001, true, 9)).toMatchObject([{ kind: 'retry' }]);
  expect(await answer(0x2200, false, 1)).toMatchObject([{ kind: 'refused', attempts: 2 }]);
  const dead = await answer(0x2200, false, 2);
  expect(dead).toEqual([
    { kind: 'dead', id: 'w1', reason: "Invalid STRING constant (…) at '…' in table t (attempt 2)" },
  ]);
});
