/**
 * Snappy's raw format: <varint length of the plain bytes>, then elements. Literals: <length - 1 << 2 | 0>, where 60 and 61
 * say that one or two bytes with the length - 1 follow. Copies: <length - 1 << 2 | 2><2 bytes offset, little-endian>.
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 */
const MIN_MATCH = 4;
const MAX_COPY = 64;
const MAX_LITERAL = 65536;
const MAX_OFFSET = 0xffff;
const MAX_HASH_BITS = 12;
const MAX_LENGTH_BYTES = 5;

/** The most bytes that `inputBytes` can take when compressed. */
export function snappyCompressBound(inputBytes: number): number {
  return MAX_LENGTH_BYTES + inputBytes + Math.ceil(inputBytes / 6) + 8;
}

/**
 * Compresses `input` into `output`, which must have room for `snappyCompressBound(input.length)`. Greedy with one table:
 * fast rather than small. Returns the bytes written.
 */
export function encodeSnappy(input: Uint8Array, output: Uint8Array): number {
  const hashBits = Math.min(MAX_HASH_BITS, 32 - Math.clz32(input.length | 0xff));
  const table = new Int32Array(1 << hashBits).fill(-1);
  const last = input.length - MIN_MATCH;
  let to = writeLength(input.length, output);
  let anchor = 0;
  let at = 0;
  let misses = 0;
  while (at <= last) {
    const word = readWord(input, at);
    const slot = Math.imul(word, 0x9e3779b1) >>> (32 - hashBits);
    const candidate = table[slot]!;
    table[slot] = at;
    if (candidate < 0 || at - candidate > MAX_OFFSET || readWord(input, candidate) !== word) {
      // Bytes that do not repeat are passed over in growing steps.
      at += 1 + (misses++ >> 6);
      continue;
    }
    misses = 0;
    const offset = at - candidate;
    let end = at + MIN_MATCH;
    while (end < input.length && input[end] === input[end - offset]) end++;
    to = writeLiterals(input, anchor, at, output, to);
    for (let left = end - at; left > 0; left -= MAX_COPY) {
      output[to++] = ((Math.min(left, MAX_COPY) - 1) << 2) | 2;
      output[to++] = offset & 0xff;
      output[to++] = offset >> 8;
    }
    anchor = end;
    at = end;
  }
  return writeLiterals(input, anchor, input.length, output, to);
}

function writeLength(length: number, output: Uint8Array): number {
  let to = 0;
  let left = length;
  for (; left >= 0x80; left >>>= 7) output[to++] = (left & 0x7f) | 0x80;
  output[to++] = left;
  return to;
}

function writeLiterals(input: Uint8Array, start: number, end: number, output: Uint8Array, at: number): number {
  let to = at;
  for (let from = start; from < end; from += MAX_LITERAL) {
    const piece = input.subarray(from, Math.min(end, from + MAX_LITERAL));
    const field = piece.length - 1;
    if (field < 60) output[to++] = field << 2;
    else if (field < 256) {
      output[to++] = 60 << 2;
      output[to++] = field;
    } else {
      output[to++] = 61 << 2;
      output[to++] = field & 0xff;
      output[to++] = field >> 8;
    }
    output.set(piece, to);
    to += piece.length;
  }
  return to;
}

function readWord(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
