import { inflateRawSync } from 'node:zlib';
import { MalformedBytesError } from './byte-reader.ts';

/** End of central directory record: signature 4, …, entries in all 2 (at 10), size 4, offset 4 (at 16), comment. */
const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 65_535;
/** Central directory header: …, method 2 (at 10), sizes (at 20 and 24), lengths of name, extra, comment (at 28), offset (at 42). */
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
/** Local file header: …, lengths of name and extra field (at 26), then both, then the data. */
const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_BYTES = 30;
const STORED = 0;
const DEFLATED = 8;

/**
 * The files of a small zip archive by their names.
 * @param maxFileBytes what one file may have, unpacked
 * @throws MalformedBytesError, RangeError when it is no archive, or one that is encrypted or too large
 * @see APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16
 */
export function readZip(bytes: Buffer, maxFileBytes: number): Map<string, Buffer> {
  const end = endOf(bytes);
  const files = new Map<string, Buffer>();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    if (bytes.readUInt32LE(at) !== ENTRY_SIGNATURE) throw new MalformedBytesError(at, 'the list of files is broken');
    const nameBytes = bytes.readUInt16LE(at + 28);
    const name = bytes.toString('utf8', at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes);
    files.set(name, readFileAt(bytes, at, maxFileBytes));
    at += ENTRY_BYTES + nameBytes + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return files;
}

/** It lies at the end, before a comment of unknown length. */
function endOf(bytes: Buffer): number {
  const last = bytes.length - END_BYTES;
  for (let at = last; at >= Math.max(0, last - MAX_COMMENT_BYTES); at--) {
    if (bytes.readUInt32LE(at) === END_SIGNATURE) return at;
  }
  throw new MalformedBytesError(0, 'this is no zip archive');
}

function readFileAt(bytes: Buffer, entry: number, maxFileBytes: number): Buffer {
  const isEncrypted = (bytes.readUInt16LE(entry + 8) & 1) === 1;
  const method = bytes.readUInt16LE(entry + 10);
  const packedBytes = bytes.readUInt32LE(entry + 20);
  const fileBytes = bytes.readUInt32LE(entry + 24);
  const local = bytes.readUInt32LE(entry + 42);
  if (isEncrypted || (method !== STORED && method !== DEFLATED)) {
    throw new MalformedBytesError(entry, 'a file is encrypted or packed in a way that is not known');
  }
  if (fileBytes > maxFileBytes) throw new MalformedBytesError(entry, `a file has more than ${maxFileBytes} bytes`);
  if (bytes.readUInt32LE(local) !== LOCAL_SIGNATURE)
    throw new MalformedBytesError(local, 'a file is not where it should be');
  const start = local + LOCAL_BYTES + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  if (start + packedBytes > bytes.length) throw new MalformedBytesError(start, 'a file is cut off');
  const packed = bytes.subarray(start, start + packedBytes);
  const file = method === STORED ? packed : inflateRawSync(packed, { maxOutputLength: Math.max(1, fileBytes) });
  if (file.length !== fileBytes) throw new MalformedBytesError(start, 'a file has another length than it says');
  return file;
}
