const u64 = (value: bigint) => BigInt.asUintN(64, value);
const rotateRight = (value: bigint, by: bigint) => u64((value >> by) | (value << (64n - by)));

/** The inverse of an odd number modulo 2^64, by Newton. */
function inverse(odd: bigint): bigint {
  let guess = odd;
  for (let step = 0; step < 6; step++) guess = u64(guess * (2n - odd * guess));
  return guess;
}

const [C1, C2] = [0x87c37b91114253d5n, 0x4cf5ad432745937fn];
const [F1, F2] = [0xff51afd7ed558ccdn, 0xc4ceb9fe1a85ec53n];
const [INV_C1, INV_C2, INV_F1, INV_F2, INV_5] = [C1, C2, F1, F2, 5n].map(inverse) as [
  bigint,
  bigint,
  bigint,
  bigint,
  bigint,
];

function unmix(mixed: bigint): bigint {
  let value = mixed ^ (mixed >> 33n);
  value = u64(value * INV_F2);
  value ^= value >> 33n;
  value = u64(value * INV_F1);
  return value ^ (value >> 33n);
}

/** A key of 16 bytes that has this token: Murmur3 backwards. */
export function keyOfToken(token: bigint): Buffer {
  // The two halves of the hash are added in the end; any second half will do.
  let [h1, h2] = [unmix(u64(token - 1n)), unmix(1n)];
  h2 = u64(h2 - h1);
  h1 = u64(h1 - h2);
  h1 ^= 16n;
  h2 ^= 16n;
  h2 = u64((h2 - 0x38495ab5n) * INV_5);
  h2 = rotateRight(u64(h2 - h1), 31n);
  h1 = rotateRight(u64((h1 - 0x52dce729n) * INV_5), 27n);
  const k1 = u64(rotateRight(u64(h1 * INV_C2), 31n) * INV_C1);
  const k2 = u64(rotateRight(u64(h2 * INV_C1), 33n) * INV_C2);
  const key = Buffer.alloc(16);
  key.writeBigUInt64LE(k1, 0);
  key.writeBigUInt64LE(k2, 8);
  return key;
}
