import { HEADER_BYTES } from '#core/cql/frame.ts';
import { QueryFlag } from '#core/cql/protocol.ts';

/** What a default timestamp adds to a frame. */
export const TIMESTAMP_BYTES = 8;

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
