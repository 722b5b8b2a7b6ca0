import type { ByteReader } from '#core/bytes/byte-reader.ts';
import { MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { Clustering, NO_CLUSTERING } from '#core/model/row.ts';
import { VARIABLE_LENGTH } from '#core/model/value-length.ts';

const VALUES_PER_HEADER = 32;

/**
 * Values of a clustering or of a bound's prefix:
 * ```
 * for every 32 values or less: vint header, 2 bits each (lowest first): 00 present, 01 empty, 10 null
 * the present values: fixed-length types raw, others vint length and bytes
 * ```
 *
 * @param lengths of the clustering columns, from `fixedLengthOf`
 * @param count how many values there are; none has no header either
 * @see org.apache.cassandra.db.ClusteringPrefix.Serializer
 */
export function readClusteringValues(reader: ByteReader, lengths: readonly number[], count: number): Clustering {
  if (count === 0) return NO_CLUSTERING;
  if (count > lengths.length) {
    throw new MalformedBytesError(
      reader.offset,
      `${count} clustering values, but ${lengths.length} clustering columns`,
    );
  }
  const offsets: number[] = [];
  let header = 0;
  let wideHeader: bigint | undefined;
  for (let index = 0; index < count; index++) {
    const slot = index % VALUES_PER_HEADER;
    if (slot === 0) {
      // 64 bits when 32 values are there; nobody has that many, so the usual case stays a small number.
      if (count - index > 15) wideHeader = reader.readVint64();
      else header = reader.readVint();
    }
    const bits = wideHeader === undefined ? (header >>> (2 * slot)) & 3 : Number((wideHeader >> BigInt(2 * slot)) & 3n);
    if (bits === 0) {
      const length = lengths[index]!;
      offsets.push(reader.skip(length === VARIABLE_LENGTH ? reader.readVint() : length), reader.offset);
    } else if ((bits & 2) !== 0) {
      offsets.push(-1, -1);
    } else {
      offsets.push(reader.offset, reader.offset);
    }
    if (slot === VALUES_PER_HEADER - 1) wideHeader = undefined;
  }
  return new Clustering(reader.bytes, offsets);
}
