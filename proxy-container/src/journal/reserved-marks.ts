import { closeSync, fdatasync, fsyncSync, mkdirSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { describeError } from '#core/errors.ts';
import { WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { Logger } from '#core/ports.ts';
import {
  BLOCK_BYTES,
  decodeSlot,
  encodeIdentity,
  FILE_BYTES,
  flagBlock,
  HEADER_BYTES,
  IDENTITY_BYTES,
  isZero,
  NARROW_BYTES,
  NARROW_SLOTS,
  type PlaceImage,
  type SlotIdentity,
  WIDE_BYTES,
  WIDE_SLOTS,
} from './mark-slots.ts';

/** Once written the kernel has it, which a killed process does not change; the disk has it so much later. */
const SYNC_AFTER_MS = 50;
/** Left for whole keyspaces, when tables have used up the others. */
export const KEYSPACE_SLOTS = 32;
const VERSION = 1;
const HEADER_SECTOR_BYTES = 512;
const EVERYTHING_OFFSET = HEADER_SECTOR_BYTES;
const NOTHING = new Uint8Array(WIDE_BYTES);

/** A slot in use; narrow ones come first. */
export type SlotNumber = number;

export interface FoundSlot {
  readonly slot: SlotNumber;
  readonly identity: SlotIdentity;
  /** undefined: the whole table. */
  readonly places: PlaceImage | undefined;
}

/**
 * The file of suspect marks that the ledger does not have yet, written in place into space that was reserved when the disk
 * had room. Every call that writes is one system call, and what it wrote outlives the process.
 */
export class ReservedMarks {
  readonly #fd: number;
  readonly #logger: Logger;
  readonly #isTaken: boolean[] = new Array(NARROW_SLOTS + WIDE_SLOTS).fill(false);
  readonly found: readonly FoundSlot[];
  #isEverything = false;
  #isDirty = false;
  #isSyncing = false;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(fd: number, logger: Logger) {
    this.#fd = fd;
    this.#logger = logger;
    this.found = this.#readAll();
  }

  /** Opens the file, or makes it. @throws Error of the disk */
  static open(path: string, logger: Logger): ReservedMarks {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    let fd: number;
    try {
      fd = openSync(path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      makeFile(path);
      fd = openSync(path, 'r+');
    }
    return new ReservedMarks(fd, logger);
  }

  /** Something can't be told any more: any table may differ. */
  get isEverything(): boolean {
    return this.#isEverything;
  }

  setEverything(is: boolean): void {
    this.#isEverything = is;
    this.#write(is ? flagBlock() : NOTHING.subarray(0, BLOCK_BYTES), EVERYTHING_OFFSET);
  }

  /** A slot for a whole table or keyspace; undefined: all are in use. @throws Error of the disk */
  takeNarrow(identity: SlotIdentity): SlotNumber | undefined {
    const end = identity.table === WHOLE_KEYSPACE ? NARROW_SLOTS : NARROW_SLOTS - KEYSPACE_SLOTS;
    return this.#take(identity, undefined, 0, end);
  }

  /** A slot for these partitions; undefined: all are in use. @throws Error of the disk */
  takeWide(identity: SlotIdentity, places: PlaceImage): SlotNumber | undefined {
    return this.#take(identity, places, NARROW_SLOTS, NARROW_SLOTS + WIDE_SLOTS);
  }

  /** Writes a block of the places again. @throws Error of the disk */
  writeBlock(slot: SlotNumber, places: PlaceImage, block: number): void {
    this.#write(places.block(block), offsetOf(slot) + IDENTITY_BYTES + block * BLOCK_BYTES);
  }

  /** From now on the slot means the whole table. @throws Error of the disk */
  widen(slot: SlotNumber): void {
    if (isWide(slot)) this.#write(flagBlock(), offsetOf(slot) + IDENTITY_BYTES);
  }

  /** Gives the slot back. @throws Error of the disk */
  free(slot: SlotNumber): void {
    this.#write(NOTHING.subarray(0, sizeOf(slot)), offsetOf(slot));
    this.#isTaken[slot] = false;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    if (!this.#isSyncing) closeSync(this.#fd);
  }

  #take(identity: SlotIdentity, places: PlaceImage | undefined, start: number, end: number): SlotNumber | undefined {
    let slot = start;
    while (slot < end && this.#isTaken[slot]) slot++;
    const head = encodeIdentity(identity);
    if (slot === end || head === undefined) return undefined;
    // The places first: the identity makes them count.
    if (places && !places.isEmpty) this.#write(places.bytes, offsetOf(slot) + IDENTITY_BYTES);
    this.#write(head, offsetOf(slot));
    this.#isTaken[slot] = true;
    return slot;
  }

  #readAll(): FoundSlot[] {
    const bytes = Buffer.alloc(FILE_BYTES);
    const length = readSync(this.#fd, bytes, 0, FILE_BYTES, 0);
    this.#isEverything = !isZero(bytes.subarray(EVERYTHING_OFFSET, EVERYTHING_OFFSET + BLOCK_BYTES));
    if (length < FILE_BYTES || !bytes.subarray(0, HEADER_SECTOR_BYTES).equals(header())) {
      this.#loseSight(length < FILE_BYTES ? 'the file is cut off' : 'the file has another header');
      this.#write(bytes.subarray(length), length);
      this.#write(header(), 0);
    }
    const found: FoundSlot[] = [];
    for (let slot = 0; slot < NARROW_SLOTS + WIDE_SLOTS; slot++) {
      const offset = offsetOf(slot);
      const own = bytes.subarray(offset, offset + sizeOf(slot));
      if (isZero(own)) continue;
      const content = decodeSlot(own);
      if (content.kind === 'used') {
        this.#isTaken[slot] = true;
        found.push({ slot, identity: content.identity, places: content.places });
      } else {
        if (content.kind === 'unknown') this.#loseSight(`slot ${slot} is damaged`);
        this.#write(NOTHING.subarray(0, own.length), offset);
      }
    }
    return found;
  }

  #loseSight(why: string): void {
    this.#logger.error('suspect marks can not be read; every table that the ledger knows is marked', { reason: why });
    this.setEverything(true);
  }

  #write(bytes: Uint8Array, offset: number): void {
    let done = 0;
    while (done < bytes.length) done += writeSync(this.#fd, bytes, done, bytes.length - done, offset + done);
    this.#isDirty = true;
    this.#timer ??= setTimeout(() => this.#sync(), SYNC_AFTER_MS).unref();
  }

  #sync(): void {
    this.#timer = undefined;
    if (!this.#isDirty || this.#isSyncing || this.#isClosed) return;
    this.#isDirty = false;
    this.#isSyncing = true;
    fdatasync(this.#fd, (error) => {
      this.#isSyncing = false;
      if (this.#isClosed) return closeSync(this.#fd);
      if (error) this.#logger.error('suspect marks may not be on the disk', { error: describeError(error) });
      if (this.#isDirty) this.#timer ??= setTimeout(() => this.#sync(), SYNC_AFTER_MS).unref();
    });
  }
}

function header(): Buffer {
  const bytes = Buffer.alloc(HEADER_SECTOR_BYTES);
  bytes.write('RSMB', 0, 'latin1');
  bytes.writeUInt16LE(VERSION, 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_SECTOR_BYTES - 4)), HEADER_SECTOR_BYTES - 4);
  return bytes;
}

/** Under another name until all of its space is there: a file by this name is whole, or somebody has damaged it. */
function makeFile(path: string): void {
  const fresh = `${path}.new`;
  const fd = openSync(fresh, 'w', 0o600);
  try {
    const bytes = Buffer.alloc(FILE_BYTES);
    bytes.set(header());
    for (let done = 0; done < FILE_BYTES; ) done += writeSync(fd, bytes, done, FILE_BYTES - done, done);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(fresh, path);
}

function isWide(slot: SlotNumber): boolean {
  return slot >= NARROW_SLOTS;
}

function sizeOf(slot: SlotNumber): number {
  return isWide(slot) ? WIDE_BYTES : NARROW_BYTES;
}

function offsetOf(slot: SlotNumber): number {
  const narrow = Math.min(slot, NARROW_SLOTS);
  return HEADER_BYTES + narrow * NARROW_BYTES + (slot - narrow) * WIDE_BYTES;
}
