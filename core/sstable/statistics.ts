import { crc32 } from 'node:zlib';
import { ByteReader } from '#core/bytes/byte-reader.ts';
import { SSTableUnsupportedError } from '#core/errors.ts';
import { NO_DELETION_TIME } from '#core/model/row.ts';
import { fixedLengthOf } from '#core/model/value-length.ts';
import { readClusteringValues } from './clustering.ts';
import { parseMarshalType } from './marshal-type.ts';
import { parseSerializationHeader, type SerializationHeader } from './serialization-header.ts';
import { corrupt, decodeOf } from './sstable-files.ts';
import type { SSTableVersion } from './sstable-version.ts';

/** What Statistics.db tells about the data. */
export interface SSTableStats {
  /** The class of the partitioner. */
  readonly partitioner: string;
  /** Share of false positives that the Bloom filter was made for. */
  readonly bloomFilterChance: number;
  readonly minTimestampMicros: bigint;
  readonly maxTimestampMicros: bigint;
  /** Seconds since the epoch, or NO_DELETION_TIME. */
  readonly minLocalDeletionTimeSeconds: number;
  readonly maxLocalDeletionTimeSeconds: number;
  readonly minTtlSeconds: number;
  readonly maxTtlSeconds: number;
  /** Compressed size by plain size; −1 when the table is not compressed. */
  readonly compressionRatio: number;
  readonly level: number;
  /** Milliseconds since the epoch; 0 when not repaired. */
  readonly repairedAtMillis: bigint;
  /** The repair that it is set aside for; since na. */
  readonly pendingRepair?: string;
  /** Not kept by full replicas once repaired; since na. */
  readonly isTransient: boolean;
  readonly hasLegacyCounterShards: boolean;
  /** Simple cells, and multi-cell columns with at least one cell (once each). */
  readonly totalColumnsSet: number;
  /** Rows, and static rows that are not empty. */
  readonly totalRows: number;
  /** Partitions, by the histogram of their sizes. */
  readonly partitionCount: number;
  /** Plain bytes of the largest partition, less a sixth at most: the lower bound of its bucket. */
  readonly largestPartitionBytes: number;
  readonly originatingHostId?: string;
  /** First and last partition key; since oa and da. */
  readonly firstKey?: Uint8Array;
  readonly lastKey?: Uint8Array;
}

export interface Statistics {
  readonly stats: SSTableStats;
  readonly header: SerializationHeader;
}

const MetadataType = { Validation: 0, Compaction: 1, Stats: 2, Header: 3 } as const;
const MURMUR3 = /(^|\.)Murmur3Partitioner$/;

/**
 * Statistics.db: a table of contents, then components.
 * ```
 * i32 count; [checksums: u32 crc of it]
 * count × { i32 type; i32 offset from file start }
 * [checksums: u32 crc over count and table, without the first crc]
 * each component at its offset, [checksums: followed by u32 crc of its bytes]
 * ```
 *
 * @throws SSTableCorruptError, SSTableUnsupportedError (another partitioner, an unknown type)
 * @see org.apache.cassandra.io.sstable.metadata.MetadataSerializer
 */
export function parseStatistics(bytes: Uint8Array, version: SSTableVersion, file: string): Statistics {
  return decodeOf(file, 0, () => {
    const components = readComponents(bytes, version, file);
    const validation = component(components, MetadataType.Validation, 'VALIDATION', bytes, file);
    const partitioner = validation.readText(validation.readUint16());
    const bloomFilterChance = validation.readFloat64();
    if (!MURMUR3.test(partitioner)) {
      throw new SSTableUnsupportedError(
        `${file}: the partitioner ${partitioner} is not supported, only Murmur3Partitioner, and a cluster keeps its own for ever; copy the table with the application`,
        { context: { file, partitioner } },
      );
    }
    const stats = readStats(component(components, MetadataType.Stats, 'STATS', bytes, file), version, file);
    const header = parseSerializationHeader(component(components, MetadataType.Header, 'HEADER', bytes, file), file);
    return { stats: { partitioner, bloomFilterChance, ...stats }, header };
  });
}

interface ComponentBounds {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

function readComponents(bytes: Uint8Array, version: SSTableVersion, file: string): ComponentBounds[] {
  const reader = new ByteReader(bytes);
  const crcBytes = version.hasMetadataChecksum ? 4 : 0;
  const count = reader.readInt32();
  if (count < 1 || count > 16) throw corrupt(file, 0, `${count} components can not be`);
  let crc = crc32(bytes.subarray(0, 4));
  if (crcBytes) checkCrc(reader, crc, file);
  const tocStart = reader.offset;
  const toc = Array.from({ length: count }, () => ({ type: reader.readInt32(), start: reader.readInt32() }));
  crc = crc32(bytes.subarray(tocStart, reader.offset), crc);
  if (crcBytes) checkCrc(reader, crc, file);
  return toc.map(({ type, start }, index) => {
    const next = toc[index + 1]?.start ?? bytes.length;
    const end = next - crcBytes;
    if (start < reader.offset || end < start || next > bytes.length) {
      throw corrupt(file, tocStart + 8 * index, `component ${type} at ${start} to ${end} is outside of the file`);
    }
    if (crcBytes) checkCrc(new ByteReader(bytes, end), crc32(bytes.subarray(start, end)), file);
    return { type, start, end };
  });
}

function checkCrc(reader: ByteReader, actual: number, file: string): void {
  const offset = reader.offset;
  const expected = reader.readUint32();
  if (expected !== actual) throw corrupt(file, offset, `checksum ${hex(expected)} stored, ${hex(actual)} computed`);
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}

function component(
  components: readonly ComponentBounds[],
  type: number,
  name: string,
  bytes: Uint8Array,
  file: string,
): ByteReader {
  const found = components.find((each) => each.type === type);
  if (!found) throw corrupt(file, 0, `there is no ${name} component`);
  return new ByteReader(bytes, found.start, found.end);
}

/** @see org.apache.cassandra.io.sstable.metadata.StatsMetadata.StatsMetadataSerializer */
function readStats(
  reader: ByteReader,
  version: SSTableVersion,
  file: string,
): Omit<SSTableStats, 'partitioner' | 'bloomFilterChance'> {
  const isNewest = version.hasUnsignedDeletionTime;
  const deletionTime = (): number => {
    const seconds = isNewest ? reader.readUint32() : reader.readInt32();
    return seconds === (isNewest ? 0xffffffff : 0x7fffffff) ? NO_DELETION_TIME : seconds;
  };
  const sizes = readHistogram(reader); // sizes of partitions
  readHistogram(reader); // cells per partition
  reader.skip(12); // commit-log upper bound
  const minTimestampMicros = reader.readInt64();
  const maxTimestampMicros = reader.readInt64();
  const minLocalDeletionTimeSeconds = deletionTime();
  const maxLocalDeletionTimeSeconds = deletionTime();
  const minTtlSeconds = reader.readInt32();
  const maxTtlSeconds = reader.readInt32();
  const compressionRatio = reader.readFloat64();
  reader.skip(4); // histogram of tombstone drop times: maximum of bins, then the bins
  const bins = reader.readInt32();
  reader.skip(bins * (isNewest ? 12 : 16));
  const level = reader.readInt32();
  const repairedAtMillis = reader.readInt64();
  if (isNewest) {
    const lengths: number[] = [];
    for (let left = reader.readVint(); left > 0; left--) {
      lengths.push(fixedLengthOf(parseMarshalType(reader.readText(reader.readVint()), file).type));
    }
    skipBound(reader, lengths);
    skipBound(reader, lengths);
  } else {
    for (let list = 0; list < 2; list++) {
      for (let left = reader.readInt32(); left > 0; left--) reader.readBytes16();
    }
  }
  const hasLegacyCounterShards = reader.readUint8() !== 0;
  const totalColumnsSet = reader.readPosition();
  const totalRows = reader.readPosition();
  if (version.hasCommitLogLowerBound) reader.skip(12);
  if (version.hasCommitLogIntervals) reader.skip(reader.readInt32() * 24);
  let pendingRepair: string | undefined;
  let isTransient = false;
  if (version.hasMetadataChecksum) {
    if (reader.readUint8() !== 0) pendingRepair = uuidText(reader.readBytes(16));
    isTransient = reader.readUint8() !== 0;
  }
  let originatingHostId: string | undefined;
  if (version.hasOriginatingHostId && reader.readUint8() !== 0) originatingHostId = uuidText(reader.readBytes(16));
  let firstKey: Uint8Array | undefined;
  let lastKey: Uint8Array | undefined;
  if (isNewest) {
    reader.skip(1); // has partition-level deletions
    firstKey = reader.readBytesV();
    lastKey = reader.readBytesV();
  }
  return {
    minTimestampMicros,
    maxTimestampMicros,
    minLocalDeletionTimeSeconds,
    maxLocalDeletionTimeSeconds,
    minTtlSeconds,
    maxTtlSeconds,
    compressionRatio,
    level,
    repairedAtMillis,
    pendingRepair,
    isTransient,
    hasLegacyCounterShards,
    totalColumnsSet,
    totalRows,
    partitionCount: sizes.total,
    largestPartitionBytes: sizes.largest,
    originatingHostId,
    firstKey,
    lastKey,
  };
}

/** EstimatedHistogram: i32 n; n × { i64 lower bound of the values, exclusive; i64 count }. */
function readHistogram(reader: ByteReader): { readonly total: number; readonly largest: number } {
  let total = 0;
  let largest = 0;
  for (let left = reader.readInt32(); left > 0; left--) {
    const bound = reader.readPosition();
    const count = reader.readPosition();
    total += count;
    if (count > 0) largest = bound;
  }
  return { total, largest };
}

/** u8 kind; u16 number of values; the values (section "clustering values" of clustering.ts). */
function skipBound(reader: ByteReader, lengths: readonly number[]): void {
  reader.skip(1);
  readClusteringValues(reader, lengths, reader.readUint16());
}

function uuidText(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
