import type { Socket } from 'node:net';
import { HEADER_BYTES, setStreamId } from '#core/cql/frame.ts';
import {
  encodeSegments,
  MIN_COMPRESSED_BYTES,
  SEGMENT_TRAILER_BYTES,
  type SegmentCompression,
  sealSegment,
  segmentHeaderBytes,
} from '#core/cql/segment.ts';
import { rethrowLater } from '../rethrow.ts';
import { joinOwn } from './own-bytes.ts';
import { SharedReader } from './shared-reader.ts';

const SLAB_BYTES = 16 * 1024;
/** Slabs that wait for the next turn, of all sockets together. */
const MAX_SPARE_SLABS = 256;
/** Frames up to this are copied when they are written; the body of a larger one goes out as the view that it came in as. */
export const COPIED_FRAME_BYTES = 8 * 1024;
/** Frames for a peer that does not keep up are handed to its socket in pieces of this size. */
const MAX_HELD_BYTES = 64 * 1024;
/** Up to here a loop is faster than the call that copies. */
const TINY_BYTES = 24;

/**
 * Collects frames and writes them with as few system calls as possible: everything that one turn of the event loop
 * produced for a socket leaves in one write. A small frame is copied once, with its new stream id, so the caller's
 * bytes may go to another cluster under another id at the same time.
 */
export class FrameWriter {
  readonly #socket: Socket;
  readonly #flusher: Flusher;
  /** Borrowed from the flusher until what is in them has left; the last one is written to. */
  readonly #slabs: Buffer[] = [];
  #slab: Buffer | undefined;
  #start = 0;
  #end = 0;
  readonly #parts: Buffer[] = [];
  #isQueued = false;
  /** Waits for the socket to be empty. */
  #isHeld = false;
  #segments: SegmentCompression | undefined;
  /** What a run of frames in a slab needs before and behind it, to be a segment where it lies. */
  #headBytes = 0;
  #tailBytes = 0;
  #maxCopiedBytes = COPIED_FRAME_BYTES;

  constructor(socket: Socket, flusher: Flusher) {
    this.#socket = socket;
    this.#flusher = flusher;
    socket.on('drain', () => {
      if (this.#isHeld) this.flush();
    });
  }

  /** Bytes that the kernel has not taken, apart from those of this turn. */
  get bufferedBytes(): number {
    return this.#socket.writableLength + (this.#isHeld ? this.#queuedBytes() : 0);
  }

  /** From now on frames leave in v5 segments; what was written before leaves first, as it is. */
  startSegments(compression: SegmentCompression): void {
    this.flush();
    this.#segments = compression;
    this.#headBytes = segmentHeaderBytes(compression);
    this.#tailBytes = SEGMENT_TRAILER_BYTES;
    if (compression === 'lz4') this.#maxCopiedBytes = MIN_COMPRESSED_BYTES;
  }

  /** Queues a frame under another stream id; the frame's own bytes are not touched. */
  write(frame: Buffer, streamId: number): void {
    if (frame.length <= this.#maxCopiedBytes) this.writeBytes(frame, 0, frame.length, streamId);
    else {
      this.#writeLarge(frame, streamId);
      this.#queue();
    }
  }

  /** The same for a frame of at most `COPIED_FRAME_BYTES` that lies at [start, end). */
  writeBytes(bytes: Buffer, start: number, end: number, streamId: number): void {
    const length = end - start;
    const hasRoom = this.#end + length + this.#tailBytes <= SLAB_BYTES;
    const slab = this.#slab !== undefined && hasRoom ? this.#slab : this.#nextSlab();
    const at = this.#end;
    if (length <= TINY_BYTES) for (let index = 0; index < length; index++) slab[at + index] = bytes[start + index]!;
    else bytes.copy(slab, at, start, end);
    slab[at + 2] = (streamId >> 8) & 0xff;
    slab[at + 3] = streamId & 0xff;
    this.#end = at + length;
    this.#queue();
  }

  /**
   * At the end of a turn: hands what is queued to the socket. What a peer can't take yet stays in the slabs, where frames
   * lie close together; given to the socket turn by turn, each piece would keep a slab of its own.
   */
  flushTurn(): void {
    this.#isQueued = false;
    if (this.#socket.writableNeedDrain && this.#queuedBytes() < MAX_HELD_BYTES) this.#isHeld = true;
    else this.flush();
  }

  /** Hands what is queued to the socket. */
  flush(): void {
    this.#isQueued = false;
    this.#isHeld = false;
    this.#closeRun();
    this.#slab = undefined;
    if (this.#parts.length === 0) return;
    // Also where this is not the end of a turn: what a socket could not take leaves whenever it can.
    this.#flusher.beforeFlush();
    // What waits takes the memory that is counted: neither slabs nor what an answer was read into.
    const isBehind = this.#socket.writableLength > 0;
    try {
      if (!this.#socket.destroyed && this.#socket.writable) this.#send(isBehind ? [joinOwn(this.#parts)] : this.#parts);
    } finally {
      this.#parts.length = 0;
      // What the kernel took at once is nobody's any more.
      if (isBehind || this.#socket.writableLength === 0) this.#flusher.giveBack(this.#slabs);
      this.#slabs.length = 0;
    }
  }

  #send(parts: readonly Buffer[]): void {
    if (parts.length === 1) {
      this.#socket.write(parts[0]!);
      return;
    }
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  #queuedBytes(): number {
    let bytes = this.#end - this.#start;
    for (const part of this.#parts) bytes += part.length;
    return bytes;
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#flusher.add(this);
  }

  #writeLarge(frame: Buffer, streamId: number): void {
    this.#closeRun();
    if (this.#segments !== undefined) {
      const copy = Buffer.from(frame);
      setStreamId(copy, streamId);
      this.#parts.push(...encodeSegments([copy], this.#segments));
      return;
    }
    const header = Buffer.from(frame.subarray(0, HEADER_BYTES));
    setStreamId(header, streamId);
    this.#parts.push(header, frame.subarray(HEADER_BYTES));
  }

  #closeRun(): void {
    if (this.#end === this.#start) return;
    const slab = this.#slab!;
    if (this.#segments !== undefined) sealSegment(slab, this.#start, this.#end, this.#segments);
    const runEnd = this.#end + this.#tailBytes;
    this.#parts.push(slab.subarray(this.#start - this.#headBytes, runEnd));
    this.#start = runEnd + this.#headBytes;
    this.#end = this.#start;
  }

  #nextSlab(): Buffer {
    this.#closeRun();
    const slab = this.#flusher.borrow();
    this.#slabs.push(slab);
    this.#slab = slab;
    this.#start = this.#headBytes;
    this.#end = this.#start;
    return slab;
  }
}

/** What the sockets of a process share: they are flushed once in each turn of the event loop, and lend each other memory. */
export class Flusher {
  readonly reader = new SharedReader();
  /** Called before anything is handed to a socket. Does not throw. */
  beforeFlush: () => void = () => undefined;
  #dirty: FrameWriter[] = [];
  #flushing: FrameWriter[] = [];
  #isScheduled = false;
  #turnStartedMs = 0;
  readonly #spare: Buffer[] = [];
  readonly #flush = (): void => this.#run();

  add(writer: FrameWriter): void {
    this.#dirty.push(writer);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#turnStartedMs = performance.now();
    setImmediate(this.#flush);
  }

  /** Like performance.now(), but while bytes wait to be flushed the time at which the first of them did. */
  now(): number {
    return this.#isScheduled ? this.#turnStartedMs : performance.now();
  }

  /** Something arrived: the time is looked at anew. */
  tick(): void {
    if (this.#isScheduled) this.#turnStartedMs = performance.now();
  }

  borrow(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  giveBack(slabs: readonly Buffer[]): void {
    for (const slab of slabs) if (this.#spare.length < MAX_SPARE_SLABS) this.#spare.push(slab);
  }

  #run(): void {
    this.#isScheduled = false;
    const dirty = this.#dirty;
    this.#dirty = this.#flushing;
    for (const writer of dirty) {
      try {
        writer.flushTurn();
      } catch (error) {
        // Of one socket; the others have bytes waiting.
        rethrowLater(error);
      }
    }
    dirty.length = 0;
    this.#flushing = dirty;
  }
}
