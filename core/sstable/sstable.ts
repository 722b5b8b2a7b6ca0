import { SnapshotIncompleteError } from '#core/errors.ts';
import { SliceCursor } from '#core/merge/slice-cursor.ts';
import { openingMarker, type PartitionSlice } from '#core/model/clustering-bound.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import { fixedLengthOf } from '#core/model/value-length.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { type TokenRange, unwrap, WHOLE_RING } from '#core/token/token-range.ts';
import { bigIndex } from './big-index.ts';
import { planColumns } from './column-plan.ts';
import { type CompressionInfo, readCompressionInfo } from './compression-info.ts';
import { compressedDataFile, type DataFile, plainDataFile } from './data-file.ts';
import { DeltaReader } from './delta-reader.ts';
import { chooseReading, readingsOf, readWithSchema } from './lost-frozen.ts';
import { type PositionedCursor, SSTablePartitionCursor, WINDOW_BYTES } from './partition-cursor.ts';
import type { PartitionIndex } from './partition-index.ts';
import { RowDecoder } from './row-decoder.ts';
import { type RowLayout, rowLayout } from './row-index.ts';
import type { SerializationHeader } from './serialization-header.ts';
import { openOptional, readWhole, type SSTableFiles } from './sstable-files.ts';
import { Component } from './sstable-name.ts';
import { type SSTableVersion, versionOf } from './sstable-version.ts';
import { parseStatistics, type SSTableStats } from './statistics.ts';
import { trieIndex } from './trie-index.ts';

/** An SSTable whose metadata has been read and checked. Holds no open resource. */
export interface SSTable {
  readonly name: string;
  readonly version: SSTableVersion;
  readonly header: SerializationHeader;
  readonly stats: SSTableStats;
  /** Undefined when the table is not compressed. */
  readonly compression?: CompressionInfo;
  /** Plain bytes of Data.db. */
  readonly dataBytes: number;
  /** Bytes of Data.db as stored. */
  readonly storedBytes: number;
  readonly data: DataFile;
  readonly index: PartitionIndex;
}

export interface PartitionCursorOptions {
  /** Default: the whole ring. */
  readonly range?: TokenRange;
  /** What the events' column indexes refer to; columns of the file that are not named were dropped. Default: the file's. */
  readonly columns?: { readonly static: readonly ColumnDefinition[]; readonly regular: readonly ColumnDefinition[] };
  /** Enters a partition of the range in the middle, by its row index; partitions before it are left out. */
  readonly slice?: PartitionSlice;
  /**
   * Plain bytes held at a time, twice: the window being decoded and the one being fetched. 64 KiB to 8 MiB.
   * A function is asked for each window, the first time when the first is read.
   */
  readonly windowBytes?: number | (() => number);
}

const MAX_STATISTICS_BYTES = 256 * 1024 * 1024;

/**
 * Reads the metadata of an SSTable: Statistics.db, and how Data.db is stored. Data and index are read later, as needed.
 *
 * @throws SSTableCorruptError, SSTableUnsupportedError, SnapshotIncompleteError
 */
export async function openSSTable(
  files: SSTableFiles,
  options: { readonly signal?: AbortSignal } = {},
): Promise<SSTable> {
  const { signal } = options;
  const format = files.name.endsWith('-bti') ? 'bti' : 'big';
  const version = versionOf(files.version, format, files.name);
  const statistics = await files.open(Component.Statistics);
  const bytes = await readWhole(statistics, MAX_STATISTICS_BYTES, signal);
  const { stats, header } = parseStatistics(bytes, version, statistics.name);
  const readings = readingsOf(header, version);
  const dataSource = await files.open(Component.Data);
  const infoSource = await openOptional(files, Component.CompressionInfo);
  if (!infoSource && stats.compressionRatio !== NOT_COMPRESSED) {
    throw new SnapshotIncompleteError(
      `${files.name}: the data is compressed, but ${Component.CompressionInfo} is missing`,
      {
        context: { file: files.name },
      },
    );
  }
  const compression = infoSource && (await readCompressionInfo(infoSource, version, signal));
  const data =
    infoSource && compression
      ? compressedDataFile(dataSource, compression, infoSource)
      : await plainDataFile(dataSource, await files.open(Component.Crc), signal);
  const index = format === 'bti' ? trieIndex(files, stats, data.byteLength) : bigIndex(files, data.byteLength);
  return {
    name: files.name,
    version,
    header: readings.length === 1 ? readings[0]! : header,
    stats,
    compression,
    dataBytes: data.byteLength,
    storedBytes: dataSource.byteLength,
    data,
    index,
  };
}

const NOT_COMPRESSED = -1;

/**
 * Opens an SSTable to read it without the table's schema.
 *
 * @throws SSTableUnsupportedError also when the schema is needed to tell which columns have several cells
 */
export async function openWithoutSchema(
  files: SSTableFiles,
  options: { readonly signal?: AbortSignal } = {},
): Promise<SSTable> {
  const sstable = await openSSTable(files, options);
  const open = (header: SerializationHeader) => openPartitionCursor({ ...sstable, header });
  const readings = readingsOf(sstable.header, sstable.version);
  return { ...sstable, header: await chooseReading(readings, open, sstable.data.name, options.signal) };
}

/**
 * Streams the partitions of a token range. Nothing is read before the first `fill`.
 *
 * @throws SchemaMismatchError when `columns` do not fit the file
 */
export function openPartitionCursor(sstable: SSTable, options: PartitionCursorOptions = {}): PositionedCursor {
  const { version, name } = sstable;
  const header = options.columns ? readWithSchema(sstable.header, version, options.columns) : sstable.header;
  const columns = options.columns ?? { static: header.staticColumns, regular: header.regularColumns };
  const deltas = new DeltaReader(header, version);
  const rows = new RowDecoder(
    deltas,
    header.clusteringTypes.map(fixedLengthOf),
    planColumns(header.staticColumns, columns.static, name),
    planColumns(header.regularColumns, columns.regular, name),
  );
  const wanted = options.windowBytes ?? WINDOW_BYTES.default;
  const { slice } = options;
  let layout: RowLayout | undefined;
  const layoutOf = () => (layout ??= rowLayout(header, version, sstable.data));
  const cursor = new SSTablePartitionCursor({
    data: sstable.data,
    index: sstable.index,
    deltas,
    rows,
    hasStaticColumns: header.staticColumns.length > 0,
    range: options.range ?? WHOLE_RING,
    get windowBytes() {
      const bytes = typeof wanted === 'number' ? wanted : wanted();
      return Math.min(WINDOW_BYTES.max, Math.max(WINDOW_BYTES.min, bytes));
    },
    enter: slice?.from && { key: slice.key, token: slice.token, bound: openingMarker(slice.from) },
    async blockAt(place, bound, signal) {
      return (await sstable.index.rowIndexOf(place, layoutOf(), signal))?.find(bound, signal);
    },
  });
  return slice ? new SliceCursor(cursor, { slice, compare: layoutOf().compare, name }) : cursor;
}

/** Tokens of the first and the last partition, both inclusive. */
export function tokenBounds(
  sstable: SSTable,
  signal?: AbortSignal,
): Promise<{ readonly first: bigint; readonly last: bigint }> {
  return sstable.index.tokenBounds(signal);
}

/** About how many plain bytes of Data.db lie in the range, from the summary. */
export async function estimateBytes(sstable: SSTable, range: TokenRange, signal?: AbortSignal): Promise<number> {
  let fraction = 0;
  for (const piece of unwrap(range)) {
    const isWhole = piece.start === MIN_TOKEN && piece.end === MAX_TOKEN;
    fraction += isWhole ? 1 : await sstable.index.fractionOf(piece, signal);
  }
  return Math.round(Math.min(1, fraction) * sstable.dataBytes);
}
