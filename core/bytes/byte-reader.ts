/** A decoder wanted more bytes than there are. Whoever knows the file, or can read on, turns it into something better. */
export class EndOfBytesError extends RangeError {
  override readonly name = 'EndOfBytesError';
  readonly offset: number;

  constructor(offset: number, wanted: number, limit: number) {
    super(`${wanted} bytes wanted at offset ${offset}, which ends at ${limit}`);
    this.offset = offset;
  }
}

/** A length or number that came from outside is not one that can be. */
export class MalformedBytesError extends RangeError {
  override readonly name = 'MalformedBytesError';
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

const TEXT_DECODER = new TextDecoder('utf-8');

/**
 * A big-endian cursor over bytes. Every read is checked against `limit`; views share the memory they were read from.
 * Numbers are put together by hand: a DataView is consulted for 64-bit integers and floats only.
 *
 * @throws EndOfBytesError from every read that would cross `limit`; `offset` is then unspecified
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  /** Where the next read starts. */
  offset: number;
  /** Exclusive. */
  limit: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, offset = 0, limit: number = bytes.length) {
    this.bytes = bytes;
    this.offset = offset;
    this.limit = limit;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.limit - this.offset;
  }

  /** Moves over `length` bytes and says where they began. */
  skip(length: number): number {
    const start = this.offset;
    if (!(length >= 0) || start + length > this.limit) throw new EndOfBytesError(start, length, this.limit);
    this.offset = start + length;
    return start;
  }

  readUint8(): number {
    const start = this.offset;
    if (start >= this.limit) throw new EndOfBytesError(start, 1, this.limit);
    this.offset = start + 1;
    return this.bytes[start]!;
  }

  readInt8(): number {
    return (this.readUint8() << 24) >> 24;
  }

  readUint16(): number {
    const start = this.skip(2);
    return (this.bytes[start]! << 8) | this.bytes[start + 1]!;
  }

  readInt16(): number {
    return (this.readUint16() << 16) >> 16;
  }

  readInt32(): number {
    const start = this.skip(4);
    const bytes = this.bytes;
    return (bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!;
  }

  readUint32(): number {
    return this.readInt32() >>> 0;
  }

  readInt64(): bigint {
    return this.#view.getBigInt64(this.skip(8));
  }

  readUint64(): bigint {
    return this.#view.getBigUint64(this.skip(8));
  }

  /** An i64 that must be a length or position. @throws MalformedBytesError when it is negative or above 2^53 */
  readPosition(): number {
    const start = this.offset;
    const value = Number(this.readInt64());
    if (value < 0 || !Number.isSafeInteger(value)) {
      throw new MalformedBytesError(start, `${value} can not be a length or position`);
    }
    return value;
  }

  readFloat32(): number {
    return this.#view.getFloat32(this.skip(4));
  }

  readFloat64(): number {
    return this.#view.getFloat64(this.skip(8));
  }

  /** A view of the next `length` bytes; no copy. */
  readBytes(length: number): Uint8Array {
    const start = this.skip(length);
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length);
  }

  /** u16 length, then bytes. */
  readBytes16(): Uint8Array {
    return this.readBytes(this.readUint16());
  }

  /** i32 length, then bytes; undefined when the length is negative (null). */
  readBytes32(): Uint8Array | undefined {
    const length = this.readInt32();
    return length < 0 ? undefined : this.readBytes(length);
  }

  /** Unsigned vint length, then bytes. */
  readBytesV(): Uint8Array {
    return this.readBytes(this.readVint());
  }

  /** `length` bytes of UTF-8. */
  readText(length: number): string {
    return TEXT_DECODER.decode(this.readBytes(length));
  }

  /**
   * An unsigned vint as a number: leading 1 bits of the first byte = number of bytes that follow.
   *
   * @throws MalformedBytesError above 2^53 − 1; use `readVint64` where that is legal
   * @see org.apache.cassandra.utils.vint.VIntCoding
   */
  readVint(): number {
    const start = this.offset;
    if (start >= this.limit) throw new EndOfBytesError(start, 1, this.limit);
    const bytes = this.bytes;
    const first = bytes[start]!;
    if (first < 0x80) {
      this.offset = start + 1;
      return first;
    }
    if (first < 0xc0 && start + 2 <= this.limit) {
      this.offset = start + 2;
      return ((first & 0x3f) << 8) | bytes[start + 1]!;
    }
    const extra = Math.clz32(~first & 0xff) - 24;
    const end = start + 1 + extra;
    if (end > this.limit) throw new EndOfBytesError(start, 1 + extra, this.limit);
    if (extra >= 7) {
      const value = this.readVint64();
      if (value > MAX_SAFE) throw new MalformedBytesError(start, `the vint ${value} can not be a length or count`);
      return Number(value);
    }
    // Up to 31 bits stay integers; longer ones go on as a float, exact below 2^53.
    let value = first & (0xff >> extra);
    let at = start + 1;
    const integerEnd = extra <= 3 ? end : start + 4;
    while (at < integerEnd) value = (value << 8) | bytes[at++]!;
    while (at < end) value = value * 256 + bytes[at++]!;
    this.offset = end;
    return value;
  }

  /** An unsigned vint of up to 64 bits. */
  readVint64(): bigint {
    const start = this.offset;
    if (start >= this.limit) throw new EndOfBytesError(start, 1, this.limit);
    const first = this.bytes[start]!;
    if (first < 0xfe) return BigInt(this.readVint());
    if (first === 0xfe) return this.#view.getBigUint64(this.skip(8)) & 0xff_ffff_ffff_ffffn;
    this.offset = start + 1;
    return this.#view.getBigUint64(this.skip(8));
  }

  /** A zigzag vint. @throws MalformedBytesError outside ±2^53 */
  readSignedVint(): number {
    const start = this.offset;
    const zigzag = this.readVint64();
    const value = Number((zigzag >> 1n) ^ -(zigzag & 1n));
    if (!Number.isSafeInteger(value)) throw new MalformedBytesError(start, `the vint ${value} is too large`);
    return value;
  }
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
