/** The smallest token; only the empty key has it, and no partition can have the empty key. */
export const MIN_TOKEN = -(2n ** 63n);
/** The largest token. */
export const MAX_TOKEN = 2n ** 63n - 1n;

// Constants of MurmurHash3_x64_128 as halves.
const C1_HI = 0x87c37b91 | 0;
const C1_LO = 0x114253d5 | 0;
const C2_HI = 0x4cf5ad43 | 0;
const C2_LO = 0x2745937f | 0;
const F1_HI = 0xff51afd7 | 0;
const F1_LO = 0xed558ccd | 0;
const F2_HI = 0xc4ceb9fe | 0;
const F2_LO = 0x1a85ec53 | 0;

const MIN_HI = 0x80000000 | 0;
const MAX_HI = 0x7fffffff;

// Scratch to join two halves into one bigint with a single allocation (every host of Node is little-endian).
const joinHalves = new Int32Array(2);
const joined = new BigInt64Array(joinHalves.buffer);

/**
 * Token of a serialized partition key: the first half of Cassandra's Murmur3.
 *
 * @param key one component's value, or the composite form of several
 * @see org.apache.cassandra.utils.MurmurHash#hash3_x64_128, org.apache.cassandra.dht.Murmur3Partitioner#getToken
 */
export function tokenOf(key: Uint8Array): bigint {
  tokenHalves(key, 0, key.length, joinHalves);
  return joined[0]!;
}

/** The token that has these halves. */
export function joinToken(hi: number, lo: number): bigint {
  joinHalves[0] = lo;
  joinHalves[1] = hi;
  return joined[0]!;
}

/**
 * The same of the key at [start, end) of `bytes`, as halves: the lower one in `out[0]`, the upper one in `out[1]`. 64-bit
 * arithmetic is done on 32-bit halves, since one bigint per step would cost more than the decoding of a row.
 *
 * Not the reference MurmurHash3: the bytes of the tail are sign-extended, a slip that Cassandra can never take back.
 */
export function tokenHalves(bytes: Uint8Array, start: number, end: number, out: Int32Array): void {
  const length = end - start;
  if (length === 0) {
    out[0] = 0;
    out[1] = MIN_HI;
    return;
  }
  let h1Hi = 0;
  let h1Lo = 0;
  let h2Hi = 0;
  let h2Lo = 0;
  let hi = 0;
  let lo = 0;
  let sum = 0;

  const bodyEnd = start + (length & ~15);
  for (let at = start; at < bodyEnd; at += 16) {
    // k1 = rotl(k1 * c1, 31) * c2;  h1 ^= k1
    lo = littleEndian32(bytes, at);
    hi = multiplyHigh(lo, littleEndian32(bytes, at + 4), C1_LO, C1_HI);
    lo = Math.imul(lo, C1_LO);
    sum = (hi << 31) | (lo >>> 1);
    lo = (lo << 31) | (hi >>> 1);
    hi = sum;
    h1Hi ^= multiplyHigh(lo, hi, C2_LO, C2_HI);
    h1Lo ^= Math.imul(lo, C2_LO);
    // h1 = (rotl(h1, 27) + h2) * 5 + 0x52dce729
    hi = (h1Hi << 27) | (h1Lo >>> 5);
    lo = (h1Lo << 27) | (h1Hi >>> 5);
    sum = (lo + h2Lo) | 0;
    hi = (hi + h2Hi + carry(sum, lo)) | 0;
    h1Hi = multiplyHigh(sum, hi, 5, 0);
    lo = Math.imul(sum, 5);
    h1Lo = (lo + 0x52dce729) | 0;
    h1Hi = (h1Hi + carry(h1Lo, lo)) | 0;
    // k2 = rotl(k2 * c2, 33) * c1;  h2 ^= k2
    lo = littleEndian32(bytes, at + 8);
    hi = multiplyHigh(lo, littleEndian32(bytes, at + 12), C2_LO, C2_HI);
    lo = Math.imul(lo, C2_LO);
    sum = (lo << 1) | (hi >>> 31);
    lo = (hi << 1) | (lo >>> 31);
    hi = sum;
    h2Hi ^= multiplyHigh(lo, hi, C1_LO, C1_HI);
    h2Lo ^= Math.imul(lo, C1_LO);
    // h2 = (rotl(h2, 31) + h1) * 5 + 0x38495ab5
    hi = (h2Hi << 31) | (h2Lo >>> 1);
    lo = (h2Lo << 31) | (h2Hi >>> 1);
    sum = (lo + h1Lo) | 0;
    hi = (hi + h1Hi + carry(sum, lo)) | 0;
    h2Hi = multiplyHigh(sum, hi, 5, 0);
    lo = Math.imul(sum, 5);
    h2Lo = (lo + 0x38495ab5) | 0;
    h2Hi = (h2Hi + carry(h2Lo, lo)) | 0;
  }

  const tail = length & 15;
  if (tail > 8) {
    hi = 0;
    lo = 0;
    // Sign-extended: a byte of the low half fills the high one with its sign.
    for (let at = bodyEnd + 8, end = bodyEnd + Math.min(tail, 12), shift = 0; at < end; at++, shift += 8) {
      const byte = (bytes[at]! << 24) >> 24;
      lo ^= byte << shift;
      hi ^= byte >> 31;
    }
    for (let at = bodyEnd + 12, end = bodyEnd + tail, shift = 24; at < end; at++, shift -= 8) {
      hi ^= (bytes[at]! << 24) >> shift;
    }
    sum = multiplyHigh(lo, hi, C2_LO, C2_HI);
    lo = Math.imul(lo, C2_LO);
    hi = (lo << 1) | (sum >>> 31);
    lo = (sum << 1) | (lo >>> 31);
    h2Hi ^= multiplyHigh(lo, hi, C1_LO, C1_HI);
    h2Lo ^= Math.imul(lo, C1_LO);
  }
  if (tail > 0) {
    hi = 0;
    lo = 0;
    for (let at = bodyEnd, end = bodyEnd + Math.min(tail, 4), shift = 0; at < end; at++, shift += 8) {
      const byte = (bytes[at]! << 24) >> 24;
      lo ^= byte << shift;
      hi ^= byte >> 31;
    }
    for (let at = bodyEnd + 4, end = bodyEnd + Math.min(tail, 8), shift = 24; at < end; at++, shift -= 8) {
      hi ^= (bytes[at]! << 24) >> shift;
    }
    sum = multiplyHigh(lo, hi, C1_LO, C1_HI);
    lo = Math.imul(lo, C1_LO);
    hi = (sum << 31) | (lo >>> 1);
    lo = (lo << 31) | (sum >>> 1);
    h1Hi ^= multiplyHigh(lo, hi, C2_LO, C2_HI);
    h1Lo ^= Math.imul(lo, C2_LO);
  }

  // h1 ^= length; h2 ^= length; h1 += h2; h2 += h1; h1 = mix(h1); h2 = mix(h2); h1 += h2
  h1Lo ^= length;
  h2Lo ^= length;
  sum = (h1Lo + h2Lo) | 0;
  h1Hi = (h1Hi + h2Hi + carry(sum, h1Lo)) | 0;
  h1Lo = sum;
  sum = (h2Lo + h1Lo) | 0;
  h2Hi = (h2Hi + h1Hi + carry(sum, h2Lo)) | 0;
  h2Lo = sum;

  h1Lo ^= h1Hi >>> 1;
  h1Hi = multiplyHigh(h1Lo, h1Hi, F1_LO, F1_HI);
  h1Lo = Math.imul(h1Lo, F1_LO) ^ (h1Hi >>> 1);
  h1Hi = multiplyHigh(h1Lo, h1Hi, F2_LO, F2_HI);
  h1Lo = Math.imul(h1Lo, F2_LO) ^ (h1Hi >>> 1);

  h2Lo ^= h2Hi >>> 1;
  h2Hi = multiplyHigh(h2Lo, h2Hi, F1_LO, F1_HI);
  h2Lo = Math.imul(h2Lo, F1_LO) ^ (h2Hi >>> 1);
  h2Hi = multiplyHigh(h2Lo, h2Hi, F2_LO, F2_HI);
  h2Lo = Math.imul(h2Lo, F2_LO) ^ (h2Hi >>> 1);

  sum = (h1Lo + h2Lo) | 0;
  hi = (h1Hi + h2Hi + carry(sum, h1Lo)) | 0;
  // The smallest token is no partition's.
  const isSmallest = hi === MIN_HI && sum === 0;
  out[0] = isSmallest ? -1 : sum;
  out[1] = isSmallest ? MAX_HI : hi;
}

function littleEndian32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** The carry of an addition of low halves: 1 when the sum wrapped. */
function carry(sum: number, addend: number): number {
  return sum >>> 0 < addend >>> 0 ? 1 : 0;
}

/** High half of a 64 × 64-bit product (modulo 2^64). */
function multiplyHigh(aLo: number, aHi: number, bLo: number, bHi: number): number {
  const a0 = aLo & 0xffff;
  const a1 = aLo >>> 16;
  const b0 = bLo & 0xffff;
  const b1 = bLo >>> 16;
  const low = Math.imul(a0, b0) >>> 16;
  const cross1 = Math.imul(a1, b0);
  const cross2 = Math.imul(a0, b1);
  const middle = low + (cross1 & 0xffff) + (cross2 & 0xffff);
  const high = Math.imul(a1, b1) + (cross1 >>> 16) + (cross2 >>> 16) + (middle >>> 16);
  return (high + Math.imul(aLo, bHi) + Math.imul(aHi, bLo)) | 0;
}
