import { decodeUuid, encodeBigint, encodeDate } from '#core/cql/value-codec.ts';
import type { GeneratedCall } from './functions.ts';

/** Where generated values come from; the world's clock and randomness behind it. */
export interface ValueSource {
  /** Milliseconds since the epoch. */
  nowMillis(): number;
  /** 16 random bytes. */
  randomBytes(): Uint8Array;
}

/** One value as a literal for a text and as bytes for a marker. */
export interface GeneratedValue {
  readonly literal: string;
  readonly bytes: Buffer;
}

const MILLIS_PER_DAY = 86_400_000;
/** 1582-10-15 to 1970-01-01, in milliseconds: the epoch of time-based UUIDs. */
const UUID_EPOCH_MILLIS = 12_219_292_800_000n;

/** Evaluates a call as a server would at this moment (UTC). */
export function evaluateCall(call: GeneratedCall, source: ValueSource): GeneratedValue {
  const millis = source.nowMillis();
  switch (call.type) {
    case 'timeuuid':
      return uuidValue(timeUuid(millis, source.randomBytes()));
    case 'uuid':
      return uuidValue(randomUuid(source.randomBytes()));
    case 'timestamp': {
      // A date in between has lost its time of day.
      const passedDate = call.source === 'date' || call.conversions.includes('date');
      return integerValue(BigInt(passedDate ? startOfDay(millis) : millis));
    }
    case 'bigint': {
      const passedDate = call.source === 'date' || call.conversions.includes('date');
      return integerValue(BigInt(passedDate ? startOfDay(millis) : millis));
    }
    case 'date': {
      const literal = `'${new Date(millis).toISOString().slice(0, 10)}'`;
      return { literal, bytes: encodeDate(Math.floor(millis / MILLIS_PER_DAY)) };
    }
    case 'time': {
      const literal = `'${new Date(millis).toISOString().slice(11, 23)}'`;
      return { literal, bytes: encodeBigint(BigInt(millis - startOfDay(millis)) * 1_000_000n) };
    }
  }
}

function startOfDay(millis: number): number {
  return Math.floor(millis / MILLIS_PER_DAY) * MILLIS_PER_DAY;
}

function integerValue(value: bigint): GeneratedValue {
  return { literal: value.toString(), bytes: encodeBigint(value) };
}

function uuidValue(bytes: Buffer): GeneratedValue {
  return { literal: decodeUuid(bytes), bytes };
}

/** Version 4 (RFC 9562). */
function randomUuid(random: Uint8Array): Buffer {
  const uuid = Buffer.from(random.subarray(0, 16));
  uuid[6] = (uuid[6]! & 0x0f) | 0x40;
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  return uuid;
}

/**
 * Version 1: 60 bits of 100 ns since 1582, then clock sequence and node, both random with the multicast bit set. The
 * 100 ns inside the millisecond are random too: that keeps two of one millisecond apart without a shared counter.
 */
function timeUuid(millis: number, random: Uint8Array): Buffer {
  const within = BigInt(((random[0]! << 8) | random[1]!) % 10_000);
  const ticks = (BigInt(millis) + UUID_EPOCH_MILLIS) * 10_000n + within;
  const uuid = Buffer.allocUnsafe(16);
  uuid.writeUInt32BE(Number(ticks & 0xffffffffn), 0);
  uuid.writeUInt16BE(Number((ticks >> 32n) & 0xffffn), 4);
  uuid.writeUInt16BE(Number(ticks >> 48n) | 0x1000, 6);
  uuid.set(random.subarray(8, 16), 8);
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  uuid[10] = uuid[10]! | 0x01;
  return uuid;
}
