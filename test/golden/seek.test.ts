import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SSTableCorruptError } from '#core/errors.ts';
import { estimateBytes, openPartitionCursor, openSSTable, tokenBounds } from '#core/sstable/sstable.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { contains, splitRing, WHOLE_RING } from '#core/token/token-range.ts';
import { countingFiles, MemoryFiles } from '../support/byte-sources.ts';
import { fixture, listFixtures, listFixtures3 } from './fixtures.ts';
import { readAll, readTokens } from './read-all.ts';
import { expectSame } from '../support/expect-same.ts';

const MANY = ['4.1-nb-big/big100k/nb-7-big', '5.0-da-bti/big100k/da-6-bti'];
const SEEKING = [
  ...MANY,
  '3.x/3.0.6/keys/ma-1-big',
  '3.x/3.11.3/wide/mc-1-big',
  '3.x/3.11.19/types/me-1-big',
  '5.0-oa-big/simple/oa-1-big', '5.0-oa-big/bigpart/oa-1-big', '5.0-da-bti/bigpart/da-1-bti',
];

test.for(SEEKING)('a token range of %s gives exactly its partitions', async (title) => {
  const sstable = await openSSTable(fixture(title).files);
  const tokens = await readTokens(openPartitionCursor(sstable));
  // Bounds that are tokens of partitions are where off-by-one errors live.
  const bound = fc.oneof(
    fc.bigInt({ min: MIN_TOKEN, max: MAX_TOKEN }),
    fc.constantFrom(...tokens),
    fc.constantFrom(MIN_TOKEN, MAX_TOKEN),
  );
  await fc.assert(
    fc.asyncProperty(bound, bound, async (start, end) => {
      const range = { start, end };
      const expected = tokens.filter((token) => contains(range, token));
      expect(await readTokens(openPartitionCursor(sstable, { range }))).toEqual(expected);
    }),
    { numRuns: MANY.includes(title) ? 20 : 60 },
  );
});

test.for(MANY)('the ranges of a split ring give every partition of %s once', async (title) => {
  const sstable = await openSSTable(fixture(title).files);
  const tokens: bigint[] = [];
  for (const range of splitRing(37)) tokens.push(...(await readTokens(openPartitionCursor(sstable, { range }))));
  expect(tokens).toEqual(await readTokens(openPartitionCursor(sstable)));
});

test.for(MANY)('a thousandth of the ring of %s is read with few small reads', async (title) => {
  const { files, counts } = countingFiles(fixture(title).files);
  const sstable = await openSSTable(files);
  const range = splitRing(1000)[500]!;
  const opened = new Map([...counts].map(([component, { bytes }]) => [component, bytes]));
  const events = await readAll(openPartitionCursor(sstable, { range, windowBytes: 64 * 1024 }));
  expect(events.length).toBeGreaterThan(0);
  // A range of one chunk at most, and the chunk behind it when the range ends where one starts.
  const data = counts.get('Data.db')!;
  expect(data.bytes).toBeLessThan(2 * sstable.compression!.chunkBytes);
  expect(data.reads).toBeLessThanOrEqual(2);
  // The two ends of the range: 16 KiB of Index.db each, or pages of 64 KiB of the trie.
  const index = counts.get(title.endsWith('bti') ? 'Partitions.db' : 'Index.db')!;
  expect(index.bytes).toBeLessThanOrEqual(title.endsWith('bti') ? 3 * 64 * 1024 + 24 : 2 * 16 * 1024);
  for (const component of ['Statistics.db', 'CompressionInfo.db']) {
    expect(counts.get(component)!.bytes).toBeLessThanOrEqual(2 * opened.get(component)!);
  }
});

test('windows of any size, and of another size each, give the same events', async () => {
  for (const title of ['4.1-nb-big/bigpart/nb-1-big', '4.1-nb-big/udts/nb-1-big', '5.0-da-bti/wide/da-1-bti']) {
    const sstable = await openSSTable(fixture(title).files);
    const whole = await readAll(openPartitionCursor(sstable, { windowBytes: 8 * 1024 * 1024 }));
    const sizes = fc.array(fc.integer({ min: 64 * 1024, max: 256 * 1024 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(sizes, async (bytes) => {
        let asked = 0;
        const windowBytes = () => bytes[asked++ % bytes.length]!;
        expectSame(await readAll(openPartitionCursor(sstable, { windowBytes })), whole);
      }),
      { numRuns: 6 },
    );
  }
});

test('token bounds are those of the first and the last partition', async () => {
  for (const { files } of [...listFixtures(), ...listFixtures3()]) {
    const sstable = await openSSTable(files);
    const tokens = await readTokens(openPartitionCursor(sstable));
    expect(await tokenBounds(sstable)).toEqual({ first: tokens[0], last: tokens.at(-1) });
  }
});

test('estimates of the parts add up to about the whole', async () => {
  for (const title of MANY) {
    const sstable = await openSSTable(fixture(title).files);
    let sum = 0;
    for (const range of splitRing(16)) sum += await estimateBytes(sstable, range);
    expect(sum / sstable.dataBytes).toBeGreaterThan(0.9);
    expect(sum / sstable.dataBytes).toBeLessThan(1.1);
    expect(await estimateBytes(sstable, WHOLE_RING)).toBe(sstable.dataBytes);
  }
});

test('without Summary.db ranges and bounds are found all the same', async () => {
  const copy = await MemoryFiles.of(fixture('4.1-nb-big/simple/nb-1-big').files, [
    'Data.db',
    'Statistics.db',
    'CompressionInfo.db',
    'Index.db',
  ]);
  const sstable = await openSSTable(copy);
  const tokens = await readTokens(openPartitionCursor(sstable));
  expect(await tokenBounds(sstable)).toEqual({ first: tokens[0], last: tokens.at(-1) });
  const range = { start: tokens[10]!, end: tokens[20]! };
  expect(await readTokens(openPartitionCursor(sstable, { range }))).toEqual(tokens.slice(11, 21));
});

test('an index that names other partitions than the data has is corrupt, not an empty range', async () => {
  const copy = await MemoryFiles.of(fixture('4.1-nb-big/simple/nb-1-big').files, [
    'Data.db',
    'Statistics.db',
    'CompressionInfo.db',
    'Index.db',
    'Summary.db',
  ]);
  const index = copy.components.get('Index.db')!;
  const tokens = await readTokens(openPartitionCursor(await openSSTable(copy)));
  for (let at = 0; at < 400; at++) {
    index[at]! ^= 0x10;
    const range = { start: tokens[3]!, end: tokens[9]! };
    let outcome: unknown;
    try {
      outcome = await readTokens(openPartitionCursor(await openSSTable(copy), { range }));
    } catch (error) {
      outcome = error;
    }
    // What the flip did not touch may be read; what it did must not be passed over in silence.
    if (Array.isArray(outcome)) expectSame(outcome, tokens.slice(4, 10));
    else expect(outcome).toBeInstanceOf(SSTableCorruptError);
    index[at]! ^= 0x10;
  }
});
