/** What entering a wide partition in the middle needs, whatever the format of its row index. */

import { ByteReader, EndOfBytesError } from '#core/bytes/byte-reader.ts';
import { compareClustering, type Positioned, sideOf } from '#core/merge/compare-clustering.ts';
import type { ClusteringBound } from '#core/model/clustering-bound.ts';
import { clusteringOf, type Deletion } from '#core/model/row.ts';
import { fixedLengthOf } from '#core/model/value-length.ts';
import { planColumns } from './column-plan.ts';
import type { DataFile } from './data-file.ts';
import { DeltaReader } from './delta-reader.ts';
import { RowDecoder } from './row-decoder.ts';
import type { SerializationHeader } from './serialization-header.ts';
import { corrupt, decodeOf } from './sstable-files.ts';
import type { SSTableVersion } from './sstable-version.ts';

/** A block of a partition's row index. Plain positions in Data.db. */
export interface RowBlock {
  /** Of the partition's head. */
  readonly partition: number;
  /** Of the first row or marker of the block. */
  readonly start: number;
  /** The range deletion that is open there. */
  readonly open?: Deletion;
}

/** How rows of one SSTable are read and compared, for its row indexes. */
export interface RowLayout {
  readonly clusteringLengths: readonly number[];
  readonly deltas: DeltaReader;
  readonly compare: (left: Positioned, right: Positioned) => number;
  /** The row or marker at a plain position of Data.db. @throws SSTableCorruptError when there is none */
  readAt(position: number, signal?: AbortSignal): Promise<Positioned>;
}

/** The bound that a row or marker is the first behind. */
export function boundBefore(first: Positioned): ClusteringBound {
  // A copy: a bound outlives the bytes that were read.
  return { clustering: clusteringOf(first.clustering.values()), side: sideOf(first) > 0 ? 1 : -1 };
}

/** Enough for most rows; more is read for those that are larger. */
const PROBE_BYTES = 4 * 1024;

export function rowLayout(header: SerializationHeader, version: SSTableVersion, data: DataFile): RowLayout {
  const deltas = new DeltaReader(header, version);
  const clusteringLengths = header.clusteringTypes.map(fixedLengthOf);
  const planOf = (columns: typeof header.regularColumns) => planColumns(columns, columns, data.name);
  const rows = new RowDecoder(deltas, clusteringLengths, planOf(header.staticColumns), planOf(header.regularColumns));
  return {
    clusteringLengths,
    deltas,
    compare: compareClustering(
      header.clusteringTypes.map((type, index) => ({ name: '', type, reversed: header.clusteringReversed[index]! })),
    ),
    async readAt(position, signal) {
      if (!(position >= 0 && position < data.byteLength)) throw corrupt(data.name, position, 'is behind the data');
      for (let wanted = PROBE_BYTES; ; wanted *= 8) {
        const end = Math.min(position + wanted, data.byteLength);
        const window = await data.fetch(position, end, signal);
        const bytes = new Uint8Array(window.plainBytes);
        window.unpack(bytes, 0);
        const reader = new ByteReader(bytes, position - window.start);
        try {
          const found = rows.read(reader, false, false);
          if (typeof found === 'object') return found;
        } catch (error) {
          if (error instanceof EndOfBytesError && window.end < data.byteLength) continue;
          decodeOf(data.name, window.start, () => {
            throw error;
          });
        }
        throw corrupt(data.name, position, 'a row index names this place, where no row is (offset of the plain data)');
      }
    },
  };
}
