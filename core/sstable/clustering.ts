import type { ByteReader } from '#core/bytes/byte-reader.ts';
import { MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { Clustering, NO_CLUSTERING } from '#core/model/row.ts';
import { VARIABLE_LENGTH } from '#core/model/value-length.ts';

const VALUES_PER_HEADER = 32;
/** A header that is one byte: no value is empty or null. */
const ALL_PRESENT = 0;

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
  const offsets = new Array<number>(2 * count);
  if (count <= VALUES_PER_HEADER && reader.bytes[reader.offset] === ALL_PRESENT) {
    reader.skip(1);
    for (let index = 0; index < count; index++) readValue(reader, lengths[index]!, offsets, index);
    return new Clustering(reader.bytes, offsets);
  }
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
      readValue(reader, lengths[index]!, offsets, index);
    } else {
      const at = (bits & 2) !== 0 ? -1 : reader.offset;
      offsets[2 * index] = at;
      offsets[2 * index + 1] = at;
    }
    if (slot === VALUES_PER_HEADER - 1) wideHeader = undefined;
  }
  return new Clustering(reader.bytes, offsets);
}

function readValue(reader: ByteReader, length: number, offsets: number[], index: number): void {
  offsets[2 * index] = reader.skip(length === VARIABLE_LENGTH ? reader.readVint() : length);
  offsets[2 * index + 1] = reader.offset;
}
