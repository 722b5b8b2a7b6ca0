/**
 * The order of values of each CQL type, over their bytes, as Cassandra's AbstractType.compare gives it. It decides the
 * order of rows in a partition and of elements in a collection, so a merge must use exactly this order.
 */

import type { CqlType, NativeTypeName } from './cql-type.ts';
import { fixedLengthOf } from './value-length.ts';

/** Negative, zero or positive, like the argument of Array.prototype.sort. */
export type CompareBytes = (left: Uint8Array, right: Uint8Array) => number;

/** The same over parts of byte strings, so that no view has to be made: each from its start up to before its end. */
export type CompareRanges = (
  left: Uint8Array,
  leftStart: number,
  leftEnd: number,
  right: Uint8Array,
  rightStart: number,
  rightEnd: number,
) => number;

/** Unsigned, byte by byte, shorter first (ValueAccessor.compare). */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  return compareByteRanges(left, 0, left.length, right, 0, right.length);
}

/** `compareBytes` over parts. */
export function compareByteRanges(
  left: Uint8Array,
  leftStart: number,
  leftEnd: number,
  right: Uint8Array,
  rightStart: number,
  rightEnd: number,
): number {
  const [leftLength, rightLength] = [leftEnd - leftStart, rightEnd - rightStart];
  const end = leftStart + (leftLength < rightLength ? leftLength : rightLength);
  for (let a = leftStart, b = rightStart; a < end; a++, b++) {
    const difference = left[a]! - right[b]!;
    if (difference !== 0) return difference;
  }
  return leftLength - rightLength;
}

/** Whether two byte strings are the same. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && compareBytes(left, right) === 0;
}

/** The comparison for values of this type; an empty value comes before all others. Does not know about DESC. */
export function comparatorOf(type: CqlType): CompareBytes {
  const compare = rangeComparatorOf(type);
  return (left, right) => compare(left, 0, left.length, right, 0, right.length);
}

/** `comparatorOf` over parts. */
export function rangeComparatorOf(type: CqlType): CompareRanges {
  switch (type.kind) {
    case 'native':
      return NATIVE[type.name];
    case 'list':
    case 'set':
      return compareElements([rangeComparatorOf(type.element)]);
    case 'map':
      return compareElements([rangeComparatorOf(type.key), rangeComparatorOf(type.value)]);
    case 'tuple':
      return compareFields(type.elements.map(rangeComparatorOf));
    case 'udt':
      return compareFields(type.fields.map((field) => rangeComparatorOf(field.type)));
    case 'vector':
      return compareVector(type.element);
  }
}

function signed(byte: number): number {
  return (byte << 24) >> 24;
}

// Int32Type, LongType, ByteType, ShortType: the first byte is signed, the others are not.
const compareSigned: CompareRanges = (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
  if (leftStart === leftEnd || rightStart === rightEnd) return leftEnd - leftStart - (rightEnd - rightStart);
  const difference = signed(left[leftStart]!) - signed(right[rightStart]!);
  return difference !== 0
    ? difference
    : compareByteRanges(left, leftStart + 1, leftEnd, right, rightStart + 1, rightEnd);
};

const compareBoolean: CompareRanges = (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
  if (leftStart === leftEnd || rightStart === rightEnd) return leftEnd - leftStart - (rightEnd - rightStart);
  return (left[leftStart] === 0 ? 0 : 1) - (right[rightStart] === 0 ? 0 : 1);
};

/** A comparison that makes views: for types that are rare in clusterings and as elements. */
function viewing(compare: CompareBytes): CompareRanges {
  return (left, leftStart, leftEnd, right, rightStart, rightEnd) =>
    compare(left.subarray(leftStart, leftEnd), right.subarray(rightStart, rightEnd));
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

const UUID_BYTES = 16;
const TIME_ORDER = [7, 4, 5, 0, 1, 2, 3] as const;

// The 60 bits of time of a version-1 UUID, most significant first: time_hi (12 bits), time_mid, time_low.
function compareUuidTime(left: Uint8Array, leftStart: number, right: Uint8Array, rightStart: number): number {
  const high = (left[leftStart + 6]! & 0x0f) - (right[rightStart + 6]! & 0x0f);
  if (high !== 0) return high;
  for (const i of TIME_ORDER) {
    const difference = left[leftStart + i]! - right[rightStart + i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

// TimeUUIDType: time, then the last eight bytes, each signed.
const compareTimeUuid: CompareRanges = (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
  const [leftLength, rightLength] = [leftEnd - leftStart, rightEnd - rightStart];
  if (leftLength !== UUID_BYTES || rightLength !== UUID_BYTES) return leftLength - rightLength;
  const time = compareUuidTime(left, leftStart, right, rightStart);
  if (time !== 0) return time;
  for (let i = 8; i < UUID_BYTES; i++) {
    const difference = signed(left[leftStart + i]!) - signed(right[rightStart + i]!);
    if (difference !== 0) return difference;
  }
  return 0;
};

// UUIDType: version first; two of version 1 by time; then the bytes, unsigned.
const compareUuid: CompareRanges = (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
  const [leftLength, rightLength] = [leftEnd - leftStart, rightEnd - rightStart];
  if (leftLength !== UUID_BYTES || rightLength !== UUID_BYTES) return leftLength - rightLength;
  const version = left[leftStart + 6]! >> 4;
  const difference = version - (right[rightStart + 6]! >> 4);
  if (difference !== 0) return difference;
  if (version === 1) {
    const time = compareUuidTime(left, leftStart, right, rightStart);
    return time !== 0 ? time : compareByteRanges(left, leftStart + 8, leftEnd, right, rightStart + 8, rightEnd);
  }
  return compareByteRanges(left, leftStart, leftEnd, right, rightStart, rightEnd);
};

const NATIVE: Readonly<Record<NativeTypeName, CompareRanges>> = {
  ascii: compareByteRanges,
  bigint: compareSigned,
  blob: compareByteRanges,
  boolean: compareBoolean,
  counter: compareSigned,
  date: compareByteRanges,
  decimal: viewing(compareDecimal),
  double: viewing(compareDouble),
  duration: compareByteRanges,
  empty: compareByteRanges,
  float: viewing(compareFloat),
  inet: compareByteRanges,
  int: compareSigned,
  smallint: compareSigned,
  text: compareByteRanges,
  time: compareByteRanges,
  timestamp: compareSigned,
  timeuuid: compareTimeUuid,
  tinyint: compareSigned,
  uuid: compareUuid,
  varint: viewing(compareVarint),
};

// Length of the value of an i32-length field; -1 for null, or when nothing is left.
function fieldLength(bytes: Uint8Array, offset: number, end: number): number {
  if (offset + 4 > end) return -1;
  const length = countAt(bytes, offset);
  return length < 0 ? -1 : Math.min(length, end - offset - 4);
}

// The position behind a field of this length, which is -1 for null or for one that is not there any more.
function fieldEnd(offset: number, length: number, end: number): number {
  return Math.min(end, offset + 4 + (length < 0 ? 0 : length));
}

function compareFieldAt(
  compare: CompareRanges,
  left: Uint8Array,
  leftAt: number,
  leftLength: number,
  right: Uint8Array,
  rightAt: number,
  rightLength: number,
): number {
  if (leftLength < 0 || rightLength < 0) return (leftLength < 0 ? 0 : 1) - (rightLength < 0 ? 0 : 1);
  return compare(left, leftAt + 4, leftAt + 4 + leftLength, right, rightAt + 4, rightAt + 4 + rightLength);
}

function countAt(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!;
}

// Frozen list, set, map = i32 count, then elements (map: key and value in turn); a longer one comes after its prefix.
function compareElements(comparators: readonly CompareRanges[]): CompareRanges {
  return (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
    const [leftBytes, rightBytes] = [leftEnd - leftStart, rightEnd - rightStart];
    if (leftBytes < 4 || rightBytes < 4) return leftBytes - rightBytes;
    const [leftCount, rightCount] = [countAt(left, leftStart), countAt(right, rightStart)];
    const shared = Math.min(leftCount, rightCount);
    let [a, b] = [leftStart + 4, rightStart + 4];
    for (let i = 0; i < shared && a < leftEnd; i++) {
      for (const compare of comparators) {
        const [aLength, bLength] = [fieldLength(left, a, leftEnd), fieldLength(right, b, rightEnd)];
        const difference = compareFieldAt(compare, left, a, aLength, right, b, bLength);
        if (difference !== 0) return difference;
        [a, b] = [fieldEnd(a, aLength, leftEnd), fieldEnd(b, bLength, rightEnd)];
      }
    }
    return leftCount - rightCount;
  };
}

// Tuple, frozen UDT = i32-length fields; trailing ones may be missing, which equals null (TupleType.compareCustom).
function compareFields(comparators: readonly CompareRanges[]): CompareRanges {
  return (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
    if (leftStart === leftEnd || rightStart === rightEnd) return leftEnd - leftStart - (rightEnd - rightStart);
    let [a, b] = [leftStart, rightStart];
    for (const compare of comparators) {
      const [aLength, bLength] = [fieldLength(left, a, leftEnd), fieldLength(right, b, rightEnd)];
      const difference = compareFieldAt(compare, left, a, aLength, right, b, bLength);
      if (difference !== 0) return difference;
      [a, b] = [fieldEnd(a, aLength, leftEnd), fieldEnd(b, bLength, rightEnd)];
    }
    return 0;
  };
}

// A vector of fixed-length elements is their concatenation; one of variable length can't be a clustering column here.
function compareVector(element: CqlType): CompareRanges {
  const size = fixedLengthOf(element);
  if (size <= 0) return compareByteRanges;
  const compare = rangeComparatorOf(element);
  return (left, leftStart, leftEnd, right, rightStart, rightEnd) => {
    for (let a = leftStart, b = rightStart; a + size <= leftEnd && b + size <= rightEnd; a += size, b += size) {
      const difference = compare(left, a, a + size, right, b, b + size);
      if (difference !== 0) return difference;
    }
    return leftEnd - leftStart - (rightEnd - rightStart);
  };
}
