import type { ByteReader } from '#core/bytes/byte-reader.ts';
import { SSTableUnsupportedError } from '#core/errors.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import { parseMarshalType } from './marshal-type.ts';

/** What Data.db can't be decoded without: the bases of all deltas, and the types of everything. */
export interface SerializationHeader {
  /** Deltas of write times count from here. */
  readonly baseTimestampMicros: bigint;
  readonly baseLocalDeletionTimeSeconds: number;
  readonly baseTtlSeconds: number;
  /** One for each partition key column. */
  readonly keyTypes: readonly CqlType[];
  readonly clusteringTypes: readonly CqlType[];
  /** Whether the clustering column of the same index is DESC. */
  readonly clusteringReversed: readonly boolean[];
  /** In the order of the file: simple columns by name, then multi-cell ones by name. */
  readonly staticColumns: readonly ColumnDefinition[];
  readonly regularColumns: readonly ColumnDefinition[];
}

// org.apache.cassandra.db.rows.EncodingStats: 2015-09-22T00:00:00Z.
const TIMESTAMP_EPOCH_MICROS = 1442880000000000n;
const DELETION_TIME_EPOCH_SECONDS = 1442880000;
const MAX_COLUMNS = 1 << 16;

/**
 * ```
 * vint minTimestamp − epoch; vint minLocalDeletionTime − epoch; vint minTTL
 * bytesV partition key type; vint k; k × bytesV clustering type
 * vint k; k × { bytesV name; bytesV type }   static columns, then regular ones
 * ```
 *
 * @throws SSTableUnsupportedError for types that are not known
 * @see org.apache.cassandra.db.SerializationHeader.Serializer
 */
export function parseSerializationHeader(reader: ByteReader, file: string): SerializationHeader {
  // USING TIMESTAMP 5 makes the delta negative: a vint of 64 bits that has to wrap around.
  const baseTimestampMicros = BigInt.asIntN(64, reader.readVint64() + TIMESTAMP_EPOCH_MICROS);
  const baseLocalDeletionTimeSeconds = Number(BigInt.asIntN(32, reader.readVint64())) + DELETION_TIME_EPOCH_SECONDS;
  const baseTtlSeconds = reader.readVint();
  const text = (): string => reader.readText(reader.readVint());
  const count = (): number => {
    const value = reader.readVint();
    if (value > MAX_COLUMNS) throw new SSTableUnsupportedError(`${file}: ${value} columns`, { context: { file } });
    return value;
  };
  const key = parseMarshalType(text(), file);
  const clustering = Array.from({ length: count() }, () => parseMarshalType(text(), file));
  const columns = (): ColumnDefinition[] =>
    Array.from({ length: count() }, () => {
      const name = text();
      const { type, components } = parseMarshalType(text(), file);
      if (components) {
        throw new SSTableUnsupportedError(
          `${file}: the column ${name} is of a CompositeType, which CQL can not write`,
          {
            context: { file, column: name },
          },
        );
      }
      return { name, type };
    });
  return {
    baseTimestampMicros,
    baseLocalDeletionTimeSeconds,
    baseTtlSeconds,
    keyTypes: key.components ?? [key.type],
    clusteringTypes: clustering.map((each) => each.type),
    clusteringReversed: clustering.map((each) => each.reversed),
    staticColumns: columns(),
    regularColumns: columns(),
  };
}
