import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeVint } from '#core/bytes/vint.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import { planColumns } from '#core/sstable/column-plan.ts';
import type { DataFile } from '#core/sstable/data-file.ts';
import { DeltaReader } from '#core/sstable/delta-reader.ts';
import { SSTablePartitionCursor } from '#core/sstable/partition-cursor.ts';
import { RowDecoder } from '#core/sstable/row-decoder.ts';
import type { SerializationHeader } from '#core/sstable/serialization-header.ts';
import { versionOf } from '#core/sstable/sstable-version.ts';
import { tokenOf } from '#core/token/token.ts';
import { WHOLE_RING } from '#core/token/token-range.ts';

const COLUMNS: readonly ColumnDefinition[] = [{ name: 'v', type: { kind: 'native', name: 'blob' } }];
const VERSION = versionOf('nb', 'big', 'test');
const HEADER: SerializationHeader = {
  baseTimestampMicros: 1000n,
  baseLocalDeletionTimeSeconds: 0,
  baseTtlSeconds: 0,
  keyTypes: [{ kind: 'native', name: 'int' }],
  clusteringTypes: [],
  clusteringReversed: [],
  staticColumns: [],
  regularColumns: COLUMNS,
};
const LIVE_PARTITION = [0x7f, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];

/** A partition with one row of one value. */
function partitionOf(value: Uint8Array, key = 1): Buffer {
  const body = Buffer.concat([Buffer.of(0, 5, 0x08), encodeVint(value.length), value]);
  const head = [0, 4, 0, 0, 0, key, ...LIVE_PARTITION];
  return Buffer.concat([Buffer.from([...head, 0x24]), encodeVint(body.length), body, Buffer.of(1)]);
}

function cursorOver(plain: Uint8Array, windowBytes: number, unpacked: (bytes: number) => void): SSTablePartitionCursor {
  const data: DataFile = {
    name: 'test',
    byteLength: plain.length,
    granularityBytes: 1,
    async fetch(start, end) {
      return {
        start,
        end,
        plainBytes: end - start,
        unpack(output, at) {
          unpacked(output.length);
          output.set(plain.subarray(start, end), at);
        },
      };
    },
  };
  const deltas = new DeltaReader(HEADER, VERSION);
  return new SSTablePartitionCursor({
    data,
    index: {
      tokenBounds: async () => ({ first: 0n, last: 0n }),
      locate: async () => ({ start: 0, end: plain.length }),
      fractionOf: async () => 1,
      rowIndexOf: async () => undefined,
      widePartitions: async () => [],
    },
    deltas,
    rows: new RowDecoder(deltas, [], planColumns([], [], 'test'), planColumns(COLUMNS, COLUMNS, 'test')),
    hasStaticColumns: false,
    range: WHOLE_RING,
    windowBytes,
  });
}

test('a row far larger than a window is put together in few steps, which copy a small multiple of it', async () => {
  const value = new Uint8Array(8 * 1024 * 1024).fill(0x5a);
  let windows = 0;
  let copied = 0;
  const cursor = cursorOver(partitionOf(value), 64 * 1024, (bytes) => {
    windows += 1;
    copied += bytes;
  });
  const kinds: string[] = [];
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
      kinds.push(event.kind);
      if (event.kind !== 'row') continue;
      const cell = event.cells[0]!;
      expect(Buffer.compare(cell.value, value)).toBe(0);
      expect(cell.timestampMicros).toBe(1005n);
    }
  }
  expect(kinds).toEqual(['partition', 'row', 'end']);
  expect(windows).toBeLessThan(20);
  expect(copied).toBeLessThan(5 * value.length);
});

test('windows of any size give the same events', async () => {
  const keys = [...Array(40).keys()].map((key) => ({ key, token: tokenOf(Uint8Array.of(0, 0, 0, key)) }));
  keys.sort((a, b) => (a.token < b.token ? -1 : 1));
  const lengths = fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: keys.length });
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 1, max: 1000 }), async (valueBytes, windowBytes) => {
      const values = valueBytes.map((length, index) => new Uint8Array(length).fill(index));
      const plain = Buffer.concat(values.map((value, index) => partitionOf(value, keys[index]!.key)));
      const cursor = cursorOver(plain, windowBytes, () => {});
      const found: string[] = [];
      while (await cursor.fill()) {
        for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
          if (event.kind === 'partition') found.push(`key ${event.key[3]}`);
          if (event.kind === 'row') found.push(Buffer.from(event.cells[0]!.value).toString('hex'));
        }
      }
      const expected = values.flatMap((value, index) => [
        `key ${keys[index]!.key}`,
        Buffer.from(value).toString('hex'),
      ]);
      expect(found).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});
