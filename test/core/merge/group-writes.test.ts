import { expect, test } from 'vitest';
import { createGrouping } from '#core/merge/group-writes.ts';
import type { GroupingLoss, GroupingOptions } from '#core/merge/grouping-options.ts';
import { unclearListTimes } from '#core/merge/load-policies.ts';
import { createToStatements, type StatementContext } from '#core/merge/statements.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import { BoundKind, clusteringOf, createCell, NO_DELETION_TIME, type PartitionEvent } from '#core/model/row.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { bytes, cell, int, int32, partsOf, row, schemaOf, text, tombstone } from './support.ts';

const NOW = 2000;
const context: StatementContext = { partitionKey: [bytes('k')], nowSeconds: NOW, exactTimes: true, listAttempt: 0 };

function grouping(schema: TableSchema, changes: Partial<GroupingOptions> = {}) {
  return createGrouping(schema, { keepsTombstone: () => true, exactTimes: true, nowSeconds: () => NOW, ...changes });
}

/** The statements for some events, as text and shown values: `_` unset, `null`, numbers of 4 and 8 bytes, else text. */
function statementsOf(
  schema: TableSchema,
  events: readonly PartitionEvent[],
  options: Partial<GroupingOptions> = {},
  changes: Partial<StatementContext> = {},
): { text: string; values: string[]; now?: number }[] {
  const group = grouping(schema, options);
  const toStatements = createToStatements(schema);
  return events
    .flatMap(group)
    .flatMap((write) => toStatements(write, { ...context, ...changes }))
    .map((statement) => ({ text: statement.text, values: statement.values.map(show), now: statement.nowInSeconds }));
}

function show(value: Uint8Array | null | undefined): string {
  if (value === undefined) return '_';
  if (value === null) return 'null';
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length === 8) return String(view.getBigInt64(0));
  if (value.length === 4) return String(view.getInt32(0));
  return Buffer.from(value).toString('latin1').replaceAll('\0', '');
}

const expiring = (at: bigint, value: string, ends: number, ttlSeconds: number) =>
  cell(at, value, { ttlSeconds, localDeletionTimeSeconds: ends });
const marker = (timestampMicros: bigint) => ({ timestampMicros, ttlSeconds: 0, expiresAtSeconds: NO_DELETION_TIME });

test('a row with a marker is one INSERT with the cells of its time; TTL 0 is bound', () => {
  const columns = [
    { column: 0, cells: [cell(10n, 'x')] },
    { column: 1, cells: [cell(10n, 'y')] },
  ];
  const statements = statementsOf(schemaOf(), [row(1, { liveness: marker(10n), columns })]);
  expect(statements).toEqual([
    {
      text: 'INSERT INTO shop.orders (id, part, a, b, m) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?',
      values: ['k', '1', 'x', 'y', '_', '10', '0'],
      now: undefined,
    },
  ]);
});

test('a row without a marker is an UPDATE, so that it vanishes with its last cell', () => {
  const [only, ...rest] = statementsOf(schemaOf(), [row(1, { columns: [{ column: 0, cells: [cell(10n, 'x')] }] })]);
  expect(rest).toEqual([]);
  expect(only?.text).toBe(
    'UPDATE shop.orders USING TIMESTAMP ? AND TTL ? SET a = ?, b = ?, m = ? WHERE id = ? AND part = ?',
  );
  expect(only?.values).toEqual(['10', '0', 'x', '_', '_', 'k', '1']);
});

test('cells of another time or expiry get their own statement', () => {
  const columns = [
    { column: 0, cells: [cell(11n, 'x')] },
    { column: 1, cells: [expiring(10n, 'y', 2500, 600)] },
  ];
  const statements = statementsOf(schemaOf(), [row(1, { liveness: marker(10n), columns })]);
  expect(statements.map(({ values }) => values)).toEqual([
    ['k', '1', '_', '_', '_', '10', '0'],
    ['11', '0', 'x', '_', '_', 'k', '1'],
    ['10', '600', '_', 'y', '_', 'k', '1'],
  ]);
});

test('where the server takes now_in_seconds, an expiry is exact; else the remaining seconds are bound', () => {
  const events = [row(1, { columns: [{ column: 0, cells: [expiring(10n, 'x', 2500, 600)] }] })];
  expect(statementsOf(schemaOf(), events)[0]).toMatchObject({
    values: ['10', '600', 'x', '_', '_', 'k', '1'],
    now: 1900,
  });
  const [over4] = statementsOf(schemaOf(), events, { exactTimes: false }, { exactTimes: false });
  expect(over4).toMatchObject({ values: ['10', '500', 'x', '_', '_', 'k', '1'], now: undefined });
});

test('an expired cell is never bound with TTL 0: it is written as expired, as a tombstone, or not at all', () => {
  const events = [row(1, { columns: [{ column: 0, cells: [expiring(10n, 'x', 1999, 600)] }] })];
  expect(statementsOf(schemaOf(), events)[0]).toMatchObject({
    values: ['10', '600', 'x', '_', '_', 'k', '1'],
    now: 1399,
  });
  const [over4] = statementsOf(schemaOf(), events, { exactTimes: false }, { exactTimes: false });
  expect(over4?.values).toEqual(['10', '0', 'null', '_', '_', 'k', '1']);
  expect(statementsOf(schemaOf(), events, { keepsTombstone: () => false })).toEqual([]);
});

test('a TTL that ends between the decision and the sending is not taken for none', () => {
  const events = [row(1, { columns: [{ column: 0, cells: [expiring(10n, 'x', NOW + 1, 600)] }] })];
  const [late] = statementsOf(schemaOf(), events, { exactTimes: false }, { exactTimes: false, nowSeconds: NOW + 5 });
  expect(late?.values[1]).toBe('1');
});

test('a cell tombstone joins the statement of its time and keeps its own deletion time', () => {
  const columns = [
    { column: 0, cells: [cell(10n, 'x')] },
    { column: 1, cells: [tombstone(10n, 1500)] },
  ];
  const statements = statementsOf(schemaOf(), [row(1, { liveness: marker(10n), columns })]);
  expect(statements).toHaveLength(1);
  expect(statements[0]).toMatchObject({ values: ['k', '1', 'x', 'null', '_', '10', '0'], now: 1500 });
});

test('static cells are written once for the partition', () => {
  const statics = row(0, { isStatic: true, clustering: [], columns: [{ column: 0, cells: [cell(5n, 'z')] }] });
  const [only] = statementsOf(schemaOf(), [statics]);
  expect(only?.text).toBe('UPDATE shop.orders USING TIMESTAMP ? AND TTL ? SET s = ? WHERE id = ?');
  expect(only?.values).toEqual(['5', '0', 'z', 'k']);
});

test('a map that was set whole is set whole again; its implied deletion is the one of the origin', () => {
  const cells = [cell(10n, 'v', { path: bytes('p') })];
  const columns = [{ column: 2, deletion: { timestampMicros: 9n, localDeletionTimeSeconds: 1500 }, cells }];
  const statements = statementsOf(schemaOf(), [row(1, { liveness: marker(10n), columns })]);
  expect(statements).toHaveLength(1);
  expect(statements[0]?.values[4]).toBe('\x01\x01p\x01v');
  expect(statements[0]?.now).toBe(1500);
});

test('elements of other times are added, removed elements removed, and an older deletion is sent apart', () => {
  const cells = [
    cell(10n, 'v', { path: bytes('p') }),
    cell(12n, 'w', { path: bytes('q') }),
    tombstone(13n, 1700, bytes('r')),
  ];
  const columns = [{ column: 2, deletion: { timestampMicros: 4n, localDeletionTimeSeconds: 1500 }, cells }];
  const statements = statementsOf(schemaOf(), [row(1, { columns })]);
  expect(
    statements.map((each) => each.text.replace(/^UPDATE shop.orders USING TIMESTAMP \? AND TTL \? SET /, '')),
  ).toEqual([
    'DELETE m FROM shop.orders USING TIMESTAMP ? WHERE id = ? AND part = ?',
    'a = ?, b = ?, m = m + ? WHERE id = ? AND part = ?',
    'a = ?, b = ?, m = m + ? WHERE id = ? AND part = ?',
    'm = m - ? WHERE id = ? AND part = ?',
  ]);
  expect(statements.map(({ now }) => now)).toEqual([1500, undefined, undefined, 1700]);
});

test('fields of a UDT that were set one by one are written one by one', () => {
  const type: CqlType = {
    kind: 'udt',
    keyspace: 'shop',
    name: 'address',
    frozen: false,
    fields: [
      { name: 'street', type: text },
      { name: 'zip', type: int },
    ],
  };
  const schema = schemaOf({ regularColumns: [{ name: 'u', type }] });
  const cells = [cell(10n, 'x', { path: Uint8Array.of(0, 0) }), tombstone(10n, 1700, Uint8Array.of(0, 1))];
  const [only, ...rest] = statementsOf(schema, [row(1, { columns: [{ column: 0, cells }] })]);
  expect(rest).toEqual([]);
  expect(only?.text).toContain('SET u.street = ?, u.zip = ? WHERE');
  expect(only?.values).toEqual(['10', '0', 'x', 'null', 'k', '1']);
});

const withList = schemaOf({ regularColumns: [{ name: 'l', type: { kind: 'list', element: text, frozen: false } }] });
const element = (at: bigint, value: string) => cell(at, value, { path: new Uint8Array(16) });

test('a list is written whole at its latest time, and each attempt a microsecond later', () => {
  const events = [row(1, { columns: [{ column: 0, cells: [element(10n, 'a'), element(20n, 'b')] }] })];
  const losses: GroupingLoss[] = [];
  const first = statementsOf(withList, events, { onLoss: (loss) => losses.push(loss) });
  expect(first.map(({ values }) => values[0])).toEqual(['19', '20']);
  expect(first[1]?.text).toContain('SET l = ? + l WHERE');
  const third = statementsOf(withList, events, {}, { listAttempt: 2 });
  expect(third.map(({ values }) => values[0])).toEqual(['21', '22']);
  expect(losses).toEqual(['mixedList']);
});

test('list cells of the time of the dual writes are left to the shadow', () => {
  const events = [row(1, { columns: [{ column: 0, cells: [element(10n, 'a'), element(30n, 'b')] }] })];
  const losses: GroupingLoss[] = [];
  const statements = statementsOf(withList, events, {
    dualWritesSinceMicros: 30n,
    onLoss: (loss) => losses.push(loss),
  });
  expect(statements[1]?.values[2]).toBe('\x01\x01a');
  expect(losses).toEqual(['shadowedListCell']);
  const deleted = { timestampMicros: 31n, localDeletionTimeSeconds: 1 };
  const cleared = [row(1, { columns: [{ column: 0, deletion: deleted, cells: [] }] })];
  expect(statementsOf(withList, cleared, { dualWritesSinceMicros: 30n })).toEqual([]);
});

test('elements of a list that expire apart keep their own life, and their order', () => {
  const dies = (at: bigint, value: string, ends: number, ttlSeconds: number) =>
    createCell({ ...partsOf(element(at, value)), ttlSeconds, localDeletionTimeSeconds: ends });
  // As `l = ['a', 'b']` without a TTL and `l = l + ['c']` with one of 60 s, the newest, then `l = l + ['d']` with 600 s.
  const cells = [element(10n, 'a'), element(10n, 'b'), dies(20n, 'c', NOW + 50, 60), dies(15n, 'd', NOW + 500, 600)];
  const events = [row(1, { columns: [{ column: 0, cells }] })];
  const exact = statementsOf(withList, events);
  expect(exact.map(({ values, now }) => [...values.slice(0, 3), now])).toEqual([
    ['19', 'k', '1', NOW],
    ['20', '500', '\x01\x01d', NOW],
    ['20', '50', '\x01\x01c', NOW],
    ['20', '0', '\x02\x01a\x01b', NOW],
  ]);
  const over4 = statementsOf(withList, events, { exactTimes: false }, { exactTimes: false, nowSeconds: NOW + 10 });
  expect(over4.slice(1).map(({ values }) => values[1])).toEqual(['490', '40', '0']);
});

test('a list of too many expiries lives as long as its longest element, and that is told', () => {
  const cells = Array.from({ length: 300 }, (_, i) =>
    createCell({ ...partsOf(element(10n, 'x')), ttlSeconds: 600, localDeletionTimeSeconds: NOW + 1 + i }),
  );
  const losses: GroupingLoss[] = [];
  const events = [row(1, { columns: [{ column: 0, cells }] })];
  const statements = statementsOf(withList, events, { onLoss: (loss) => losses.push(loss) });
  expect(statements).toHaveLength(2);
  expect(statements[1]).toMatchObject({ now: NOW + 300 - 600 });
  expect(losses).toContain('listExpiry');
});

test('list cells of the time in which only some proxies wrote to both clusters are told of, loaded or not', () => {
  const second = 1_000_000n;
  const since = 100n * second;
  const isUnclear = unclearListTimes(since, 103n * second);
  const told = (at: bigint) => {
    const losses: GroupingLoss[] = [];
    const events = [row(1, { columns: [{ column: 0, cells: [element(at * second, 'a')] }] })];
    statementsOf(withList, events, {
      dualWritesSinceMicros: since,
      isUnclear,
      onLoss: (loss) => losses.push(loss),
    });
    return losses;
  };
  expect(told(50n)).toEqual([]);
  expect(told(99n)).toEqual(['unclearListCell']);
  expect(told(101n)).toEqual(['unclearListCell', 'shadowedListCell']);
  expect(told(200n)).toEqual(['shadowedListCell']);
});

const deletion = { timestampMicros: 7n, localDeletionTimeSeconds: 1600 };

test('deletions of partitions, rows and ranges carry their own time', () => {
  const events: PartitionEvent[] = [
    { kind: 'partition', key: bytes('k'), token: 1n, deletion },
    { kind: 'marker', bound: BoundKind.ExclusiveStart, clustering: clusteringOf([int32(1)]), opens: deletion },
    { kind: 'marker', bound: BoundKind.InclusiveEnd, clustering: clusteringOf([int32(4)]), closes: deletion },
    row(9, { deletion }),
  ];
  expect(statementsOf(schemaOf(), events)).toEqual([
    { text: 'DELETE FROM shop.orders USING TIMESTAMP ? WHERE id = ?', values: ['7', 'k'], now: 1600 },
    {
      text: 'DELETE FROM shop.orders USING TIMESTAMP ? WHERE id = ? AND part > ? AND part <= ?',
      values: ['7', 'k', '1', '4'],
      now: 1600,
    },
    { text: 'DELETE FROM shop.orders USING TIMESTAMP ? WHERE id = ? AND part = ?', values: ['7', 'k', '9'], now: 1600 },
  ]);
});

test('a range over DESC columns turns the comparison round', () => {
  const schema = schemaOf({ clustering: [{ name: 'part', type: int, reversed: true }] });
  const events: PartitionEvent[] = [
    { kind: 'marker', bound: BoundKind.InclusiveStart, clustering: clusteringOf([int32(4)]), opens: deletion },
    { kind: 'marker', bound: BoundKind.ExclusiveEnd, clustering: clusteringOf([int32(1)]), closes: deletion },
  ];
  const [only] = statementsOf(schema, events);
  expect(only?.text).toContain('part <= ? AND part > ?');
  expect(only?.values).toEqual(['7', 'k', '4', '1']);
});

test('a range over all rows spares the static row', () => {
  const events: PartitionEvent[] = [
    { kind: 'marker', bound: BoundKind.InclusiveStart, clustering: clusteringOf([]), opens: deletion },
    { kind: 'marker', bound: BoundKind.InclusiveEnd, clustering: clusteringOf([]), closes: deletion },
  ];
  expect(statementsOf(schemaOf(), events).map((each) => each.text.split('AND ').at(-1))).toEqual([
    'part <= ?',
    'part > ?',
  ]);
  expect(statementsOf(schemaOf({ staticColumns: [] }), events)[0]?.text).toMatch(/WHERE id = \?$/);
});

test('names that are no plain identifiers are quoted', () => {
  const schema = schemaOf({ table: 'Orders', regularColumns: [{ name: 'select', type: text }], staticColumns: [] });
  const [only] = statementsOf(schema, [row(1, { liveness: marker(1n) })]);
  expect(only?.text).toContain('INSERT INTO shop."Orders" (id, part, "select")');
});
