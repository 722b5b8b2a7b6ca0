/**
 * The order of values of each CQL type, over their bytes, as Cassandra's AbstractType.compare gives it. It decides the
 * order of rows in a partition and of elements in a collection, so a merge must use exactly this order.
 */

import type { CqlType, NativeTypeName } from './cql-type.ts';
import { fixedLengthOf } from './value-length.ts';

/** Negative, zero or positive, like the argument of Array.prototype.sort. */
export type CompareBytes = (left: Uint8Array, right: Uint8Array) => number;

/** Unsigned, byte by byte, shorter first (ValueAccessor.compare). */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const length = left.length < right.length ? left.length : right.length;
  for (let i = 0; i < length; i++) {
    const difference = left[i]! - right[i]!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** Whether two byte strings are the same. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && compareBytes(left, right) === 0;
}

/** The comparison for values of this type; an empty value comes before all others. Does not know about DESC. */
export function comparatorOf(type: CqlType): CompareBytes {
  switch (type.kind) {
    case 'native':
      return NATIVE[type.name];
    case 'list':
    case 'set':
      return compareElements([comparatorOf(type.element)]);
    case 'map':
      return compareElements([comparatorOf(type.key), comparatorOf(type.value)]);
    case 'tuple':
      return compareFields(type.elements.map(comparatorOf));
    case 'udt':
      return compareFields(type.fields.map((field) => comparatorOf(field.type)));
    case 'vector':
      return compareVector(type.element);
  }
}

// Int32Type, LongType, ByteType, ShortType: the first byte is signed, the others are not.
function compareSigned(left: Uint8Array, right: Uint8Array): number {
  if (left.length === 0 || right.length === 0) return left.length - right.length;
  const difference = ((left[0]! << 24) >> 24) - ((right[0]! << 24) >> 24);
  return difference !== 0 ? difference : compareBytes(left, right);
}

function compareBoolean(left: Uint8Array, right: Uint8Array): number {
  if (left.length === 0 || right.length === 0) return left.length - right.length;
  return (left[0] === 0 ? 0 : 1) - (right[0] === 0 ? 0 : 1);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// Double.compare of Java: -0.0 before 0.0, NaN last.
function compareNumbers(left: number, right: number): number {
  if (left < right) return -1;
  if (left > right) return 1;
  if (left === right) return left === 0 ? (Object.is(left, -0) ? 0 : 1) - (Object.is(right, -0) ? 0 : 1) : 0;
  return (Number.isNaN(left) ? 1 : 0) - (Number.isNaN(right) ? 1 : 0);
}

function compareFloat(left: Uint8Array, right: Uint8Array): number {
  if (left.length !== 4 || right.length !== 4) return left.length - right.length;
  return compareNumbers(viewOf(left).getFloat32(0), viewOf(right).getFloat32(0));
}

function compareDouble(left: Uint8Array, right: Uint8Array): number {
  if (left.length !== 8 || right.length !== 8) return left.length - right.length;
  return compareNumbers(viewOf(left).getFloat64(0), viewOf(right).getFloat64(0));
}

function bigIntOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return bytes.length > 0 && bytes[0]! >= 0x80 ? value - (1n << BigInt(8 * bytes.length)) : value;
}

function compareBigInts(left: bigint, right: bigint): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function compareVarint(left: Uint8Array, right: Uint8Array): number {
  if (left.length === 0 || right.length === 0) return left.length - right.length;
  return compareBigInts(bigIntOf(left), bigIntOf(right));
}

// DecimalType = i32 scale, varint unscaled; compared as numbers, so 1.0 and 1.00 are the same clustering value.
function compareDecimal(left: Uint8Array, right: Uint8Array): number {
  if (left.length < 5 || right.length < 5) return left.length - right.length;
  let [a, b] = [bigIntOf(left.subarray(4)), bigIntOf(right.subarray(4))];
  const [aSign, bSign] = [compareBigInts(a, 0n), compareBigInts(b, 0n)];
  if (aSign !== bSign || aSign === 0) return aSign - bSign;
  const [aScale, bScale] = [viewOf(left).getInt32(0), viewOf(right).getInt32(0)];
  if (a < 0n) [a, b] = [-a, -b];
  // The decimal exponents decide unless they are equal; that also bounds the scaling below for hostile scales.
  const [aDigits, bDigits] = [a.toString().length, b.toString().length];
  const magnitude = aDigits - aScale - (bDigits - bScale);
  if (magnitude !== 0) return magnitude * aSign;
  if (aScale < bScale) a *= 10n ** BigInt(bScale - aScale);
  else b *= 10n ** BigInt(aScale - bScale);
  return compareBigInts(a, b) * aSign;
}

// The 60 bits of time of a version-1 UUID, most significant first: time_hi (12 bits), time_mid, time_low.
function compareUuidTime(left: Uint8Array, right: Uint8Array): number {
  const high = (left[6]! & 0x0f) - (right[6]! & 0x0f);
  if (high !== 0) return high;
  for (const i of TIME_ORDER) {
    const difference = left[i]! - right[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
const TIME_ORDER = [7, 4, 5, 0, 1, 2, 3] as const;

// TimeUUIDType: time, then the last eight bytes, each signed.
function compareTimeUuid(left: Uint8Array, right: Uint8Array): number {
  if (left.length !== 16 || right.length !== 16) return left.length - right.length;
  const time = compareUuidTime(left, right);
  if (time !== 0) return time;
  for (let i = 8; i < 16; i++) {
    const difference = ((left[i]! << 24) >> 24) - ((right[i]! << 24) >> 24);
    if (difference !== 0) return difference;
  }
  return 0;
}

// UUIDType: version first; two of version 1 by time; then the bytes, unsigned.
function compareUuid(left: Uint8Array, right: Uint8Array): number {
  if (left.length !== 16 || right.length !== 16) return left.length - right.length;
  const version = (left[6]! >> 4) - (right[6]! >> 4);
  if (version !== 0) return version;
  if (left[6]! >> 4 === 1) {
    const time = compareUuidTime(left, right);
    return time !== 0 ? time : compareBytes(left.subarray(8), right.subarray(8));
  }
  return compareBytes(left, right);
}

const NATIVE: Readonly<Record<NativeTypeName, CompareBytes>> = {
  ascii: compareBytes,
  bigint: compareSigned,
  blob: compareBytes,
  boolean: compareBoolean,
  counter: compareSigned,
  date: compareBytes,
  decimal: compareDecimal,
  double: compareDouble,
  duration: compareBytes,
  empty: compareBytes,
  float: compareFloat,
  inet: compareBytes,
  int: compareSigned,
  smallint: compareSigned,
  text: compareBytes,
  time: compareBytes,
  timestamp: compareSigned,
  timeuuid: compareTimeUuid,
  tinyint: compareSigned,
  uuid: compareUuid,
  varint: compareVarint,
};

// A cursor over i32-length fields; a negative length is null.
function readField(bytes: Uint8Array, offset: number): { value: Uint8Array | null; end: number } {
  if (offset + 4 > bytes.length) return { value: null, end: bytes.length };
  const length = viewOf(bytes).getInt32(offset);
  if (length < 0) return { value: null, end: offset + 4 };
  const end = Math.min(offset + 4 + length, bytes.length);
  return { value: bytes.subarray(offset + 4, end), end };
}

function compareNullable(compare: CompareBytes, left: Uint8Array | null, right: Uint8Array | null): number {
  if (left === null || right === null) return (left === null ? 0 : 1) - (right === null ? 0 : 1);
  return compare(left, right);
}

// Frozen list, set, map = i32 count, then elements (map: key and value in turn); a longer one comes after its prefix.
function compareElements(comparators: readonly CompareBytes[]): CompareBytes {
  return (left, right) => {
    if (left.length < 4 || right.length < 4) return left.length - right.length;
    const [leftCount, rightCount] = [viewOf(left).getInt32(0), viewOf(right).getInt32(0)];
    let [leftEnd, rightEnd] = [4, 4];
    for (let i = 0; i < Math.min(leftCount, rightCount) && leftEnd < left.length; i++) {
      for (const compare of comparators) {
        const [a, b] = [readField(left, leftEnd), readField(right, rightEnd)];
        const difference = compareNullable(compare, a.value, b.value);
        if (difference !== 0) return difference;
        [leftEnd, rightEnd] = [a.end, b.end];
      }
    }
    return leftCount - rightCount;
  };
}

// Tuple, frozen UDT = i32-length fields; trailing ones may be missing, which equals null (TupleType.compareCustom).
function compareFields(comparators: readonly CompareBytes[]): CompareBytes {
  return (left, right) => {
    if (left.length === 0 || right.length === 0) return left.length - right.length;
    let [leftEnd, rightEnd] = [0, 0];
    for (const compare of comparators) {
      const [a, b] = [readField(left, leftEnd), readField(right, rightEnd)];
      const difference = compareNullable(compare, a.value, b.value);
      if (difference !== 0) return difference;
      [leftEnd, rightEnd] = [a.end, b.end];
    }
    return 0;
  };
}

// A vector of fixed-length elements is their concatenation; one of variable length can't be a clustering column here.
function compareVector(element: CqlType): CompareBytes {
  const size = fixedLengthOf(element);
  if (size <= 0) return compareBytes;
  const compare = comparatorOf(element);
  return (left, right) => {
    for (let i = 0; i + size <= Math.min(left.length, right.length); i += size) {
      const difference = compare(left.subarray(i, i + size), right.subarray(i, i + size));
      if (difference !== 0) return difference;
    }
    return left.length - right.length;
  };
}
