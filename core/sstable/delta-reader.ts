import { type ByteReader, MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { type Deletion, NO_DELETION_TIME } from '#core/model/row.ts';
import type { SerializationHeader } from './serialization-header.ts';
import type { SSTableVersion } from './sstable-version.ts';

/** Of `Deletion.timestampMicros`: nothing is deleted. */
const LIVE = -(2n ** 63n);
const FIRST_BYTE_OF_WIDE_VINT = 0xfe;
const IS_LIVE = 0x80;

/** Reads times: deltas to the header's bases inside of partitions, absolute ones at their head. */
export class DeltaReader {
  readonly #baseTimestamp: bigint;
  readonly #baseTimestampNumber: number;
  readonly #baseLocalDeletionTime: number;
  readonly #baseTtl: number;
  readonly #isUnsigned: boolean;
  // Neighbouring rows often share their write time; one bigint then serves them all.
  #lastDelta = -1;
  #lastTimestamp = 0n;

  constructor(header: SerializationHeader, version: SSTableVersion) {
    this.#baseTimestamp = header.baseTimestampMicros;
    const base = Number(header.baseTimestampMicros);
    this.#baseTimestampNumber = Number.isSafeInteger(base) ? base : Number.NaN;
    this.#baseLocalDeletionTime = header.baseLocalDeletionTimeSeconds;
    this.#baseTtl = header.baseTtlSeconds;
    this.#isUnsigned = version.hasUnsignedDeletionTime;
  }

  /** ts = base + vint, modulo 2^64, signed. Microseconds. */
  readTimestamp(reader: ByteReader): bigint {
    if (reader.offset < reader.limit && reader.bytes[reader.offset]! >= FIRST_BYTE_OF_WIDE_VINT) {
      return BigInt.asIntN(64, this.#baseTimestamp + reader.readVint64());
    }
    const delta = reader.readVint();
    if (delta === this.#lastDelta) return this.#lastTimestamp;
    const sum = this.#baseTimestampNumber + delta;
    this.#lastTimestamp = Number.isSafeInteger(sum)
      ? BigInt(sum)
      : BigInt.asIntN(64, this.#baseTimestamp + BigInt(delta));
    this.#lastDelta = delta;
    return this.#lastTimestamp;
  }

  /** ttl = base + vint. Seconds. */
  readTtl(reader: ByteReader): number {
    return this.#baseTtl + reader.readVint();
  }

  /** ldt = base + (vint as i32). Seconds since the epoch, or NO_DELETION_TIME. */
  readLocalDeletionTime(reader: ByteReader): number {
    const start = reader.offset;
    const isWide = start < reader.limit && reader.bytes[start]! >= FIRST_BYTE_OF_WIDE_VINT;
    const delta = isWide ? Number(BigInt.asIntN(32, reader.readVint64())) : reader.readVint() | 0;
    return this.#localDeletionTime(this.#baseLocalDeletionTime + delta, start);
  }

  /** A deletion of a row, of a multi-cell column or of a range: ts, then ldt. Undefined when nothing is deleted. */
  readDeletion(reader: ByteReader): Deletion | undefined {
    const timestampMicros = this.readTimestamp(reader);
    if (timestampMicros === LIVE) {
      // Of a multi-cell column without a deletion, beside one that has one. What stands for "no time" differs:
      // Cassandra 5.0 writes 0xffffffff into nb files, where it would be a negative time.
      reader.readVint64();
      return undefined;
    }
    return { timestampMicros, localDeletionTimeSeconds: this.readLocalDeletionTime(reader) };
  }

  /**
   * The deletion of a whole partition. To version n: i32 ldt, i64 ts. Since oa and da: u8 0x80 when live, else i64 ts,
   * u32 ldt.
   *
   * @see org.apache.cassandra.db.DeletionTime.Serializer, .LegacySerializer
   */
  readPartitionDeletion(reader: ByteReader): Deletion | undefined {
    if (this.#isUnsigned) {
      if (reader.offset < reader.limit && (reader.bytes[reader.offset]! & IS_LIVE) !== 0) {
        const flags = reader.readUint8();
        if (flags !== IS_LIVE)
          throw new MalformedBytesError(reader.offset - 1, `deletion flags ${flags} are not known`);
        return undefined;
      }
      const timestampMicros = reader.readInt64();
      const start = reader.offset;
      return {
        timestampMicros,
        localDeletionTimeSeconds: this.#localDeletionTime(reader.readUint32(), start),
      };
    }
    const start = reader.offset;
    const seconds = reader.readInt32();
    const high = reader.readInt32();
    const low = reader.readUint32();
    // LIVE, which nearly every partition has, without a bigint.
    if (high === -0x80000000 && low === 0) return undefined;
    const timestampMicros = (BigInt(high) << 32n) | BigInt(low);
    return { timestampMicros, localDeletionTimeSeconds: this.#localDeletionTime(seconds, start) };
  }

  #localDeletionTime(sum: number, offset: number): number {
    if (this.#isUnsigned) {
      const seconds = sum >>> 0;
      return seconds === 0xffffffff ? NO_DELETION_TIME : seconds;
    }
    const seconds = sum | 0;
    if (seconds < 0) {
      throw new MalformedBytesError(
        offset,
        `the local deletion time ${seconds} is negative, which a TTL beyond 2038 caused before 3.11.2 (remedy: nodetool scrub --reinsert-overflowed-ttl)`,
      );
    }
    return seconds === 0x7fffffff ? NO_DELETION_TIME : seconds;
  }
}
