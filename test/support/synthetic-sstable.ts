import { crc32 } from 'node:zlib';
import { SnapshotIncompleteError } from '#core/errors.ts';
import type { ByteSource } from '#core/ports.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';
import { MIN_TOKEN } from '#core/token/token.ts';
import { keyOfToken } from './key-of-token.ts';

/** Some bytes of a file: records of one size, each computed when somebody reads it. */
export interface Segment {
  readonly count: number;
  readonly recordBytes: number;
  record(index: number): Uint8Array;
}

const fixed = (bytes: Uint8Array): Segment => ({ count: 1, recordBytes: bytes.length, record: () => bytes });

/** A file that is computed where it is read; nothing of it is stored. */
function computedSource(name: string, segments: readonly Segment[]): ByteSource {
  const starts: number[] = [];
  let byteLength = 0;
  for (const { count, recordBytes } of segments) {
    starts.push(byteLength);
    byteLength += count * recordBytes;
  }
  return {
    name,
    byteLength,
    async read(start, end) {
      if (start < 0 || end > byteLength || start > end) throw new RangeError(`${name}: read ${start} to ${end}`);
      const bytes = Buffer.allocUnsafeSlow(end - start);
      segments.forEach(({ count, recordBytes, record }, index) => {
        const base = starts[index]!;
        const from = Math.max(start, base);
        const to = Math.min(end, base + count * recordBytes);
        for (let at = from; at < to; ) {
          const number = Math.floor((at - base) / recordBytes);
          const inRecord = at - base - number * recordBytes;
          const piece = record(number).subarray(inRecord, Math.min(recordBytes, inRecord + to - at));
          bytes.set(piece, at - start);
          at += piece.length;
        }
      });
      return bytes;
    },
  };
}

const CHUNK_BYTES = 16 * 1024;

/** Data.db of raw chunks, each with its checksum, and CompressionInfo.db. */
function chunked(name: string, plain: ByteSource): { data: ByteSource; info: ByteSource } {
  const count = Math.ceil(plain.byteLength / CHUNK_BYTES);
  const storedBytes = plain.byteLength + 4 * count;
  const data: ByteSource = {
    name: `${name}-Data.db`,
    byteLength: storedBytes,
    async read(start, end) {
      const pieces: Uint8Array[] = [];
      for (let chunk = Math.floor(start / (CHUNK_BYTES + 4)); chunk * (CHUNK_BYTES + 4) < end; chunk++) {
        const from = chunk * CHUNK_BYTES;
        const bytes = await plain.read(from, Math.min(from + CHUNK_BYTES, plain.byteLength));
        const sum = Buffer.alloc(4);
        sum.writeUInt32BE(crc32(bytes));
        pieces.push(bytes, sum);
      }
      const first = Math.floor(start / (CHUNK_BYTES + 4)) * (CHUNK_BYTES + 4);
      return Buffer.concat(pieces).subarray(start - first, end - first);
    },
  };
  const compressor = Buffer.from('LZ4Compressor');
  const head = Buffer.alloc(2 + compressor.length + 4 + 4 + 4 + 8 + 4);
  head.writeUInt16BE(compressor.length);
  compressor.copy(head, 2);
  let at = 2 + compressor.length + 4;
  head.writeInt32BE(CHUNK_BYTES, at);
  head.writeInt32BE(0, at + 4); // the largest compressed chunk: every chunk is raw
  at += 8;
  head.writeBigInt64BE(BigInt(plain.byteLength), at);
  head.writeInt32BE(count, at + 8);
  const offset = Buffer.alloc(8);
  const offsets: Segment = {
    count,
    recordBytes: 8,
    record(index) {
      offset.writeBigInt64BE(BigInt(index * (CHUNK_BYTES + 4)));
      return offset;
    },
  };
  return { data, info: computedSource(`${name}-CompressionInfo.db`, [fixed(head), offsets]) };
}

/** A vint of nine bytes, whatever its value: records must have one size. */
function writeWideVint(bytes: Buffer, at: number, value: number): number {
  bytes[at] = 0xff;
  bytes.writeBigUInt64BE(BigInt(value), at + 1);
  return at + 9;
}

const ROW_HEAD_BYTES = 1 + 1 + 4 + 4 + 1 + 1 + 1 + 4;
const PARTITION_HEAD_BYTES = 2 + 16 + 12;

/** A row of `(pk, ck int, v text)`: flags, clustering, body size, previous size, write time, cell. */
function rowTemplate(rowBytes: number): Buffer {
  const row = Buffer.alloc(rowBytes, 'x');
  const head = [0x24, 0, 0, 0, 0, 0];
  // Vints of four bytes, whatever the value.
  const size = (value: number) => [0xe0 | (value >> 24), (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff];
  head.push(...size(rowBytes - 10), 0, 0, 0x08, ...size(rowBytes - ROW_HEAD_BYTES));
  row.set(head);
  return row;
}

function partitionHead(key: Uint8Array): Buffer {
  const head = Buffer.alloc(PARTITION_HEAD_BYTES);
  head.writeUInt16BE(16);
  head.set(key, 2);
  head.writeInt32BE(0x7fffffff, 18);
  head.writeBigInt64BE(-(2n ** 63n), 22);
  return head;
}

/** The components, each from its source; Statistics.db is that of a real table of the same columns. */
function filesOf(name: string, sources: ReadonlyMap<string, ByteSource>): SSTableFiles {
  return {
    name,
    version: 'nb',
    async open(component) {
      const source = sources.get(component);
      if (!source) throw new SnapshotIncompleteError(`${name}-${component} does not exist`);
      return source;
    },
  };
}

function summaryOf(
  name: string,
  count: number,
  interval: number,
  keyOf: (index: number) => Uint8Array,
  entryBytes: number,
) {
  const samples = Math.ceil(count / interval);
  const head = Buffer.alloc(24);
  head.writeInt32BE(interval, 0);
  head.writeInt32BE(samples, 4);
  head.writeBigInt64BE(BigInt(samples * 28), 8);
  head.writeInt32BE(128, 16);
  head.writeInt32BE(samples, 20);
  const offset = Buffer.alloc(4);
  const entry = Buffer.alloc(24);
  const keys = Buffer.alloc(40);
  keys.writeInt32BE(16, 0);
  keys.set(keyOf(0), 4);
  keys.writeInt32BE(16, 20);
  keys.set(keyOf(count - 1), 24);
  return computedSource(`${name}-Summary.db`, [
    fixed(head),
    {
      count: samples,
      recordBytes: 4,
      record(index) {
        offset.writeInt32LE(4 * samples + 24 * index);
        return offset;
      },
    },
    {
      count: samples,
      recordBytes: 24,
      record(index) {
        entry.set(keyOf(index * interval));
        entry.writeBigInt64LE(BigInt(index * interval * entryBytes), 16);
        return entry;
      },
    },
    fixed(keys),
  ]);
}

const INDEX_ENTRY_BYTES = 2 + 16 + 9 + 1;

/** Token of partition `index` of `count`, which lie evenly around the ring. */
export const evenToken = (index: number, count: number): bigint =>
  MIN_TOKEN + 1n + (2n ** 64n / BigInt(count)) * BigInt(index);

/** A table of many partitions of one row. `rowBytes` at least 150. */
export function manyPartitions(statistics: ByteSource, count: number, rowBytes: number): SSTableFiles {
  const name = 'synthetic/nb-1-big';
  const keyOf = (index: number) => keyOfToken(evenToken(index, count));
  const recordBytes = PARTITION_HEAD_BYTES + rowBytes + 1;
  const record = Buffer.concat([partitionHead(new Uint8Array(16)), rowTemplate(rowBytes), Buffer.of(1)]);
  const plain = computedSource(name, [
    {
      count,
      recordBytes,
      record(index) {
        record.set(keyOf(index), 2);
        return record;
      },
    },
  ]);
  const entry = Buffer.alloc(INDEX_ENTRY_BYTES);
  entry.writeUInt16BE(16);
  const index = computedSource(`${name}-Index.db`, [
    {
      count,
      recordBytes: INDEX_ENTRY_BYTES,
      record(number) {
        entry.set(keyOf(number), 2);
        writeWideVint(entry, 18, number * recordBytes);
        return entry;
      },
    },
  ]);
  const { data, info } = chunked(name, plain);
  return filesOf(
    name,
    new Map([
      ['Statistics.db', statistics],
      ['Data.db', data],
      ['CompressionInfo.db', info],
      ['Index.db', index],
      ['Summary.db', summaryOf(name, count, 128, keyOf, INDEX_ENTRY_BYTES)],
    ]),
  );
}

export const WIDE_TOKEN = 42n;
/** The key of the wide partition. */
export const WIDE_KEY = keyOfToken(WIDE_TOKEN);

/** A table of one partition of many rows, with a block of its row index for every `rowsPerBlock`. */
export function widePartition(statistics: ByteSource, rows: number, rowBytes: number, rowsPerBlock = 64): SSTableFiles {
  const name = 'synthetic/nb-2-big';
  const template = rowTemplate(rowBytes);
  const plain = computedSource(name, [
    fixed(partitionHead(WIDE_KEY)),
    {
      count: rows,
      recordBytes: rowBytes,
      record(index) {
        template.writeInt32BE(index, 2);
        return template;
      },
    },
    fixed(Buffer.of(1)),
  ]);
  const blocks = Math.ceil(rows / rowsPerBlock);
  const infoBytes = 6 + 6 + 9 + 9 + 1;
  const promotedHead = Buffer.alloc(9 + 12 + 9);
  writeWideVint(promotedHead, 0, PARTITION_HEAD_BYTES);
  promotedHead.writeInt32BE(0x7fffffff, 9);
  promotedHead.writeBigInt64BE(-(2n ** 63n), 13);
  writeWideVint(promotedHead, 21, blocks);
  const entryHead = Buffer.alloc(2 + 16 + 9 + 9);
  entryHead.writeUInt16BE(16);
  entryHead.set(WIDE_KEY, 2);
  writeWideVint(entryHead, 18, 0);
  writeWideVint(entryHead, 27, promotedHead.length + blocks * (infoBytes + 4));
  const info = Buffer.alloc(infoBytes);
  const offset = Buffer.alloc(4);
  const index = computedSource(`${name}-Index.db`, [
    fixed(entryHead),
    fixed(promotedHead),
    {
      count: blocks,
      recordBytes: infoBytes,
      record(number) {
        const first = number * rowsPerBlock;
        const last = Math.min(rows, first + rowsPerBlock) - 1;
        info[0] = 4;
        info.writeInt32BE(first, 2);
        info[6] = 4;
        info.writeInt32BE(last, 8);
        writeWideVint(info, 12, PARTITION_HEAD_BYTES + first * rowBytes);
        const width = (last - first + 1) * rowBytes - 64 * 1024;
        writeWideVint(info, 21, width < 0 ? -2 * width - 1 : 2 * width);
        return info;
      },
    },
    {
      count: blocks,
      recordBytes: 4,
      record(number) {
        offset.writeInt32BE(number * infoBytes);
        return offset;
      },
    },
  ]);
  const { data, info: compression } = chunked(name, plain);
  return filesOf(
    name,
    new Map([
      ['Statistics.db', statistics],
      ['Data.db', data],
      ['CompressionInfo.db', compression],
      ['Index.db', index],
      ['Summary.db', summaryOf(name, 1, 128, () => WIDE_KEY, 0)],
    ]),
  );
}
