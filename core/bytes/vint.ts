/**
 * Bytes of `value` as an unsigned vint: as many leading 1 bits in the first byte as bytes follow it.
 *
 * @param value 0 … 2^64 − 1; a negative one is taken modulo 2^64, as Cassandra writes it
 * @see org.apache.cassandra.utils.vint.VIntCoding
 */
export function encodeVint(value: number | bigint): Uint8Array {
  const bits = BigInt.asUintN(64, BigInt(value));
  let extra = 0;
  while (extra < 8 && bits >> BigInt(7 + 7 * extra) !== 0n) extra += 1;
  const out = new Uint8Array(extra + 1);
  let rest = bits;
  for (let index = extra; index > 0; index--) {
    out[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  out[0] = extra === 8 ? 0xff : ((0xff00 >> extra) & 0xff & ~(0xff >> (extra + 1))) | Number(rest);
  return out;
}

/** Bytes of `value` as a zigzag vint: small negative numbers stay short. */
export function encodeSignedVint(value: number | bigint): Uint8Array {
  const wide = BigInt(value);
  return encodeVint(wide < 0n ? (-wide << 1n) - 1n : wide << 1n);
}
