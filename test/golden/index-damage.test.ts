import { expect, test } from 'vitest';
import { SSTableCorruptError } from '#core/errors.ts';
import { openPartitionCursor, openSSTable, tokenBounds } from '#core/sstable/sstable.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { fixture } from './fixtures.ts';
import { readTokens } from './read-all.ts';
import { expectSame } from '../support/expect-same.ts';

const COMPONENTS = ['Data.db', 'Statistics.db', 'CompressionInfo.db', 'CRC.db', 'Index.db', 'Summary.db', 'Partitions.db', 'Rows.db'];

/** What a load does with an SSTable: the plan asks for its bounds, and ranges that do not touch them leave it out. */
async function loadedTokens(files: MemoryFiles, borders: readonly bigint[]): Promise<bigint[]> {
  const sstable = await openSSTable(files);
  const { first, last } = await tokenBounds(sstable);
  const tokens: bigint[] = [];
  for (let index = 0; index + 1 < borders.length; index++) {
    const range = { start: borders[index]!, end: borders[index + 1]! };
    if (last > range.start && first <= range.end) tokens.push(...(await readTokens(openPartitionCursor(sstable, { range }))));
  }
  return tokens;
}

test.for([
  ['4.1-nb-big/statics/nb-1-big', 1],
  ['5.0-oa-big/multipk/oa-2-big', 1],
  ['5.0-da-bti/multipk/da-2-bti', 1],
  ['4.1-nb-big/bigpart/nb-2-big', 5],
  ['5.0-da-bti/bigpart/da-2-bti', 1],
] as const)('a flipped byte of the index of %s never hides a partition from a load', { timeout: 120_000 }, async ([title, step]) => {
  const files = await MemoryFiles.of(fixture(title).files, COMPONENTS);
  const expected = await readTokens(openPartitionCursor(await openSSTable(files)));
  // Every second partition ends a range, and one range lies between two partitions.
  const borders = [MIN_TOKEN, ...expected.filter((_, index) => index % 2 === 1), expected.at(-1)! + 1n, MAX_TOKEN];
  expect(await loadedTokens(files, borders)).toEqual(expected);
  let told = 0;
  for (const component of COMPONENTS.slice(4)) {
    const bytes = files.components.get(component) ?? new Uint8Array(0);
    for (let at = 0; at < bytes.length; at += step) {
      for (const flip of [0x01, 0x80]) {
        bytes[at]! ^= flip;
        const outcome = await loadedTokens(files, borders).catch((error: unknown) => error);
        if (Array.isArray(outcome)) expectSame(outcome, expected, `bit ${flip} of byte ${at} of ${component}`);
        else expect({ component, at, flip, outcome }).toMatchObject({ outcome: expect.any(SSTableCorruptError) });
        if (!Array.isArray(outcome)) told++;
        bytes[at]! ^= flip;
      }
    }
  }
  expect(told).toBeGreaterThan(5);
});
