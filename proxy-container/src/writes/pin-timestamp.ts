import { HEADER_BYTES } from '#core/cql/frame.ts';
import { QueryFlag } from '#core/cql/protocol.ts';

/** What a default timestamp adds to a frame. */
export const TIMESTAMP_BYTES = 8;
/** What a now_in_seconds adds to it. */
export const NOW_BYTES = 4;

/**
 * Puts a default timestamp into a frame at [start, end) of `bytes`, and the flag that says so; `TIMESTAMP_BYTES` behind it
 * are free. Microseconds as a safe integer, so that no bigint is made.
 * @param flagsOffset of the request's parameters, in `bytes`
 * @param gap where the timestamp belongs, in `bytes`
 */
export function pinTimestamp(
  bytes: Buffer,
  start: number,
  end: number,
  flagsOffset: number,
  gap: number,
  version: number,
  micros: number,
): void {
  if (gap < end) bytes.copyWithin(gap + TIMESTAMP_BYTES, gap, end);
  bytes.writeUInt32BE(Math.floor(micros / 2 ** 32), gap);
  bytes.writeUInt32BE(micros % 2 ** 32, gap + 4);
  // The flag is in the lowest byte, which is the last of four in v5.
  const flagsByte = version >= 5 ? flagsOffset + 3 : flagsOffset;
  bytes[flagsByte] = bytes[flagsByte]! | QueryFlag.DEFAULT_TIMESTAMP;
  bytes.writeInt32BE(end - start + TIMESTAMP_BYTES - HEADER_BYTES, start + 5);
}

/**
 * The same with the instant from which TTLs count, in v5 only; `NOW_BYTES` are free. Seconds since the epoch.
 * @param gap where <now_in_seconds> belongs, in `bytes`
 */
export function pinNow(
  bytes: Buffer,
  start: number,
  end: number,
  flagsOffset: number,
  gap: number,
  nowInSeconds: number,
): void {
  if (gap < end) bytes.copyWithin(gap + NOW_BYTES, gap, end);
  bytes.writeUInt32BE(nowInSeconds, gap);
  // The flag is in the second byte of four.
  bytes[flagsOffset + 2] = bytes[flagsOffset + 2]! | (QueryFlag.NOW_IN_SECONDS >> 8);
  bytes.writeInt32BE(end - start + NOW_BYTES - HEADER_BYTES, start + 5);
}

/** Where the times of a request belong; undefined: it has one, or needs none. */
export interface TimePlaces {
  readonly flagsOffset: number;
  readonly timestampOffset: number | undefined;
  readonly nowOffset: number | undefined;
}

/** A new frame with what is missing. */
export function withTimes(
  frame: Buffer,
  version: number,
  { flagsOffset, timestampOffset, nowOffset }: TimePlaces,
  micros: number,
  nowInSeconds: number,
): Buffer {
  let end = frame.length;
  const more = (timestampOffset === undefined ? 0 : TIMESTAMP_BYTES) + (nowOffset === undefined ? 0 : NOW_BYTES);
  const pinned = Buffer.allocUnsafe(end + more);
  frame.copy(pinned);
  if (nowOffset !== undefined) {
    pinNow(pinned, 0, end, flagsOffset, nowOffset, nowInSeconds);
    end += NOW_BYTES;
  }
  // It lies before the other one, whose place was that of the frame as it was.
  if (timestampOffset !== undefined) pinTimestamp(pinned, 0, end, flagsOffset, timestampOffset, version, micros);
  return pinned;
}
