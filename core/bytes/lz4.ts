import { decodeLz4InScratch, MAX_BLOCK_BYTES } from './block-decoders.ts';

/**
 * LZ4 block format: sequences of <token: 4 bits literal length, 4 bits match length - 4><more literal length>
 * <literals><2 bytes offset, little-endian><more match length>; the last sequence ends after its literals.
 * @see https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */
const MIN_MATCH = 4;
/** The last match must start at least this far from the end of a block, and the last 5 bytes are literals. */
const MATCH_FREE_TAIL = 12;
const LITERAL_TAIL = 5;

/**
 * Decodes the block in `input` [inputStart, inputEnd) into `output` [outputStart, outputEnd).
 * Returns the bytes written, or -1 when the block is broken or does not fit: which error that is, the caller knows.
 */
export function decodeLz4Block(
  input: Uint8Array,
  inputStart: number,
  inputEnd: number,
  output: Uint8Array,
  outputStart: number,
  outputEnd: number,
): number {
  if (inputEnd - inputStart > MAX_BLOCK_BYTES || outputEnd - outputStart > MAX_BLOCK_BYTES) {
    return decodeLargeBlock(input, inputStart, inputEnd, output, outputStart, outputEnd);
  }
  return decodeLz4InScratch(input, inputStart, inputEnd, output, outputStart, outputEnd);
}

/** Byte by byte where the bytes lie: slower, but without two more copies of a large block. */
function decodeLargeBlock(
  input: Uint8Array,
  inputStart: number,
  inputEnd: number,
  output: Uint8Array,
  outputStart: number,
  outputEnd: number,
): number {
  let from = inputStart;
  let to = outputStart;
  while (from < inputEnd) {
    const token = input[from++]!;
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (from >= inputEnd) return -1;
        more = input[from++]!;
        literals += more;
      } while (more === 255);
    }
    if (literals > inputEnd - from || literals > outputEnd - to) return -1;
    if (literals > 24) {
      output.set(input.subarray(from, from + literals), to);
      from += literals;
      to += literals;
    } else {
      for (const end = from + literals; from < end; ) output[to++] = input[from++]!;
    }
    if (from === inputEnd) return to - outputStart;
    if (inputEnd - from < 2) return -1;
    const offset = input[from]! | (input[from + 1]! << 8);
    from += 2;
    let match = to - offset;
    if (offset === 0 || match < outputStart) return -1;
    let length = token & 15;
    if (length === 15) {
      let more: number;
      do {
        if (from >= inputEnd) return -1;
        more = input[from++]!;
        length += more;
      } while (more === 255);
    }
    length += MIN_MATCH;
    if (length > outputEnd - to) return -1;
    if (length > 32 && offset >= length) {
      output.copyWithin(to, match, match + length);
      to += length;
    } else {
      // A match may overlap what it writes: byte by byte, in order.
      for (const end = to + length; to < end; ) output[to++] = output[match++]!;
    }
  }
  // An empty input is no block, and a block never ends with a match.
  return -1;
}

/** The most bytes that `inputBytes` can take when compressed. */
export function lz4CompressBound(inputBytes: number): number {
  return inputBytes + Math.ceil(inputBytes / 255) + 16;
}

const MAX_HASH_BITS = 12;

/**
 * Compresses `input` into `output` from `outputStart` on, which must have room for `lz4CompressBound(input.length)`.
 * Greedy with one table: fast rather than small, as a network wants it. Returns the bytes written.
 */
export function encodeLz4Block(input: Uint8Array, output: Uint8Array, outputStart: number): number {
  // A short block needs no large table, and clearing one would cost more than the search.
  const hashBits = Math.min(MAX_HASH_BITS, 32 - Math.clz32(input.length | 0xff));
  const table = new Int32Array(1 << hashBits).fill(-1);
  const matchLimit = input.length - MATCH_FREE_TAIL;
  let to = outputStart;
  let anchor = 0;
  let at = 0;
  let misses = 0;
  while (at <= matchLimit) {
    const word = readWord(input, at);
    const slot = Math.imul(word, 0x9e3779b1) >>> (32 - hashBits);
    const candidate = table[slot]!;
    table[slot] = at;
    if (candidate < 0 || at - candidate > 0xffff || readWord(input, candidate) !== word) {
      // Bytes that do not repeat are passed over in growing steps.
      at += 1 + (misses++ >> 6);
      continue;
    }
    misses = 0;
    const matchEnd = input.length - LITERAL_TAIL;
    let end = at + MIN_MATCH;
    while (end < matchEnd && input[end] === input[candidate + end - at]) end++;
    to = writeSequence(input, anchor, at, at - candidate, end - at, output, to);
    anchor = end;
    at = end;
  }
  return writeSequence(input, anchor, input.length, 0, 0, output, to) - outputStart;
}

function readWord(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** One sequence; `matchBytes` 0 for the last one. Returns the offset behind it. */
function writeSequence(
  input: Uint8Array,
  literalStart: number,
  literalEnd: number,
  matchOffset: number,
  matchBytes: number,
  output: Uint8Array,
  start: number,
): number {
  const literals = literalEnd - literalStart;
  const match = matchBytes === 0 ? 0 : matchBytes - MIN_MATCH;
  let to = start;
  output[to++] = (Math.min(literals, 15) << 4) | Math.min(match, 15);
  if (literals >= 15) to = writeMore(literals - 15, output, to);
  output.set(input.subarray(literalStart, literalEnd), to);
  to += literals;
  if (matchBytes === 0) return to;
  output[to++] = matchOffset & 0xff;
  output[to++] = matchOffset >> 8;
  return match >= 15 ? writeMore(match - 15, output, to) : to;
}

function writeMore(length: number, output: Uint8Array, start: number): number {
  let to = start;
  let left = length;
  for (; left >= 255; left -= 255) output[to++] = 255;
  output[to++] = left;
  return to;
}
