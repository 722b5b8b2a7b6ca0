import { ProtocolError } from '#core/errors.ts';
import { QueryFlag } from './protocol.ts';

/** LOCAL_ONE; there is no level above it. */
const LAST_CONSISTENCY = 0x0a;
const UNSET_LENGTH = -2;

/**
 * Whether the parameters of a QUERY or EXECUTE, <consistency><flags>…, can be what they say, up to `end`. A server answers
 * those that can't with a protocol error and closes the connection after a few: that one must not carry the requests of
 * other clients. Makes nothing, so that each request can be checked.
 *
 * @param flagsOffset behind <consistency>
 * @returns what is wrong; undefined: nothing
 */
export function faultInParameters(
  bytes: Buffer,
  flagsOffset: number,
  end: number,
  version: number,
): string | undefined {
  let offset = flagsOffset + (version >= 5 ? 4 : 1);
  if (offset > end) return 'its parameters are missing';
  if (bytes.readUInt16BE(flagsOffset - 2) > LAST_CONSISTENCY) return 'its consistency is none';
  const flags = version >= 5 ? bytes.readInt32BE(flagsOffset) : bytes[flagsOffset]!;
  if ((flags & QueryFlag.VALUES) !== 0) {
    offset = skipValues(bytes, offset, end, version, (flags & QueryFlag.NAMES_FOR_VALUES) !== 0);
    if (offset < 0) return 'its values are cut off, or have lengths that are none';
  }
  if ((flags & QueryFlag.PAGE_SIZE) !== 0) offset += 4;
  if ((flags & QueryFlag.PAGING_STATE) !== 0) {
    if (offset + 4 > end) return 'it ends in its paging state';
    offset += 4 + Math.max(0, bytes.readInt32BE(offset));
  }
  return faultInTail(bytes, offset, end, flags, version);
}

/**
 * The same of what `timestampGap` has found to be an EXECUTE as most are: only what it does not look at.
 * @returns whether something is wrong; `faultInParameters` says what
 */
export function faultBesideValues(bytes: Buffer, flagsOffset: number, end: number, hasTimestamp: boolean): boolean {
  if (bytes.readUInt16BE(flagsOffset - 2) > LAST_CONSISTENCY) return true;
  return hasTimestamp && bytes.readInt32BE(end - 8) === -0x80000000 && bytes.readInt32BE(end - 4) === 0;
}

/** Behind the values, or behind the flags of a BATCH: [<serial_consistency>][<timestamp>][<keyspace>][<now_in_seconds>]. */
function faultInTail(bytes: Buffer, start: number, end: number, flags: number, version: number): string | undefined {
  let offset = start;
  if ((flags & QueryFlag.SERIAL_CONSISTENCY) !== 0) {
    if (offset + 2 > end) return 'it ends in its serial consistency';
    if (bytes.readUInt16BE(offset) > LAST_CONSISTENCY) return 'its serial consistency is none';
    offset += 2;
  }
  if ((flags & QueryFlag.DEFAULT_TIMESTAMP) !== 0) {
    if (offset + 8 > end) return 'it ends in its timestamp';
    if (bytes.readInt32BE(offset) === -0x80000000 && bytes.readInt32BE(offset + 4) === 0) {
      return 'its timestamp is out of bounds';
    }
    offset += 8;
  }
  if (version >= 5 && (flags & QueryFlag.KEYSPACE) !== 0) {
    if (offset + 2 > end) return 'it ends in its keyspace';
    offset += 2 + bytes.readUInt16BE(offset);
  }
  if (version >= 5 && (flags & QueryFlag.NOW_IN_SECONDS) !== 0) offset += 4;
  return offset > end ? 'it is cut off' : undefined;
}

/** Behind <n> values; -1 where they can't be values. */
function skipValues(bytes: Buffer, start: number, end: number, version: number, hasNames: boolean): number {
  // In v3 every negative length is null.
  const least = version < 4 ? Number.NEGATIVE_INFINITY : UNSET_LENGTH;
  let offset = start + 2;
  if (offset > end) return -1;
  for (let count = bytes.readUInt16BE(start); count > 0; count--) {
    if (hasNames) {
      if (offset + 2 > end) return -1;
      offset += 2 + bytes.readUInt16BE(offset);
    }
    if (offset + 4 > end) return -1;
    const length = bytes.readInt32BE(offset);
    if (length < least) return -1;
    offset += length > 0 ? 4 + length : 4;
  }
  return offset > end ? -1 : offset;
}

/**
 * The same for the whole of a BATCH: <type><n>(<kind><text or id><values>)…<consistency><flags>…
 * @param start where the message begins
 */
export function faultInBatch(bytes: Buffer, start: number, end: number, version: number): string | undefined {
  if (start + 3 > end) return 'it is cut off';
  if (bytes[start]! > 2) return 'the kind of the batch is none';
  let offset = start + 3;
  for (let count = bytes.readUInt16BE(start + 1); count > 0; count--) {
    const kind = bytes[offset++];
    const lengthBytes = kind === 0 ? 4 : 2;
    if (offset + lengthBytes > end) return 'a statement is cut off';
    if (kind !== 0 && kind !== 1) return 'a statement is neither text nor id';
    const length = kind === 0 ? bytes.readInt32BE(offset) : bytes.readUInt16BE(offset);
    if (length < 0) return 'a text has a length that is none';
    offset += lengthBytes + length;
    offset = skipValues(bytes, offset, end, version, false);
    if (offset < 0) return 'its values are cut off, or have lengths that are none';
  }
  const tail = offset + 2 + (version >= 5 ? 4 : 1);
  if (tail > end) return 'its parameters are missing';
  if (bytes.readUInt16BE(offset) > LAST_CONSISTENCY) return 'its consistency is none';
  const flags = version >= 5 ? bytes.readInt32BE(offset + 2) : bytes[offset + 2]!;
  return faultInTail(bytes, tail, end, flags, version);
}

/** @throws ProtocolError when there is a fault */
export function refuseFault(fault: string | undefined): void {
  if (fault !== undefined) throw new ProtocolError(`the request can't be read: ${fault}`);
}
