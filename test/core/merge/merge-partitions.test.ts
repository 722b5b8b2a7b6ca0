import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SSTableCorruptError } from '#core/errors.ts';
import { type MergeInput, mergePartitions } from '#core/merge/merge-partitions.ts';
import {
  BoundKind,
  type Cell,
  clusteringOf,
  createCell,
  type Deletion,
  type Liveness,
  NO_DELETION_TIME,
  type PartitionCursor,
  type PartitionEvent,
  type Row,
} from '#core/model/row.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { bytes, cell, columnsOf, cursorOf, drain, int32, partsOf, row, schemaOf } from './support.ts';

// ---- An independent reference: replays every mutation on every coordinate, with no notion of order or streaming. ----

type Mutation =
  | { kind: 'cell'; part: number; column: number; path?: string; cell: Cell }
  | { kind: 'static'; cell: Cell }
  | { kind: 'liveness'; part: number; liveness: Liveness }
  | { kind: 'deleteRow'; part: number; deletion: Deletion }
  | { kind: 'deleteColumn'; part: number; deletion: Deletion }
  | { kind: 'deleteRange'; from: number; to: number; deletion: Deletion }
  | { kind: 'deletePartition'; deletion: Deletion };

const PARTS = [0, 1, 2, 3, 4];

function rank(version: Cell): [bigint, number, number, number, number, string] {
  const ends = version.localDeletionTimeSeconds !== NO_DELETION_TIME;
  const hex = Buffer.from(version.value).toString('hex');
  return [
    version.timestampMicros,
    ends ? 1 : 0,
    version.isTombstone ? 1 : 0,
    ends ? version.localDeletionTimeSeconds : 0,
    -version.ttlSeconds,
    hex,
  ];
}

function beats(left: Cell, right: Cell): boolean {
  const [a, b] = [rank(left), rank(right)];
  for (let i = 0; i < a.length; i++) if (a[i]! !== b[i]!) return a[i]! > b[i]!;
  return false;
}

/** Deletions by write time, then by the second they were made; the seconds here have three digits. */
function strength(deletion: Deletion): number {
  return Number(deletion.timestampMicros) * 1000 + deletion.localDeletionTimeSeconds;
}

/** The strongest deletion among some mutations, or -1. */
function strongest(mutations: readonly Mutation[], applies: (m: Mutation) => Deletion | undefined): number {
  return mutations.reduce((most, m) => {
    const deletion = applies(m);
    return deletion === undefined ? most : Math.max(most, strength(deletion));
  }, -1);
}

const survives = (timestampMicros: bigint, floor: number) => Number(timestampMicros) > Math.floor(floor / 1000);

/** What a reader sees: for each coordinate the surviving version, as text. */
function reference(mutations: readonly Mutation[]): string[] {
  const seen: string[] = [];
  const partitionDeletion = strongest(mutations, (m) => (m.kind === 'deletePartition' ? m.deletion : undefined));
  let winner: Cell | undefined;
  for (const m of mutations) if (m.kind === 'static' && (!winner || beats(m.cell, winner))) winner = m.cell;
  if (winner && survives(winner.timestampMicros, partitionDeletion)) seen.push(`static ${show(winner)}`);
  for (const part of PARTS) {
    const ranges = strongest(mutations, (m) =>
      m.kind === 'deleteRange' && m.from <= part && part <= m.to ? m.deletion : undefined,
    );
    let floor = Math.max(partitionDeletion, ranges);
    const rowDeletion = strongest(mutations, (m) =>
      m.kind === 'deleteRow' && m.part === part ? m.deletion : undefined,
    );
    if (rowDeletion > floor) {
      seen.push(`${part} deleted ${rowDeletion}`);
      floor = rowDeletion;
    }
    let marker: Liveness | undefined;
    for (const m of mutations) {
      if (m.kind !== 'liveness' || m.part !== part) continue;
      const order = (l: Liveness) => [
        Number(l.timestampMicros),
        l.ttlSeconds > 0 ? 1 : 0,
        l.ttlSeconds > 0 ? l.expiresAtSeconds : 0,
      ];
      const [a, b] = [order(m.liveness), marker ? order(marker) : [-1]];
      const at = a.findIndex((value, index) => value !== b[index]);
      if (!marker || (at >= 0 && a[at]! > b[at]!)) marker = m.liveness;
    }
    if (marker && survives(marker.timestampMicros, floor)) {
      seen.push(`${part} marker ${marker.timestampMicros} ${marker.expiresAtSeconds}`);
    }
    for (const column of [0, 1, 2]) {
      let columnFloor = floor;
      if (column === 2) {
        const deleted = strongest(mutations, (m) =>
          m.kind === 'deleteColumn' && m.part === part ? m.deletion : undefined,
        );
        if (deleted > floor) {
          seen.push(`${part} ${column} deleted ${deleted}`);
          columnFloor = deleted;
        }
      }
      const byPath = new Map<string, Cell>();
      for (const m of mutations) {
        if (m.kind !== 'cell' || m.part !== part || m.column !== column) continue;
        const known = byPath.get(m.path ?? '');
        if (!known || beats(m.cell, known)) byPath.set(m.path ?? '', m.cell);
      }
      for (const [path, version] of [...byPath].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (survives(version.timestampMicros, columnFloor)) seen.push(`${part} ${column} ${path} ${show(version)}`);
      }
    }
  }
  return seen;
}

function show({ timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value }: Cell): string {
  return `${timestampMicros} ${ttlSeconds} ${localDeletionTimeSeconds} ${isTombstone} ${Buffer.from(value)}`;
}

/** The same view of a merged stream; also collects where range deletions cover. */
function view(events: readonly PartitionEvent[]): { seen: string[]; covered: Map<number, number> } {
  const seen: string[] = [];
  const covered = new Map<number, number>();
  let open: { from: number; deletion: Deletion } | undefined;
  for (const event of events) {
    if (event.kind === 'marker') {
      const at = new DataView(event.clustering.valueAt(0)!.slice().buffer).getInt32(0);
      const isBefore =
        event.bound !== BoundKind.InclusiveEnd &&
        event.bound !== BoundKind.ExclusiveStart &&
        event.bound !== BoundKind.InclusiveEndExclusiveStartBoundary;
      expect(event.closes?.timestampMicros).toBe(open?.deletion.timestampMicros);
      if (open) {
        for (const part of PARTS) {
          if (part >= open.from && part <= (isBefore ? at - 1 : at)) covered.set(part, strength(open.deletion));
        }
      }
      open = event.opens && { from: isBefore ? at : at + 1, deletion: event.opens };
    }
    if (event.kind === 'end') expect(open).toBeUndefined();
    if (event.kind !== 'row') continue;
    if (event.isStatic) {
      for (const data of columnsOf(event)) for (const item of data.cells) seen.push(`static ${show(item)}`);
      continue;
    }
    const part = new DataView(event.clustering.valueAt(0)!.slice().buffer).getInt32(0);
    if (event.deletion) seen.push(`${part} deleted ${strength(event.deletion)}`);
    if (event.liveness)
      seen.push(`${part} marker ${event.liveness.timestampMicros} ${event.liveness.expiresAtSeconds}`);
    for (const data of columnsOf(event)) {
      if (data.deletion) seen.push(`${part} ${data.column} deleted ${strength(data.deletion)}`);
      for (const item of data.cells) {
        seen.push(`${part} ${data.column} ${item.path ? Buffer.from(item.path) : ''} ${show(item)}`);
      }
    }
  }
  return { seen, covered };
}

/** One mutation as the stream that a memtable flushed after it alone would give. */
function shardOf(m: Mutation): PartitionEvent[] {
  const start = (deletion?: Deletion): PartitionEvent => ({ kind: 'partition', key: bytes('k'), token: 7n, deletion });
  const body = ((): PartitionEvent[] => {
    switch (m.kind) {
      case 'static':
        return [row(0, { isStatic: true, clustering: [], columns: [{ column: 0, cells: [m.cell] }] })];
      case 'cell':
        return [
          row(m.part, {
            columns: [
              {
                column: m.column,
                cells: [m.path === undefined ? m.cell : createCell({ ...partsOf(m.cell), path: bytes(m.path) })],
              },
            ],
          }),
        ];
      case 'liveness':
        return [row(m.part, { liveness: m.liveness })];
      case 'deleteRow':
        return [row(m.part, { deletion: m.deletion })];
      case 'deleteColumn':
        return [row(m.part, { columns: [{ column: 2, deletion: m.deletion, cells: [] }] })];
      case 'deleteRange':
        return [
          {
            kind: 'marker',
            bound: BoundKind.InclusiveStart,
            clustering: clusteringOf([int32(m.from)]),
            opens: m.deletion,
          },
          {
            kind: 'marker',
            bound: BoundKind.InclusiveEnd,
            clustering: clusteringOf([int32(m.to)]),
            closes: m.deletion,
          },
        ];
      case 'deletePartition':
        return [];
    }
  })();
  return [start(m.kind === 'deletePartition' ? m.deletion : undefined), ...body, { kind: 'end' }];
}

const inputs = (cursors: readonly PartitionCursor[]): MergeInput[] => cursors.map((cursor) => ({ cursor }));

const smallTime = fc.bigInt({ min: 1n, max: 6n });
const second = fc.integer({ min: 100, max: 103 });
const deletion = fc.record({ timestampMicros: smallTime, localDeletionTimeSeconds: second });
const anyCell = fc.oneof(
  fc.tuple(smallTime, fc.constantFrom('', 'x', 'y')).map(([at, value]) => cell(at, value)),
  fc.tuple(smallTime, second).map(([at, made]) => cell(at, '', { isTombstone: true, localDeletionTimeSeconds: made })),
  fc
    .tuple(smallTime, second, fc.integer({ min: 1, max: 2 }), fc.constantFrom('x', 'z'))
    .map(([at, ends, ttlSeconds, value]) => cell(at, value, { ttlSeconds, localDeletionTimeSeconds: ends })),
);
const part = fc.constantFrom(...PARTS);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('cell' as const), part, column: fc.constantFrom(0, 1), cell: anyCell }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('cell' as const),
      part,
      column: fc.constant(2),
      path: fc.constantFrom('p', 'q', 'qq'),
      cell: anyCell,
    }),
  },
  fc.record({ kind: fc.constant('static' as const), cell: anyCell }),
  fc.record({
    kind: fc.constant('liveness' as const),
    part,
    liveness: fc.oneof(
      smallTime.map((timestampMicros) => ({ timestampMicros, ttlSeconds: 0, expiresAtSeconds: NO_DELETION_TIME })),
      fc.record({ timestampMicros: smallTime, ttlSeconds: fc.constant(5), expiresAtSeconds: second }),
    ),
  }),
  fc.record({ kind: fc.constant('deleteRow' as const), part, deletion }),
  fc.record({ kind: fc.constant('deleteColumn' as const), part, deletion }),
  {
    weight: 2,
    arbitrary: fc
      .tuple(part, part, deletion)
      .map(([a, b, d]): Mutation => ({ kind: 'deleteRange', from: Math.min(a, b), to: Math.max(a, b), deletion: d })),
  },
  fc.record({
    kind: fc.constant('deletePartition' as const),
    deletion: fc.record({ timestampMicros: fc.bigInt({ min: 1n, max: 2n }), localDeletionTimeSeconds: second }),
  }),
);

test('merging the shards of random mutations, in any grouping, equals replaying them one by one', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(mutation, { minLength: 1, maxLength: 14 }),
      fc.integer({ min: 1, max: 4 }),
      async (mutations, ways) => {
        const schema = schemaOf();
        // Groups are merged first, as compactions would, and their results merged again.
        const groups: PartitionEvent[][] = [];
        for (let way = 0; way < ways; way++) {
          const mine = mutations.filter((_, index) => index % ways === way).map(shardOf);
          if (mine.length > 0)
            groups.push(await drain(mergePartitions(inputs(mine.map((events) => cursorOf(events, 1))), schema)));
        }
        const events = await drain(mergePartitions(inputs(groups.map((group) => cursorOf(group))), schema));
        const { seen, covered } = view(events);
        expect(seen.sort()).toEqual(reference(mutations).sort());
        const floor = strongest(mutations, (m) => (m.kind === 'deletePartition' ? m.deletion : undefined));
        for (const at of PARTS) {
          const range = strongest(mutations, (m) =>
            m.kind === 'deleteRange' && m.from <= at && at <= m.to ? m.deletion : undefined,
          );
          // One that equals the partition's deletion stays, as in Cassandra.
          expect(covered.get(at)).toBe(range >= 0 && range >= floor ? range : undefined);
        }
      },
    ),
    { numRuns: 1500 },
  );
});

function partition(token: bigint, key: string, ...rows: Row[]): PartitionEvent[] {
  return [{ kind: 'partition', key: bytes(key), token }, ...rows, { kind: 'end' }];
}

const live = (at: bigint, value: string) => ({ columns: [{ column: 0, cells: [cell(at, value)] }] });

test('partitions come in the order of token, then key, each once', async () => {
  const left = [...partition(-5n, 'b', row(1, live(1n, 'x'))), ...partition(3n, 'c', row(1, live(1n, 'x')))];
  const right = [...partition(-5n, 'a', row(1, live(1n, 'y'))), ...partition(3n, 'c', row(2, live(1n, 'y')))];
  const events = await drain(mergePartitions(inputs([cursorOf(left), cursorOf(right)]), schemaOf()));
  const keys = events.flatMap((event) => (event.kind === 'partition' ? [Buffer.from(event.key).toString()] : []));
  expect(keys).toEqual(['a', 'b', 'c']);
  expect(events.filter((event) => event.kind === 'row')).toHaveLength(4);
});

test('rows of a DESC clustering column are merged in descending order', async () => {
  const schema: TableSchema = schemaOf({
    clustering: [{ name: 'part', type: { kind: 'native', name: 'int' }, reversed: true }],
  });
  const left = partition(1n, 'k', row(9, live(1n, 'x')), row(-3, live(1n, 'x')));
  const right = partition(1n, 'k', row(9, live(2n, 'y')), row(4, live(1n, 'y')));
  const events = await drain(mergePartitions(inputs([cursorOf(left), cursorOf(right)]), schema));
  const parts = events.flatMap((event) =>
    event.kind === 'row' ? [new DataView(event.clustering.valueAt(0)!.slice().buffer).getInt32(0)] : [],
  );
  expect(parts).toEqual([9, 4, -3]);
});

test('cells of before a column was dropped are dead although the column exists again', async () => {
  const schema = schemaOf({ droppedColumns: [{ name: 'a', droppedAtMicros: 10n }] });
  const events = partition(1n, 'k', row(1, live(10n, 'old')), row(2, live(11n, 'new')));
  const merged = await drain(mergePartitions(inputs([cursorOf(events)]), schema));
  expect(merged.filter((event) => event.kind === 'row')).toHaveLength(1);
});

test('an input is not read before the merge comes to its first token', async () => {
  let fills = 0;
  const late = cursorOf(partition(50n, 'z', row(1, live(1n, 'x'))));
  const watched: PartitionCursor = {
    ...late,
    fill(signal) {
      fills++;
      return late.fill(signal);
    },
  };
  const merged = mergePartitions(
    [{ cursor: cursorOf(partition(1n, 'k', row(1, live(1n, 'x'))), 10) }, { cursor: watched, firstToken: 50n }],
    schemaOf(),
  );
  for (let event = merged.next(); event?.kind !== 'end'; event = merged.next()) {
    if (event === undefined) await merged.fill();
  }
  expect(fills).toBe(0);
  expect((await drain(merged)).filter((event) => event.kind === 'partition')).toHaveLength(1);
  expect(fills).toBeGreaterThan(0);
});

test('an input that ends inside a partition is refused, not taken for a short one', async () => {
  const events = partition(1n, 'k', row(1, live(1n, 'x'))).slice(0, -1);
  await expect(drain(mergePartitions(inputs([cursorOf(events)]), schemaOf()))).rejects.toBeInstanceOf(
    SSTableCorruptError,
  );
});

test('partitions out of order are refused', async () => {
  const events = [...partition(5n, 'k'), ...partition(4n, 'j')];
  await expect(drain(mergePartitions(inputs([cursorOf(events)]), schemaOf()))).rejects.toBeInstanceOf(
    SSTableCorruptError,
  );
});

test('what is kept of a partition does not lie in the window that it began in', async () => {
  const window = bytes('a');
  const before: PartitionEvent[] = [{ kind: 'partition', key: window, token: 7n }, row(1)];
  const behind: PartitionEvent[] = [{ kind: 'end' }, ...partition(7n, 'b', row(1))];
  let events: PartitionEvent[] = [];
  const windows = [before, behind];
  const cursor: PartitionCursor = {
    next: () => events.shift(),
    async fill() {
      const next = windows.shift();
      // As if its memory were somebody else's by now.
      if (windows.length === 0) window.fill(0xff);
      events = next ?? [];
      return next !== undefined;
    },
    close() {},
  };
  const merged = await drain(mergePartitions([{ cursor }], schemaOf()));
  expect(merged.filter(({ kind }) => kind === 'partition')).toHaveLength(2);
});
