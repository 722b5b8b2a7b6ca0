import { expect, test } from 'vitest';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import { closingMarker, openingMarker, type PartitionSlice } from '#core/model/clustering-bound.ts';
import type { Deletion, PartitionCursor, PartitionEvent } from '#core/model/row.ts';
import { openPartitionCursor, openSSTable, openWithoutSchema, type PartitionCursorOptions, type SSTable } from '#core/sstable/sstable.ts';
import { MAX_TOKEN } from '#core/token/token.ts';
import { compareClustering, sideOf } from '#core/merge/compare-clustering.ts';
import { tableSchemaOf } from '../support/header-schema.ts';
import { plainEvent } from '../support/plain-event.ts';
import { fixture, listFixtures, listFixtures3 } from './fixtures.ts';
import { expectSame } from '../support/expect-same.ts';

const RELEASES = ['4.1-nb-big', '5.0-oa-big', '5.0-da-bti'];
// Small windows, so that blocks are far apart in terms of them.
const windowBytes = 64 * 1024;

async function drain(cursor: PartitionCursor): Promise<PartitionEvent[]> {
  const events: PartitionEvent[] = [];
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) events.push(event);
  }
  return events;
}

const plain = (events: readonly PartitionEvent[]) => events.map(plainEvent);

const orderOf = ({ header }: SSTable) =>
  compareClustering(
    header.clusteringTypes.map((type, index) => ({ name: '', type, reversed: header.clusteringReversed[index]! })),
  );

/** What a slice must be, made from the whole stream the slow way. */
function sliceOf(events: readonly PartitionEvent[], slice: PartitionSlice, compare: ReturnType<typeof orderOf>) {
  const start = events.findIndex(
    (event) => event.kind === 'partition' && Buffer.compare(event.key, slice.key) === 0,
  );
  const end = events.findIndex((event, index) => index > start && event.kind === 'end');
  const expected: PartitionEvent[] = [events[start]!];
  let open: Deletion | undefined;
  let isIn = slice.from === undefined;
  for (const event of events.slice(start + 1, end)) {
    if (event.kind !== 'row' && event.kind !== 'marker') continue;
    if (event.kind === 'row' && event.isStatic) {
      expected.push(event);
      continue;
    }
    if (slice.to && compare(event, openingMarker(slice.to)) >= 0) {
      // Nothing stands between the ends, but a deletion may span them.
      if (!isIn && open !== undefined) expected.push(openingMarker(slice.from!, open));
      isIn = true;
      break;
    }
    const side = isIn ? 1 : compare(event, openingMarker(slice.from!));
    if (side >= 0 && !isIn) {
      isIn = true;
      const opens = side === 0 && event.kind === 'marker' ? event.opens : open;
      if (open !== undefined && opens !== undefined) expected.push(openingMarker(slice.from!, opens));
      if (open !== undefined && side === 0) {
        open = opens;
        continue;
      }
    }
    if (event.kind === 'marker') open = event.opens;
    if (isIn) expected.push(event);
  }
  if (slice.to && isIn && open !== undefined) expected.push(closingMarker(slice.to, open));
  expected.push({ kind: 'end' });
  if (!slice.to) expected.push(...events.slice(end + 1));
  return expected;
}

/** Every place of a partition: before and after each row and marker. */
function placesOf(events: readonly PartitionEvent[]): PartitionSlice[] {
  const slices: PartitionSlice[] = [];
  let key = new Uint8Array(0);
  let token = 0n;
  for (const event of events) {
    if (event.kind === 'partition') ({ key, token } = event as { key: Uint8Array<ArrayBuffer>; token: bigint });
    if (event.kind === 'row' && !event.isStatic) {
      for (const side of [-1, 1] as const) slices.push({ key, token, from: { clustering: event.clustering, side } });
    }
    if (event.kind === 'marker') {
      slices.push({ key, token, from: { clustering: event.clustering, side: sideOf(event) as -1 | 1 } });
    }
  }
  return slices;
}

const WIDE = [
  ...listFixtures().filter(
    ({ release, table }) => RELEASES.includes(release) && ['blocks', 'blocks_static', 'wide'].includes(table),
  ),
  // The same rows in each; some cells of `udts` are frozen without being called so.
  ...listFixtures3().filter(({ table }) => table === 'wide' || table === 'udts'),
];

test.for(WIDE.map(({ title }) => title))('%s entered at its rows and markers gives the rest of the whole', { timeout: 120_000 }, async (title) => {
  const sstable = await openWithoutSchema(fixture(title).files);
  const whole = await drain(openPartitionCursor(sstable, { windowBytes }));
  const places = placesOf(whole);
  expect(places.length).toBeGreaterThan(70);
  // A step that shares no factor with how rows and markers alternate; every place of the small ones.
  const step = Math.max(1, Math.floor(places.length / 41));
  for (let index = 0; index < places.length; index += step) {
    const slice = places[index]!;
    const range = { start: slice.token - 1n, end: index % 7 === 0 ? MAX_TOKEN : slice.token };
    const events = await drain(openPartitionCursor(sstable, { windowBytes, range, slice }));
    const expected = sliceOf(whole, slice, orderOf(sstable));
    const end = range.end === MAX_TOKEN ? expected.length : expected.findIndex(({ kind }) => kind === 'end') + 1;
    expectSame(plain(events), plain(expected.slice(0, end)));
  }
});

test.for(RELEASES)('slices between any two places of %s are what stands between them', { timeout: 120_000 }, async (release) => {
  for (const { files } of WIDE.filter((each) => each.release === release && each.table.startsWith('blocks'))) {
    const sstable = await openSSTable(files);
    const whole = await drain(openPartitionCursor(sstable));
    const places = placesOf(whole);
    for (let index = 0; index < places.length; index += 83) {
      const { key, token, from } = places[index]!;
      const last = places[Math.min(places.length - 1, index + ((index * 7) % 90))]!;
      const to = last.token === token ? last.from : undefined;
      const slice = { key, token, from: index % 5 === 0 ? undefined : from, to };
      const range = { start: token - 1n, end: MAX_TOKEN };
      const events = await drain(openPartitionCursor(sstable, { range, slice }));
      expectSame(plain(events), plain(sliceOf(whole, slice, orderOf(sstable))));
    }
  }
});

test.for(RELEASES)('merged slices of several SSTables of %s are the merged whole from there on', { timeout: 120_000 }, async (release) => {
  for (const table of ['blocks', 'blocks_static']) {
    const found = listFixtures().filter((each) => each.release === release && each.table === table);
    const sstables = await Promise.all(found.map(({ files }) => openSSTable(files)));
    const schema = tableSchemaOf(sstables[0]!.header);
    const merged = (options: PartitionCursorOptions) => {
      const inputs = sstables.map((sstable) => ({
        cursor: openPartitionCursor(sstable, {
          ...options,
          columns: { static: schema.staticColumns, regular: schema.regularColumns },
        }),
      }));
      return drain(mergePartitions(inputs, schema));
    };
    const whole = await merged({});
    const places = placesOf(whole);
    for (let index = 0; index < places.length; index += 97) {
      const slice = places[index]!;
      const range = { start: slice.token - 1n, end: MAX_TOKEN };
      const events = await merged({ range, slice });
      expectSame(plain(events), plain(sliceOf(whole, slice, orderOf(sstables[0]!))));
    }
  }
});
