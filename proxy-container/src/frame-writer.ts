import type { Socket } from 'node:net';
import { HEADER_BYTES, setStreamId } from '#core/cql/frame.ts';
import { encodeSegments, type SegmentCompression } from '#core/cql/segment.ts';
import { rethrowLater } from './rethrow.ts';

const SLAB_BYTES = 64 * 1024;
/** Frames up to this are copied when they are written; the body of a larger one goes out as the view that it came in as. */
export const COPIED_FRAME_BYTES = 8 * 1024;

/**
 * Collects frames and writes them with as few system calls as possible: everything that one turn of the event loop
 * produced for a socket leaves in one write. A small frame is copied once, with its new stream id, so the caller's
 * bytes may go to another cluster under another id at the same time.
 */
export class FrameWriter {
  readonly #socket: Socket;
  readonly #flusher: Flusher;
  #slab = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  #parts: Buffer[] = [];
  #isQueued = false;
  #segments: SegmentCompression | undefined;

  constructor(socket: Socket, flusher: Flusher) {
    this.#socket = socket;
    this.#flusher = flusher;
  }

  /** Bytes given to the socket that the kernel has not taken. */
  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  /** From now on frames leave in v5 segments; what was written before leaves first, as it is. */
  startSegments(compression: SegmentCompression): void {
    this.flush();
    this.#segments = compression;
  }

  /** Queues a frame under another stream id; the frame's own bytes are not touched. */
  write(frame: Buffer, streamId: number): void {
    if (frame.length > COPIED_FRAME_BYTES) this.#writeLarge(frame, streamId);
    else {
      if (this.#end + frame.length > this.#slab.length) this.#newSlab();
      const at = this.#end;
      frame.copy(this.#slab, at);
      this.#slab[at + 2] = (streamId >> 8) & 0xff;
      this.#slab[at + 3] = streamId & 0xff;
      this.#end = at + frame.length;
      if (this.#segments !== undefined) this.#closeRun();
    }
    if (!this.#isQueued) {
      this.#isQueued = true;
      this.#flusher.add(this);
    }
  }

  /** Hands what is queued to the socket. */
  flush(): void {
    this.#isQueued = false;
    this.#closeRun();
    const parts = this.#parts;
    if (parts.length === 0) return;
    this.#parts = [];
    if (this.#socket.destroyed || !this.#socket.writable) return;
    const out = this.#segments === undefined ? parts : encodeSegments(parts, this.#segments);
    if (out.length === 1) {
      this.#socket.write(out[0]!);
      return;
    }
    this.#socket.cork();
    for (const part of out) this.#socket.write(part);
    this.#socket.uncork();
  }

  #writeLarge(frame: Buffer, streamId: number): void {
    this.#closeRun();
    if (this.#segments !== undefined) {
      const copy = Buffer.from(frame);
      setStreamId(copy, streamId);
      this.#parts.push(copy);
      return;
    }
    const header = Buffer.from(frame.subarray(0, HEADER_BYTES));
    setStreamId(header, streamId);
    this.#parts.push(header, frame.subarray(HEADER_BYTES));
  }

  #closeRun(): void {
    if (this.#end > this.#start) this.#parts.push(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #newSlab(): void {
    this.#closeRun();
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#start = 0;
    this.#end = 0;
  }
}

/** Flushes every writer that was written to, once for each turn of the event loop. */
export class Flusher {
  #dirty: FrameWriter[] = [];
  #isScheduled = false;

  add(writer: FrameWriter): void {
    this.#dirty.push(writer);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    this.#isScheduled = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const writer of dirty) {
      try {
        writer.flush();
      } catch (error) {
        // Of one socket; the others have bytes waiting.
        rethrowLater(error);
      }
    }
  }
}
