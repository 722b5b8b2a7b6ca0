import type { BoundValue } from '#core/model/cql-request.ts';

/** Writes the notations of section 3 into a growing buffer. */
export class BodyWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(expectedBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(expectedBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written; shares memory with the writer, which must not be used again. */
  toBuffer(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #room(bytes: number): number {
    const start = this.#length;
    const end = start + bytes;
    if (end > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, start);
      this.#buffer = larger;
    }
    this.#length = end;
    return start;
  }

  byte(value: number): this {
    const at = this.#room(1);
    this.#buffer[at] = value;
    return this;
  }

  short(value: number): this {
    const at = this.#room(2);
    this.#buffer.writeUInt16BE(value, at);
    return this;
  }

  int(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeInt32BE(value, at);
    return this;
  }

  long(value: bigint): this {
    const at = this.#room(8);
    this.#buffer.writeBigInt64BE(value, at);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  string(text: string): this {
    const length = Buffer.byteLength(text);
    this.short(length);
    const at = this.#room(length);
    this.#buffer.write(text, at);
    return this;
  }

  longString(text: string): this {
    const length = Buffer.byteLength(text);
    this.int(length);
    const at = this.#room(length);
    this.#buffer.write(text, at);
    return this;
  }

  shortBytes(bytes: Uint8Array): this {
    return this.short(bytes.length).raw(bytes);
  }

  bytes(bytes: Uint8Array | null): this {
    return bytes === null ? this.int(-1) : this.int(bytes.length).raw(bytes);
  }

  /** [value]: null is -1, undefined ("unset") is -2. */
  value(value: BoundValue): this {
    return value === undefined ? this.int(-2) : this.bytes(value);
  }

  stringList(list: readonly string[]): this {
    this.short(list.length);
    for (const text of list) this.string(text);
    return this;
  }

  stringMap(map: Iterable<readonly [string, string]>): this {
    const entries = [...map];
    this.short(entries.length);
    for (const [key, value] of entries) this.string(key).string(value);
    return this;
  }

  stringMultimap(map: Iterable<readonly [string, readonly string[]]>): this {
    const entries = [...map];
    this.short(entries.length);
    for (const [key, list] of entries) this.string(key).stringList(list);
    return this;
  }

  /** [inet] from the bytes of an address. */
  inet(address: Uint8Array, port: number): this {
    return this.byte(address.length).raw(address).int(port);
  }
}
