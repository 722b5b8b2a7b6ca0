import { crc32 } from 'node:zlib';

/*
 * A segment of the log of writes under way. Integers are little-endian.
 *
 *   segment = <"RSIF"><version u16 = 1><headerBytes u16><number u64><startedAtMs u64><bootId 36 characters><crc32 u32><zeros>
 *   record  = <crc32 u32><magic u16><kind u8><0 u8><bodyBytes u32><firstSequence u64><lowWater u64>
 *             <lastTimestampMicros u64><body>
 *   body of WRITES:    (<token, lower half i32><token, upper half i32><table u16><flags u8><0 u8>)…
 *   body of TABLE:     <table u16><n u16><keyspace><table name>
 *   body of STAMP:     <wallMs u64><syncedSequence u64>
 *   body of CLEAN_END: nothing; nothing is owed
 *
 * The first write of WRITES has the number firstSequence; each further one has the next, or, flagged SAME_REQUEST, the same.
 * What is below the largest lowWater is settled. The checksum covers all behind it and begins with the segment's number, so
 * that a record of an earlier use of the same file is none.
 */

export const HEADER_BYTES = 96;
export const RECORD_BYTES = 36;
export const ENTRY_BYTES = 12;
export const MAX_BODY_BYTES = 64 * 1024;

export const RecordKind = { WRITES: 1, TABLE: 2, STAMP: 3, CLEAN_END: 4 } as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

const FILE_MAGIC = 0x46495352;
const VERSION = 1;
const RECORD_MAGIC = 0x5254;
const CRC_OFFSET = 60;
const BOOT_ID_LENGTH = 36;
const HIGH = 2 ** 32;

export interface SegmentHeader {
  readonly number: number;
  readonly startedAtMs: number;
  /** Of the machine; it changes when that starts anew. */
  readonly bootId: string;
}

export interface RecordHead {
  readonly kind: RecordKind;
  readonly firstSequence: number;
  readonly lowWater: number;
  readonly lastTimestampMicros: number;
}

/** A record that was read; `body` is a view. */
export interface LogRecord extends RecordHead {
  readonly body: Buffer;
}

export function encodeSegmentHeader({ number, startedAtMs, bootId }: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32LE(FILE_MAGIC, 0);
  bytes.writeUInt16LE(VERSION, 4);
  bytes.writeUInt16LE(HEADER_BYTES, 6);
  writeLong(bytes, number, 8);
  writeLong(bytes, startedAtMs, 16);
  bytes.write(bootId.slice(0, BOOT_ID_LENGTH).padEnd(BOOT_ID_LENGTH), 24, 'latin1');
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_OFFSET)), CRC_OFFSET);
  return bytes;
}

/** undefined: it is torn, or of another version. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== FILE_MAGIC) return undefined;
  if (bytes.readUInt16LE(4) !== VERSION || bytes.readUInt16LE(6) !== HEADER_BYTES) return undefined;
  if (bytes.readUInt32LE(CRC_OFFSET) !== crc32(bytes.subarray(0, CRC_OFFSET))) return undefined;
  const bootId = bytes.toString('latin1', 24, 24 + BOOT_ID_LENGTH).trimEnd();
  return { number: readLong(bytes, 8), startedAtMs: readLong(bytes, 16), bootId };
}

/** Writes the head of a record whose body of `bodyBytes` lies behind it already. Returns the record's length. */
export function sealRecord(
  bytes: Buffer,
  bodyBytes: number,
  kind: RecordKind,
  firstSequence: number,
  lowWater: number,
  lastTimestampMicros: number,
  segment: number,
): number {
  const end = RECORD_BYTES + bodyBytes;
  bytes[4] = RECORD_MAGIC & 0xff;
  bytes[5] = RECORD_MAGIC >> 8;
  bytes[6] = kind;
  bytes[7] = 0;
  writeInt(bytes, bodyBytes, 8);
  writeLong(bytes, firstSequence, 12);
  writeLong(bytes, lowWater, 20);
  writeLong(bytes, lastTimestampMicros, 28);
  writeInt(bytes, crc32(bytes.subarray(4, end), segment >>> 0), 0);
  return end;
}

export function encodeTableBody(index: number, keyspace: string, table: string): Buffer {
  const name = Buffer.from(keyspace);
  const head = Buffer.alloc(4);
  head.writeUInt16LE(index, 0);
  head.writeUInt16LE(name.length, 2);
  return Buffer.concat([head, name, Buffer.from(table)]);
}

export function decodeTableBody(body: Buffer): { index: number; keyspace: string; table: string } {
  const end = 4 + body.readUInt16LE(2);
  return { index: body.readUInt16LE(0), keyspace: body.toString('utf8', 4, end), table: body.toString('utf8', end) };
}

export function encodeStampBody(wallMs: number, syncedSequence: number): Buffer {
  const body = Buffer.alloc(16);
  writeLong(body, wallMs, 0);
  writeLong(body, syncedSequence, 8);
  return body;
}

export function decodeStampBody(body: Buffer): { wallMs: number; syncedSequence: number } {
  return { wallMs: readLong(body, 0), syncedSequence: readLong(body, 8) };
}

/** The records of a segment in order, up to the first that is torn or was never written. */
export function* recordsIn(bytes: Buffer, segment: number): Generator<LogRecord> {
  let at = HEADER_BYTES;
  while (at + RECORD_BYTES <= bytes.length) {
    const kind = bytes[at + 6] as RecordKind;
    const bodyBytes = bytes.readUInt32LE(at + 8);
    const end = at + RECORD_BYTES + bodyBytes;
    if (bytes.readUInt16LE(at + 4) !== RECORD_MAGIC || bodyBytes > MAX_BODY_BYTES || end > bytes.length) return;
    if (crc32(bytes.subarray(at + 4, end), segment >>> 0) !== bytes.readUInt32LE(at)) return;
    yield {
      kind,
      firstSequence: readLong(bytes, at + 12),
      lowWater: readLong(bytes, at + 20),
      lastTimestampMicros: readLong(bytes, at + 28),
      body: bytes.subarray(at + RECORD_BYTES, end),
    };
    at = end;
  }
}

function writeInt(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** A safe integer as u64. */
function writeLong(bytes: Buffer, value: number, at: number): void {
  writeInt(bytes, value >>> 0, at);
  writeInt(bytes, Math.floor(value / HIGH), at + 4);
}

function readLong(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * HIGH;
}
