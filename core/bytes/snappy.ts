import { compressors } from 'hyparquet-compressors';
import { decodeSnappyInScratch, MAX_BLOCK_BYTES } from './block-decoders.ts';

const MAX_LENGTH_BYTES = 5;

/**
 * Decodes `input`, <varint plain length><elements>, into `output` [outputStart, outputEnd). Returns the bytes written,
 * or -1 when the input is broken or its plain length is not that of the room; may throw for large broken ones.
 *
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 */
export function decodeSnappy(input: Uint8Array, output: Uint8Array, outputStart: number, outputEnd: number): number {
  const room = outputEnd - outputStart;
  let plainBytes = 0;
  let at = 0;
  let more: number;
  do {
    if (at >= input.length || at === MAX_LENGTH_BYTES) return -1;
    more = input[at]!;
    plainBytes += (more & 0x7f) * 2 ** (7 * at++);
  } while (more >= 0x80);
  if (plainBytes !== room) return -1;
  if (input.length <= MAX_BLOCK_BYTES && room <= MAX_BLOCK_BYTES) {
    const written = decodeSnappyInScratch(input, at, input.length, output, outputStart, outputEnd);
    return written === room ? room : -1;
  }
  output.set(compressors.SNAPPY!(input, room), outputStart);
  return room;
}
