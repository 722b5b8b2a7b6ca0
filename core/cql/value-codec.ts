import { ProtocolError } from '#core/errors.ts';
import { formatInet } from './body-reader.ts';

/** Bytes of values that the product itself reads and writes: system tables, generated values, filter rules. */

export function encodeText(text: string): Buffer {
  return Buffer.from(text);
}

export function decodeText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

export function encodeInt(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}

export function decodeInt(bytes: Uint8Array): number {
  if (bytes.length !== 4) throw new ProtocolError(`an int has ${bytes.length} bytes`);
  return view(bytes).getInt32(0);
}

/** bigint, timestamp (ms since the epoch), counter and time (ns since midnight) have the same form. */
export function encodeBigint(value: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

export function decodeBigint(bytes: Uint8Array): bigint {
  if (bytes.length !== 8) throw new ProtocolError(`a bigint has ${bytes.length} bytes`);
  return view(bytes).getBigInt64(0);
}

/** @throws ProtocolError when the text is no UUID */
export function encodeUuid(text: string): Buffer {
  const hex = text.replaceAll('-', '');
  if (!/^[0-9a-fA-F]{32}$/.test(hex)) throw new ProtocolError('a UUID must have 32 hexadecimal digits');
  return Buffer.from(hex, 'hex');
}

export function decodeUuid(bytes: Uint8Array): string {
  if (bytes.length !== 16) throw new ProtocolError(`a UUID has ${bytes.length} bytes`);
  const hex = Buffer.from(bytes).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** date: days since the epoch, shifted so that the epoch is 2^31. */
export function encodeDate(daysSinceEpoch: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(daysSinceEpoch + 2 ** 31);
  return bytes;
}

/** The text of an inet value. */
export function decodeInet(bytes: Uint8Array): string {
  return formatInet(bytes);
}

/** The 4 or 16 bytes of an address in text form. @throws ProtocolError when it is none */
export function encodeInet(address: string): Buffer {
  if (/^\d+(\.\d+){3}$/.test(address)) {
    const parts = address.split('.').map(Number);
    if (parts.every((part) => part <= 255)) return Buffer.from(parts);
  }
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const fill = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = fill < 0 ? [] : [...left, ...new Array<string>(fill).fill('0'), ...right];
  if (groups.length !== 8 || !groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) {
    throw new ProtocolError(`'${address}' is not an IP address`);
  }
  return Buffer.from(groups.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]));
}

/** list and set: <count [int]>(<length [int]><element>)*. null elements do not occur. */
export function encodeList(elements: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = [encodeInt(elements.length)];
  for (const element of elements) parts.push(encodeInt(element.length), element);
  return Buffer.concat(parts);
}

export function decodeList(bytes: Uint8Array): Uint8Array[] {
  return readElements(bytes);
}

/** map: <count [int]>(<key><value>)*, each with its length. */
export function encodeMap(entries: Iterable<readonly [Uint8Array, Uint8Array]>): Buffer {
  const list = [...entries];
  const parts: Uint8Array[] = [encodeInt(list.length)];
  for (const [key, value] of list) parts.push(encodeInt(key.length), key, encodeInt(value.length), value);
  return Buffer.concat(parts);
}

function readElements(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length < 4) throw new ProtocolError('a collection is shorter than its count');
  const data = view(bytes);
  const count = data.getInt32(0);
  // Each element takes at least its length field.
  if (count < 0 || count * 4 > bytes.length - 4) throw new ProtocolError(`a collection announces ${count} elements`);
  const elements: Uint8Array[] = [];
  let offset = 4;
  for (let index = 0; index < count; index++) {
    const length = bytes.length - offset >= 4 ? data.getInt32(offset) : -1;
    offset += 4;
    if (length < 0 || length > bytes.length - offset) throw new ProtocolError('a collection ends inside an element');
    elements.push(bytes.subarray(offset, offset + length));
    offset += length;
  }
  return elements;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
