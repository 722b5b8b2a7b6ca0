import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PartitionCopy } from '#core/jobs/partition-copy.ts';
import { TargetWriter } from '#core/jobs/target-writer.ts';
import { createGrouping } from '#core/merge/group-writes.ts';
import { OrdinaryRows } from '#core/merge/ordinary-row.ts';
import { createToStatements } from '#core/merge/statements.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { type Liveness, NO_DELETION_TIME, type PartitionEvent, type Row } from '#core/model/row.ts';
import { createLoadSession, type SentBatch } from '../../support/load-session.ts';
import { bytes, cell, row, schemaOf, tombstone } from '../merge/support.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const NOW = 1_700_000_000;
const schema = schemaOf({
  regularColumns: [
    ...schemaOf().regularColumns,
    { name: 'l', type: { kind: 'list', element: schemaOf().regularColumns[0]!.type, frozen: false } },
  ],
});

interface Partition {
  readonly key: string;
  readonly rows: readonly Row[];
}

/** Copies partitions; `isFast` false keeps every row off the short way. */
async function copy(
  partitions: readonly Partition[],
  { isFast = true, exactTimes = true, replicaSet = (_: bigint): number | undefined => 0 } = {},
): Promise<{ sent: SentBatch[]; positions: (number | undefined)[] }> {
  const sent: SentBatch[] = [];
  const positions: (number | undefined)[] = [];
  const protocolVersion = exactTimes ? 5 : 4;
  const target = createLoadSession(
    (batch) => {
      sent.push(batch);
      positions.push(partition.completed(-1));
    },
    { protocolVersion, replicaSet },
  );
  const clock = { nowMillis: () => NOW * 1000 };
  const nowSeconds = () => NOW;
  const toStatements = createToStatements(schema);
  const writer = new TargetWriter<number>(
    { target, clock, logger: silent, sleep: async () => undefined },
    {
      table: 'shop.orders',
      toStatements,
      consistency: Consistency.ONE,
      exactTimes,
      bytesPerSecond: 1e12,
      maxBytesInFlight: 32 << 20,
      listAttempt: 0,
    },
  );
  const ordinary = new OrdinaryRows(schema, { exactTimes, nowSeconds });
  if (!isFast) ordinary.accepts = () => false;
  const group = createGrouping(schema, { keepsTombstone: () => true, exactTimes, nowSeconds });
  const partition = new PartitionCopy<number>(
    { target, clock, writer },
    { schema, filter: undefined, ordinary, group, toStatements, exactTimes },
  );
  for (const [index, { key, rows }] of partitions.entries()) {
    const start = { kind: 'partition', key: bytes(key), token: BigInt(index) } as const;
    partition.start(start, index, false);
    for (const event of [start, ...rows, { kind: 'end' } as const] satisfies PartitionEvent[])
      await partition.accept(event);
  }
  await partition.flush();
  await writer.finish();
  return { sent, positions };
}

const live = (timestampMicros: bigint): Liveness => ({
  timestampMicros,
  ttlSeconds: 0,
  expiresAtSeconds: NO_DELETION_TIME,
});
const plain = (part: number, noteBytes = 10): Row =>
  row(part, { liveness: live(5n), columns: [{ column: 0, cells: [cell(5n, 'x'.repeat(noteBytes))] }] });
const rowsOf = (count: number, noteBytes?: number) =>
  Array.from({ length: count }, (_, part) => plain(part, noteBytes));
const partitionsOf = (count: number, rows: number, noteBytes?: number): Partition[] =>
  Array.from({ length: count }, (_, index) => ({ key: `k${index}`, rows: rowsOf(rows, noteBytes) }));
const sizes = (sent: readonly SentBatch[]) => sent.map(({ entries }) => entries.length);

const stampArbitrary = fc.record({
  at: fc.bigInt(1n, 3n),
  ttl: fc.constantFrom(0, 100, 200),
  age: fc.constantFrom(10, 150),
});
const cellArbitrary = stampArbitrary.chain(({ at, ttl, age }) =>
  fc
    .record({ value: fc.string({ maxLength: 60 }), isDead: fc.nat(9).map((n) => n === 0) })
    .map(({ value, isDead }) =>
      isDead
        ? tombstone(at, NOW - age)
        : cell(at, value, ttl === 0 ? {} : { ttlSeconds: ttl, localDeletionTimeSeconds: NOW - age + ttl }),
    ),
);
const rowArbitrary = fc
  .record({
    part: fc.nat(1000),
    shared: fc.boolean(),
    liveness: fc.option(stampArbitrary, { nil: undefined }),
    a: fc.option(cellArbitrary, { nil: undefined }),
    b: fc.option(cellArbitrary, { nil: undefined }),
  })
  .map(({ part, shared, liveness, a, b }): Row => {
    const cells = [a, shared && a !== undefined ? a : b];
    const columns = cells.flatMap((each, column) => (each === undefined ? [] : [{ column, cells: [each] }]));
    const same = shared && a !== undefined && !a.isTombstone;
    const stamp = same
      ? { timestampMicros: a.timestampMicros, ttlSeconds: a.ttlSeconds, expiresAtSeconds: a.localDeletionTimeSeconds }
      : liveness && {
          timestampMicros: liveness.at,
          ttlSeconds: liveness.ttl,
          expiresAtSeconds: liveness.ttl === 0 ? NO_DELETION_TIME : NOW - liveness.age + liveness.ttl,
        };
    return row(part, { columns, ...(stamp && liveness ? { liveness: stamp } : {}) });
  });

/** Statements with the base of their request where they bind a TTL: which request they share makes no difference else. */
function statementsOf(sent: readonly SentBatch[]): string[] {
  return sent
    .flatMap(({ entries, nowInSeconds }) =>
      entries.map(({ text, values }) => {
        const ttl = text.startsWith('INSERT') ? values.at(-1) : values[1];
        const base = ttl?.some((byte) => byte !== 0) ? nowInSeconds : undefined;
        return JSON.stringify(
          [text, values.map((value) => (value ? Buffer.from(value).toString('hex') : (value ?? null)))],
          (_, v) => (v === undefined ? 'unset' : v),
        ).concat(` @${base}`);
      }),
    )
    .sort();
}

test.each([true, false])(
  'the short way for ordinary rows sends what the long one would (exact times: %s)',
  async (exactTimes) => {
    await fc.assert(
      fc.asyncProperty(fc.array(rowArbitrary, { maxLength: 8 }), async (rows) => {
        const short = await copy([{ key: 'k', rows }], { exactTimes });
        const long = await copy([{ key: 'k', rows }], { exactTimes, isFast: false });
        expect(statementsOf(short.sent)).toEqual(statementsOf(long.sent));
      }),
      { numRuns: 300 },
    );
  },
);

test('small partitions share a request, ten at most', async () => {
  const { sent } = await copy(partitionsOf(23, 1));
  expect(sizes(sent)).toEqual([10, 10, 3]);
});

test('partitions of other replicas, or of a ring that is not known, share none', async () => {
  expect(sizes((await copy(partitionsOf(4, 1), { replicaSet: (token) => Number(token) >> 1 })).sent)).toEqual([2, 2]);
  expect(sizes((await copy(partitionsOf(3, 1), { replicaSet: () => undefined })).sent)).toEqual([1, 1, 1]);
});

test('what is shared stays below the size of which servers warn; one partition may be larger', async () => {
  const { sent } = await copy(partitionsOf(6, 1, 2000));
  expect(sizes(sent)).toEqual([2, 2, 2]);
  expect(sizes((await copy(partitionsOf(1, 120, 100))).sent)).toEqual([50, 50, 20]);
  expect(sizes((await copy(partitionsOf(1, 3, 200_000))).sent)).toEqual([1, 1, 1]);
});

test('a load goes on at the first partition of the oldest request that is not done', async () => {
  const { positions } = await copy(partitionsOf(12, 1));
  expect(positions).toEqual([0, 10]);
});

test('rows that were written at other seconds with a TTL are in requests of their own, with those that have none', async () => {
  const expiring = (part: number, age: number): Row => {
    const at = { timestampMicros: 5n, ttlSeconds: 100 };
    return row(part, { liveness: { ...at, expiresAtSeconds: NOW - age + 100 } });
  };
  const { sent } = await copy([{ key: 'k', rows: [plain(1), expiring(2, 10), expiring(3, 20), expiring(4, 10)] }]);
  expect(sent.map(({ entries, nowInSeconds }) => [entries.length, nowInSeconds])).toEqual([
    [3, NOW - 10],
    [1, NOW - 20],
  ]);
});
