import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PartitionCopy } from '#core/jobs/partition-copy.ts';
import { TargetWriter } from '#core/jobs/target-writer.ts';
import { createGrouping } from '#core/merge/group-writes.ts';
import { OrdinaryRows } from '#core/merge/ordinary-row.ts';
import { createToStatements } from '#core/merge/statements.ts';
import { type BoundValue, Consistency } from '#core/model/cql-request.ts';
import {
  createCell,
  type Deletion,
  type Liveness,
  NO_DELETION_TIME,
  type PartitionEvent,
  type Row,
} from '#core/model/row.ts';
import { createLoadSession, type SentBatch } from '../../support/load-session.ts';
import { bytes, cell, int32, row, schemaOf, tombstone } from '../merge/support.ts';

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
  {
    isFast = true,
    exactTimes = true,
    keepsTombstones = true,
    version = 5,
    replicaSet = (_: bigint): number | undefined => 0,
  } = {},
): Promise<{ sent: SentBatch[]; positions: (number | undefined)[] }> {
  const sent: SentBatch[] = [];
  const positions: (number | undefined)[] = [];
  const target = createLoadSession(
    (batch) => {
      sent.push(batch);
      positions.push(partition.completed(-1));
    },
    { protocolVersion: exactTimes ? version : Math.min(version, 4), replicaSet },
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
  const group = createGrouping(schema, { keepsTombstone: () => keepsTombstones, exactTimes, nowSeconds });
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
const deletionArbitrary = fc
  .record({ at: fc.bigInt(0n, 2n), age: fc.constantFrom(10, 150) })
  .map(({ at, age }): Deletion => ({ timestampMicros: at, localDeletionTimeSeconds: NOW - age }));
/** A map, or a list: its paths are of 16 bytes. */
const collectionArbitrary = (column: number) =>
  fc
    .record({
      deletion: fc.option(deletionArbitrary, { nil: undefined }),
      cells: fc.uniqueArray(fc.tuple(fc.nat(5), cellArbitrary), {
        minLength: 1,
        maxLength: 3,
        selector: ([path]) => path,
      }),
    })
    .map(({ deletion, cells }) => ({
      column,
      ...(deletion === undefined ? {} : { deletion }),
      cells: cells
        .sort(([a], [b]) => a - b)
        .map(([path, { timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value }]) =>
          createCell({
            timestampMicros,
            ttlSeconds,
            localDeletionTimeSeconds,
            isTombstone,
            value,
            path: new Uint8Array(16).fill(path),
          }),
        ),
    }));
const rowArbitrary = fc
  .record({
    part: fc.option(fc.nat(1000), { freq: 10, nil: null }),
    shared: fc.boolean(),
    liveness: fc.option(stampArbitrary, { nil: undefined }),
    deletion: fc.option(deletionArbitrary, { freq: 5, nil: undefined }),
    a: fc.option(cellArbitrary, { nil: undefined }),
    b: fc.option(cellArbitrary, { nil: undefined }),
    m: fc.option(collectionArbitrary(2), { nil: undefined }),
    l: fc.option(collectionArbitrary(3), { nil: undefined }),
    isSimple: fc.boolean(),
  })
  .map(({ part, shared, liveness, deletion, a, b, m, l, isSimple }): Row => {
    const cells = [a, shared && a !== undefined ? a : b];
    const columns = [
      ...cells.flatMap((each, column) => (each === undefined ? [] : [{ column, cells: [each] }])),
      ...[m, l].flatMap((each) => (each === undefined || isSimple ? [] : [each])),
    ];
    const same = shared && a !== undefined && !a.isTombstone;
    const stamp = same
      ? { timestampMicros: a.timestampMicros, ttlSeconds: a.ttlSeconds, expiresAtSeconds: a.localDeletionTimeSeconds }
      : liveness && {
          timestampMicros: liveness.at,
          ttlSeconds: liveness.ttl,
          expiresAtSeconds: liveness.ttl === 0 ? NO_DELETION_TIME : NOW - liveness.age + liveness.ttl,
        };
    return row(0, {
      clustering: [part === null ? null : int32(part)],
      columns,
      ...(deletion && !isSimple ? { deletion } : {}),
      ...(stamp && liveness ? { liveness: stamp } : {}),
    });
  });
const staticArbitrary = cellArbitrary.map((each) =>
  row(0, { isStatic: true, clustering: [], columns: [{ column: 0, cells: [each] }] }),
);
const rowsArbitrary = fc
  .tuple(fc.option(staticArbitrary, { nil: undefined }), fc.array(rowArbitrary, { maxLength: 8 }))
  .map(([first, rows]) => (first === undefined ? rows : [first, ...rows]));

const show = (value: BoundValue) =>
  value === undefined ? 'unset' : value === null ? null : Buffer.from(value).toString('hex');
const isZero = (value: BoundValue) => value?.every((byte) => byte === 0) ?? true;

/**
 * Statements with the base of their request where it tells something: they bind a TTL, or they delete. Which request the
 * others share makes no difference.
 */
function statementsOf(sent: readonly SentBatch[], keepsTombstones: boolean): string[] {
  return sent
    .flatMap(({ entries, nowInSeconds }) =>
      entries.map(({ text, values }) => {
        const isInsert = text.startsWith('INSERT');
        const ttl = isInsert ? values.at(-1) : values[1];
        // a and b, which tombstones of cells are bound to; m, whose deletion goes with its value.
        const columns = isInsert ? values.slice(2, 5) : values.slice(2, -2);
        const setsMap = (isInsert || / m = \?/.test(text)) && columns[2] !== undefined;
        const deletes = text.startsWith('DELETE') || columns.includes(null) || (keepsTombstones && setsMap);
        const hasBase = deletes || (!text.startsWith('DELETE') && !isZero(ttl));
        return JSON.stringify([text, values.map(show)]).concat(` @${hasBase ? nowInSeconds : 'any'}`);
      }),
    )
    .sort();
}

test.each([
  { exactTimes: true, keepsTombstones: true },
  { exactTimes: true, keepsTombstones: false },
  { exactTimes: false, keepsTombstones: true },
])('the short way for ordinary rows sends what the long one would: %o', async (options) => {
  await fc.assert(
    fc.asyncProperty(rowsArbitrary, async (rows) => {
      const short = await copy([{ key: 'k', rows }], options);
      const long = await copy([{ key: 'k', rows }], { ...options, isFast: false });
      const { keepsTombstones } = options;
      expect(statementsOf(short.sent, keepsTombstones)).toEqual(statementsOf(long.sent, keepsTombstones));
    }),
    { numRuns: 300 },
  );
});

test('a tombstone goes with the second in which it was made, whatever else is in its request', async () => {
  const made = [10, 20, 30].map((age) => NOW - age);
  const rows = [
    plain(1),
    row(2, { columns: [{ column: 0, cells: [tombstone(5n, made[0]!)] }] }),
    row(3, { deletion: { timestampMicros: 5n, localDeletionTimeSeconds: made[1]! } }),
    row(4, {
      columns: [{ column: 2, deletion: { timestampMicros: 5n, localDeletionTimeSeconds: made[2]! }, cells: [] }],
    }),
  ];
  for (const isFast of [true, false]) {
    const { sent } = await copy([{ key: 'k', rows }], { isFast });
    const bases = sent.flatMap(({ entries, nowInSeconds }) =>
      entries.filter(({ text, values }) => text.startsWith('DELETE') || values[2] === null).map(() => nowInSeconds),
    );
    expect(bases).toEqual(made);
  }
});

test('a list is cleared as of now, not of the second of another row in its request', async () => {
  const old = NOW - 1_000_000;
  const path = new Uint8Array(16);
  const list = row(2, { columns: [{ column: 3, cells: [cell(5n, 'x', { path })] }] });
  const dead = row(1, { columns: [{ column: 0, cells: [tombstone(5n, old)] }] });
  const { sent } = await copy([{ key: 'k', rows: [dead, list] }]);
  expect(sent.map(({ entries, nowInSeconds }) => [entries[0]!.text.slice(0, 9), nowInSeconds])).toEqual([
    ['UPDATE sh', old],
    ['DELETE l ', NOW],
  ]);
});

test('a target without unset values is refused before anything is written', async () => {
  await expect(copy(partitionsOf(1, 1), { version: 3, exactTimes: false })).rejects.toMatchObject({
    name: 'PrerequisiteError',
    message: expect.stringContaining('version 3'),
  });
});

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
