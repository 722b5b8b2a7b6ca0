import { ProtocolError } from '#core/errors.ts';

/** A value slot of a request: bytes, null (length -1) or undefined for "unset" (length -2, v4 and later). */
export type WireValue = Buffer | null | undefined;

/** Reads the notations of section 3 from a message body, in order. Byte values share memory with the body. */
export class BodyReader {
  readonly body: Buffer;
  offset: number;

  constructor(body: Buffer, offset = 0) {
    this.body = body;
    this.offset = offset;
  }

  get remaining(): number {
    return this.body.length - this.offset;
  }

  /** Moves over `length` bytes and says where they began. @throws ProtocolError at the end of the body */
  skip(length: number): number {
    const start = this.offset;
    if (length < 0 || length > this.body.length - start) {
      throw new ProtocolError(`a message body ends at byte ${this.body.length}, inside a field at byte ${start}`, {
        context: { offset: start, length },
      });
    }
    this.offset = start + length;
    return start;
  }

  byte(): number {
    return this.body[this.skip(1)]!;
  }

  short(): number {
    return this.body.readUInt16BE(this.skip(2));
  }

  int(): number {
    return this.body.readInt32BE(this.skip(4));
  }

  long(): bigint {
    return this.body.readBigInt64BE(this.skip(8));
  }

  raw(length: number): Buffer {
    const start = this.skip(length);
    return this.body.subarray(start, start + length);
  }

  string(): string {
    const length = this.short();
    const start = this.skip(length);
    return this.body.toString('utf8', start, start + length);
  }

  longString(): string {
    const length = this.int();
    const start = this.skip(length);
    return this.body.toString('utf8', start, start + length);
  }

  shortBytes(): Buffer {
    return this.raw(this.short());
  }

  /** [bytes]: null for a negative length. */
  bytes(): Buffer | null {
    const length = this.int();
    return length < 0 ? null : this.raw(length);
  }

  /** [value]: null for -1, undefined for -2. */
  value(): WireValue {
    const length = this.int();
    if (length >= 0) return this.raw(length);
    if (length === -1) return null;
    if (length === -2) return undefined;
    throw new ProtocolError(`a value has the length ${length}`);
  }

  /** Moves over one [value] or [bytes]. */
  skipValue(): void {
    const length = this.int();
    if (length > 0) this.skip(length);
  }

  stringList(): string[] {
    const list: string[] = [];
    for (let count = this.short(); count > 0; count--) list.push(this.string());
    return list;
  }

  stringMap(): Map<string, string> {
    const map = new Map<string, string>();
    for (let count = this.short(); count > 0; count--) map.set(this.string(), this.string());
    return map;
  }

  stringMultimap(): Map<string, string[]> {
    const map = new Map<string, string[]>();
    for (let count = this.short(); count > 0; count--) map.set(this.string(), this.stringList());
    return map;
  }

  bytesMap(): Map<string, Buffer | null> {
    const map = new Map<string, Buffer | null>();
    for (let count = this.short(); count > 0; count--) map.set(this.string(), this.bytes());
    return map;
  }

  /** [inet]: address in text form and port. */
  inet(): { address: string; port: number } {
    const address = formatInet(this.raw(this.byte()));
    return { address, port: this.int() };
  }
}

/** An address of 4 or 16 bytes as text; the 16-byte form is not shortened beyond leading zeros of a group. */
export function formatInet(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw new ProtocolError(`an address has ${bytes.length} bytes`);
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) groups.push(((bytes[index]! << 8) | bytes[index + 1]!).toString(16));
  return groups.join(':');
}
