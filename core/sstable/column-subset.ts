import { type ByteReader, MalformedBytesError } from '#core/bytes/byte-reader.ts';

const BITMAP_COLUMNS = 64;
const TWO_32 = 2 ** 32;
/** First byte of the vints that have more than one. */
const MULTI_BYTE = 0x80;

/** The subsets of one file's columns. Neighbouring rows mostly have the same one, and then share its array. */
export class ColumnSubsets {
  readonly #count: number;
  #lastBitmap = -1;
  #last: readonly number[] | undefined;

  constructor(count: number) {
    this.#count = count;
  }

  /** @see readColumnSubset */
  read(reader: ByteReader): readonly number[] | undefined {
    const bitmap = this.#count < BITMAP_COLUMNS && reader.remaining > 0 ? reader.bytes[reader.offset]! : MULTI_BYTE;
    if (bitmap >= MULTI_BYTE) return readColumnSubset(reader, this.#count);
    if (bitmap === this.#lastBitmap) reader.skip(1);
    else {
      this.#last = readColumnSubset(reader, this.#count);
      this.#lastBitmap = bitmap;
    }
    return this.#last;
  }
}

/**
 * Which of `count` columns a row has, as ascending indexes; undefined: all of them.
 * ```
 * less than 64 columns: vint bitmap, bit i set = column i is absent
 * else: vint absent; when the present ones are less than half: vint index of each, else vint index of each absent one
 * ```
 *
 * @see org.apache.cassandra.db.Columns.Serializer#deserializeSubset
 */
export function readColumnSubset(reader: ByteReader, count: number): readonly number[] | undefined {
  const start = reader.offset;
  if (count < BITMAP_COLUMNS) {
    const [low, high] = readHalves(reader);
    if (low === 0 && high === 0) return undefined;
    const present: number[] = [];
    for (let index = 0; index < count; index++) {
      const isAbsent = index < 32 ? (low >>> index) & 1 : (high >>> (index - 32)) & 1;
      if (isAbsent === 0) present.push(index);
    }
    return present;
  }
  const absent = reader.readVint();
  if (absent === 0) return undefined;
  const presentCount = count - absent;
  if (presentCount < 0) throw new MalformedBytesError(start, `${absent} of ${count} columns can not be absent`);
  if (presentCount < Math.floor(count / 2)) return readIndexes(reader, presentCount, count);
  const missing = new Set(readIndexes(reader, absent, count));
  return Array.from({ length: count }, (_, index) => index).filter((index) => !missing.has(index));
}

function readHalves(reader: ByteReader): [low: number, high: number] {
  if (reader.offset < reader.limit && reader.bytes[reader.offset]! >= 0xfe) {
    const wide = reader.readVint64();
    return [Number(wide & 0xffffffffn), Number(wide >> 32n)];
  }
  const bitmap = reader.readVint();
  return [bitmap % TWO_32, Math.floor(bitmap / TWO_32)];
}

function readIndexes(reader: ByteReader, length: number, count: number): number[] {
  let previous = -1;
  return Array.from({ length }, () => {
    const start = reader.offset;
    const index = reader.readVint();
    if (index <= previous || index >= count) throw new MalformedBytesError(start, `column ${index} can not be here`);
    previous = index;
    return index;
  });
}
