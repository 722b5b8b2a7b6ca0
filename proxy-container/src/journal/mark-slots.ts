/**
 * The slots of `marks.bits`, pure. Everything is written in place into space that exists, so a full disk refuses none of
 * it; and in pieces that lie within a sector, each with a checksum, so that a torn or damaged piece is found and stands for
 * the whole table. Integers are little-endian.
 *
 *     file     = header (4096 bytes)  narrow slot × NARROW_SLOTS  wide slot × WIDE_SLOTS
 *     header   = "RSMB" u16 version  zeros  u32 crc32  (512 bytes)   block: everything   zeros
 *     narrow   = identity identity                                         the whole table, or the whole keyspace
 *     wide     = identity identity  block: whole  block × 10: tokens  block × 137: buckets  zeros
 *     identity = u16 n  n bytes JSON  zeros  u32 crc32                     (512 bytes, twice: it says whose the rest is)
 *     block    = 60 bytes  u32 crc32                                       (64 bytes; all zero: nothing is in it)
 *     tokens   = i64 × 7, each with its sign bit turned over, 0: none
 *     buckets  = 480 bits
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { BUCKET_BYTES } from '#core/ledger/mark-places.ts';
import { reasonCodes } from '#core/ledger/reasons.ts';
import { BUCKET_COUNT, bucketOf } from '#core/token/buckets.ts';

export const NARROW_SLOTS = 512;
export const WIDE_SLOTS = 128;
/** Single partitions that one slot names; further ones are named by their bucket. */
export const MAX_TOKENS = 64;
export const HEADER_BYTES = 4096;
export const BLOCK_BYTES = 64;
const SECTOR_BYTES = 512;
export const IDENTITY_BYTES = 2 * SECTOR_BYTES;

const DATA_BYTES = BLOCK_BYTES - 4;
const TOKENS_PER_BLOCK = 7;
const TOKEN_BLOCKS = Math.ceil(MAX_TOKENS / TOKENS_PER_BLOCK);
const BUCKETS_PER_BLOCK = DATA_BYTES * 8;
const FIRST_TOKEN_BLOCK = 1;
const FIRST_BUCKET_BLOCK = FIRST_TOKEN_BLOCK + TOKEN_BLOCKS;
const BLOCKS = FIRST_BUCKET_BLOCK + Math.ceil(BUCKET_COUNT / BUCKETS_PER_BLOCK);
const PLACES_BYTES = BLOCKS * BLOCK_BYTES;

export const NARROW_BYTES = 2 * SECTOR_BYTES;
export const WIDE_BYTES = Math.ceil((IDENTITY_BYTES + PLACES_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
export const FILE_BYTES = HEADER_BYTES + NARROW_SLOTS * NARROW_BYTES + WIDE_SLOTS * WIDE_BYTES;

const SIGN = 1n << 63n;
const ZEROS = Buffer.alloc(WIDE_BYTES);

const identitySchema = z.strictObject({
  keyspace: z.string().min(1),
  table: z.string().min(1),
  lacking: z.enum(['origin', 'target']).nullable(),
  code: z.enum(reasonCodes),
  reason: z.string(),
  /** The first time. Milliseconds since the epoch; an older release did not write whole ones. */
  fromMs: z.number().transform(Math.floor),
});
/** Whose places a slot holds. */
export type SlotIdentity = z.output<typeof identitySchema>;

/** Both copies; undefined: names so long are no table's. @throws ZodError for what could not be read again */
export function encodeIdentity(found: SlotIdentity): Uint8Array | undefined {
  const identity = identitySchema.parse(found);
  const copy = encodeCopy(identity) ?? encodeCopy({ ...identity, reason: '' });
  if (copy === undefined) return undefined;
  const both = new Uint8Array(IDENTITY_BYTES);
  both.set(copy);
  both.set(copy, SECTOR_BYTES);
  return both;
}

function encodeCopy(identity: SlotIdentity): Uint8Array | undefined {
  const json = Buffer.from(JSON.stringify(identity));
  if (json.length > SECTOR_BYTES - 6) return undefined;
  const bytes = Buffer.alloc(SECTOR_BYTES);
  bytes.writeUInt16LE(json.length, 0);
  json.copy(bytes, 2);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), SECTOR_BYTES - 4);
  return bytes;
}

/** undefined: damaged. */
function decodeCopy(bytes: Uint8Array): SlotIdentity | 'zero' | undefined {
  if (isZero(bytes)) return 'zero';
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.readUInt32LE(SECTOR_BYTES - 4) !== crc32(view.subarray(0, -4))) return undefined;
  const length = view.readUInt16LE(0);
  if (length > SECTOR_BYTES - 6) return undefined;
  try {
    return identitySchema.parse(JSON.parse(view.toString('utf8', 2, 2 + length)));
  } catch {
    return undefined;
  }
}

/** What a slot of the file holds. */
export type SlotContent =
  | { readonly kind: 'free' }
  /** It names something, and what can't be told any more. */
  | { readonly kind: 'unknown' }
  /** `places` undefined: the whole table, because it is a narrow slot or a part of it is damaged. */
  | { readonly kind: 'used'; readonly identity: SlotIdentity; readonly places: PlaceImage | undefined };

/** Reads a slot, as long as a narrow or a wide one. */
export function decodeSlot(bytes: Uint8Array): SlotContent {
  const first = decodeCopy(bytes.subarray(0, SECTOR_BYTES));
  const second = decodeCopy(bytes.subarray(SECTOR_BYTES, IDENTITY_BYTES));
  const rest = bytes.subarray(IDENTITY_BYTES);
  if (typeof first !== 'object' && typeof second !== 'object') {
    // The first copy is written first, and cleared first: half a slot that was being taken, or given back.
    if (first === 'zero' || (second === 'zero' && isZero(rest))) return { kind: 'free' };
    return { kind: 'unknown' };
  }
  const identity = typeof first === 'object' ? first : (second as SlotIdentity);
  const isWhole = rest.length === 0 || typeof first !== 'object' || second === undefined;
  return { kind: 'used', identity, places: isWhole ? undefined : PlaceImage.read(rest.subarray(0, PLACES_BYTES)) };
}

/** @param bytes at most a slot of them */
export function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0;
}

/** A block that says yes; one that says no is all zeros. */
export function flagBlock(): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  block[0] = 1;
  seal(block);
  return block;
}

function seal(block: Uint8Array): void {
  const view = new DataView(block.buffer, block.byteOffset, BLOCK_BYTES);
  view.setUint32(DATA_BYTES, crc32(block.subarray(0, DATA_BYTES)), true);
}

function isIntact(block: Uint8Array): boolean {
  const view = new DataView(block.buffer, block.byteOffset, BLOCK_BYTES);
  return view.getUint32(DATA_BYTES, true) === crc32(block.subarray(0, DATA_BYTES)) || isZero(block);
}

/** The places of a wide slot, as they lie in the file. */
export class PlaceImage {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #tokens: bigint[] = [];
  #bucketCount = 0;

  constructor(bytes: Uint8Array = new Uint8Array(PLACES_BYTES)) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** A copy of what lies in the file; undefined: a block of it is damaged, or says that it is the whole table. */
  static read(bytes: Uint8Array): PlaceImage | undefined {
    const image = new PlaceImage(bytes.slice());
    for (let block = 0; block < BLOCKS; block++) if (!isIntact(image.block(block))) return undefined;
    if (!isZero(image.block(0))) return undefined;
    for (let index = 0; index < MAX_TOKENS; index++) {
      const stored = image.#view.getBigUint64(tokenOffset(index), true);
      if (stored === 0n) break;
      image.#tokens.push(BigInt.asIntN(64, stored ^ SIGN));
    }
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) if (image.#hasBucket(bucket)) image.#bucketCount++;
    return image;
  }

  get tokens(): readonly bigint[] {
    return this.#tokens;
  }

  get isEmpty(): boolean {
    return this.#tokens.length === 0 && this.#bucketCount === 0;
  }

  /** As the ledger has them; undefined: none. */
  get buckets(): Uint8Array | undefined {
    if (this.#bucketCount === 0) return undefined;
    const bits = new Uint8Array(Math.ceil(BUCKET_BYTES / DATA_BYTES) * DATA_BYTES);
    for (let block = FIRST_BUCKET_BLOCK; block < BLOCKS; block++) {
      bits.set(this.block(block).subarray(0, DATA_BYTES), (block - FIRST_BUCKET_BLOCK) * DATA_BYTES);
    }
    return bits.subarray(0, BUCKET_BYTES);
  }

  block(index: number): Uint8Array {
    return this.bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
  }

  /** Adds the partition, by itself while there is room. Returns the number of the block that changed; -1: it was there. */
  add(token: bigint): number {
    if (this.#tokens.includes(token)) return -1;
    if (this.#tokens.length < MAX_TOKENS) {
      const index = this.#tokens.push(token) - 1;
      this.#view.setBigUint64(tokenOffset(index), BigInt.asUintN(64, token) ^ SIGN, true);
      return this.#sealed(FIRST_TOKEN_BLOCK + Math.floor(index / TOKENS_PER_BLOCK));
    }
    const bucket = bucketOf(Number(BigInt.asIntN(32, token >> 32n)));
    if (this.#hasBucket(bucket)) return -1;
    this.bytes[bucketOffset(bucket)]! |= 1 << (bucket & 7);
    this.#bucketCount++;
    return this.#sealed(FIRST_BUCKET_BLOCK + Math.floor(bucket / BUCKETS_PER_BLOCK));
  }

  #hasBucket(bucket: number): boolean {
    return ((this.bytes[bucketOffset(bucket)]! >> (bucket & 7)) & 1) === 1;
  }

  #sealed(block: number): number {
    seal(this.block(block));
    return block;
  }
}

function tokenOffset(index: number): number {
  const block = FIRST_TOKEN_BLOCK + Math.floor(index / TOKENS_PER_BLOCK);
  return block * BLOCK_BYTES + (index % TOKENS_PER_BLOCK) * 8;
}

function bucketOffset(bucket: number): number {
  const block = FIRST_BUCKET_BLOCK + Math.floor(bucket / BUCKETS_PER_BLOCK);
  return block * BLOCK_BYTES + ((bucket % BUCKETS_PER_BLOCK) >> 3);
}
