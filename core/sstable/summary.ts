import { ByteReader } from '#core/bytes/byte-reader.ts';
import { tokenOf } from '#core/token/token.ts';
import { corrupt, decodeOf } from './sstable-files.ts';

/** Summary.db: every n-th entry of Index.db, and the first and last key. */
export interface Summary {
  readonly sampleCount: number;
  readonly firstKey: Uint8Array;
  readonly lastKey: Uint8Array;
  keyAt(sample: number): Uint8Array;
  /** Position in Index.db. */
  positionAt(sample: number): number;
}

/**
 * ```
 * i32 minIndexInterval; i32 n; i64 size; i32 samplingLevel; i32 fullSamplingCount
 * size bytes: n × i32 LE offset in this block, then n × { key; i64 LE position in Index.db }
 * bytes32 firstKey; bytes32 lastKey
 * ```
 * The block is a dump of memory, hence little-endian.
 *
 * @throws SSTableCorruptError
 * @see org.apache.cassandra.io.sstable.indexsummary.IndexSummary.IndexSummarySerializer
 */
export function parseSummary(bytes: Uint8Array, file: string): Summary {
  return decodeOf(file, 0, () => {
    const reader = new ByteReader(bytes);
    reader.skip(4);
    const sampleCount = reader.readInt32();
    const size = reader.readPosition();
    reader.skip(8);
    const base = reader.skip(size);
    const firstKey = reader.readBytes32();
    const lastKey = reader.readBytes32();
    if (sampleCount < 1 || sampleCount * 12 > size || !firstKey || !lastKey) {
      throw corrupt(file, 4, `${sampleCount} samples in ${size} bytes can not be`);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset + base, size);
    const bounds = (sample: number): [start: number, positionAt: number] => {
      const start = view.getInt32(4 * sample, true);
      const end = sample + 1 < sampleCount ? view.getInt32(4 * (sample + 1), true) : size;
      if (start < 4 * sampleCount || end - start < 8 || end > size) {
        throw corrupt(file, base + 4 * sample, `sample ${sample} is outside of the summary`);
      }
      return [start, end - 8];
    };
    return {
      sampleCount,
      firstKey,
      lastKey,
      keyAt(sample) {
        const [start, end] = bounds(sample);
        return bytes.subarray(base + start, base + end);
      },
      positionAt(sample) {
        const [, at] = bounds(sample);
        const position = Number(view.getBigInt64(at, true));
        if (!Number.isSafeInteger(position) || position < 0) {
          throw corrupt(file, base + at, `${position} is no position in Index.db`);
        }
        return position;
      },
    };
  });
}

/** The last sample with a token up to and including `token`, or −1. */
export function lastSampleUpTo(summary: Summary, token: bigint): number {
  let low = -1;
  let high = summary.sampleCount - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (tokenOf(summary.keyAt(middle)) <= token) low = middle;
    else high = middle - 1;
  }
  return low;
}
