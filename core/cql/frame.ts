import { ProtocolError } from '#core/errors.ts';
import { MAX_PROTOCOL_VERSION, MIN_PROTOCOL_VERSION } from './protocol.ts';

/**
 * Frames of v3 and v4, and the envelopes inside v5 segments (section 2):
 *
 *   <version [byte]><flags [byte]><stream [short]><opcode [byte]><length [int]><body>
 *
 * A frame is passed around as one Buffer, header included, so that a proxy can forward it after rewriting two bytes.
 */
export const HEADER_BYTES = 9;

/** Bodies longer than this are refused unless a caller says otherwise (the protocol's own limit). */
export const DEFAULT_MAX_BODY_BYTES = 256 * 1024 * 1024;

const RESPONSE_BIT = 0x80;

/** The protocol version, without the direction bit. */
export function versionOf(frame: Uint8Array): number {
  return frame[0]! & 0x7f;
}

export function isResponse(frame: Uint8Array): boolean {
  return (frame[0]! & RESPONSE_BIT) !== 0;
}

export function flagsOf(frame: Uint8Array): number {
  return frame[1]!;
}

/** Signed: negative ids are events pushed by a server. */
export function streamIdOf(frame: Uint8Array): number {
  return ((frame[2]! << 24) >> 16) | frame[3]!;
}

export function opcodeOf(frame: Uint8Array): number {
  return frame[4]!;
}

/** The body, sharing memory with the frame. */
export function bodyOf(frame: Buffer): Buffer {
  return frame.subarray(HEADER_BYTES);
}

/** Rewrites the stream id in place: all that a proxied reply needs. */
export function setStreamId(frame: Uint8Array, streamId: number): void {
  frame[2] = (streamId >> 8) & 0xff;
  frame[3] = streamId & 0xff;
}

export interface FrameHeader {
  readonly version: number;
  readonly isResponse: boolean;
  readonly flags: number;
  readonly streamId: number;
  readonly opcode: number;
}

/** Writes a header for a body of `bodyBytes` into `target`. */
export function writeHeader(target: Uint8Array, header: FrameHeader, bodyBytes: number): void {
  target[0] = header.version | (header.isResponse ? RESPONSE_BIT : 0);
  target[1] = header.flags;
  setStreamId(target, header.streamId);
  target[4] = header.opcode;
  target[5] = bodyBytes >>> 24;
  target[6] = (bodyBytes >>> 16) & 0xff;
  target[7] = (bodyBytes >>> 8) & 0xff;
  target[8] = bodyBytes & 0xff;
}

/** One Buffer with header and body. The body is copied. */
export function encodeFrame(header: FrameHeader, body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  writeHeader(frame, header, body.length);
  frame.set(body, HEADER_BYTES);
  return frame;
}

/**
 * What takes a frame. `false` stops the splitter after this frame; the bytes behind it are then had by `takeRest`
 * (the framing changes in mid-stream when v5 starts its segments).
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a consumer that never stops returns nothing
export type FrameConsumer = (frame: Buffer) => boolean | void;

/**
 * Looks at a frame where it lies, at [start, end), before a view of it is made. True: it was taken.
 * It is not asked about a frame that came in pieces.
 */
export type FramePeek = (bytes: Buffer, start: number, end: number) => boolean;

/** Cuts a byte stream into frames. A frame that lies inside one chunk is a view of that chunk; nothing is copied. */
export class FrameSplitter {
  #maxBodyBytes: number;
  #parts: Buffer[] = [];
  #bufferedBytes = 0;
  /** Bytes the unfinished frame needs in all, once its header is there; else those of a header. */
  #wantedBytes = HEADER_BYTES;
  #isStopped = false;

  constructor(maxBodyBytes: number = DEFAULT_MAX_BODY_BYTES) {
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Whether bytes are held that no consumer has seen. */
  get isInsideFrame(): boolean {
    return this.#bufferedBytes > 0;
  }

  /** Longer bodies are taken from now on. */
  allow(maxBodyBytes: number): void {
    this.#maxBodyBytes = maxBodyBytes;
  }

  /**
   * Takes the next bytes of the stream, [from, to) of `bytes`, and hands every frame that they complete to `consume`.
   * Memory held grows with bytes received, never with a length that was only announced.
   * @throws ProtocolError when the stream can't be a CQL stream; it must then be closed
   */
  push(bytes: Buffer, consume: FrameConsumer, peek?: FramePeek, from = 0, to = bytes.length): void {
    let rest = bytes;
    let offset = from;
    let end = to;
    if (this.#bufferedBytes > 0) {
      const chunk = bytes.subarray(from, to);
      // Only a stopped splitter holds more than one unfinished frame.
      if (this.#isStopped) rest = this.#join(chunk);
      else {
        if (this.#bufferedBytes + chunk.length < this.#wantedBytes) {
          this.#keep(chunk);
          return;
        }
        if (this.#wantedBytes === HEADER_BYTES) {
          // A header cut in two: at most eight old bytes, so joining them costs no more than the chunk.
          rest = this.#join(chunk);
        } else {
          const used = this.#wantedBytes - this.#bufferedBytes;
          const frame = this.#join(chunk.subarray(0, used));
          rest = chunk.subarray(used);
          if (consume(frame) === false) {
            this.#stop(rest);
            return;
          }
        }
      }
      offset = 0;
      end = rest.length;
    }
    let wanted = HEADER_BYTES;
    while (end - offset >= HEADER_BYTES) {
      wanted = this.#frameBytes(rest, offset);
      if (wanted > end - offset) break;
      const start = offset;
      offset += wanted;
      wanted = HEADER_BYTES;
      if (peek?.(rest, start, offset)) continue;
      const frame = rest.subarray(start, offset);
      if (consume(frame) === false) {
        this.#stop(rest.subarray(offset, end));
        return;
      }
    }
    this.#wantedBytes = wanted;
    if (offset < end) this.#keep(rest.subarray(offset, end));
  }

  /** Gives up the bytes that no frame has used, and forgets them. */
  takeRest(): Buffer {
    return this.#join(Buffer.alloc(0));
  }

  #join(last: Buffer): Buffer {
    const joined = this.#parts.length === 0 ? last : Buffer.concat([...this.#parts, last]);
    this.#parts = [];
    this.#bufferedBytes = 0;
    this.#wantedBytes = HEADER_BYTES;
    this.#isStopped = false;
    return joined;
  }

  #stop(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#keep(rest);
    this.#isStopped = true;
  }

  #keep(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.#bufferedBytes += bytes.length;
  }

  #frameBytes(bytes: Buffer, offset: number): number {
    const version = bytes[offset]! & 0x7f;
    if (version < MIN_PROTOCOL_VERSION || version > MAX_PROTOCOL_VERSION) {
      throw new ProtocolError(
        `Invalid or unsupported protocol version (${version}); supported versions are (3/v3, 4/v4, 5/v5)`,
        { context: { version } },
      );
    }
    const bodyBytes = bytes.readInt32BE(offset + 5);
    if (bodyBytes < 0 || bodyBytes > this.#maxBodyBytes) {
      throw new ProtocolError(`a frame announces a body of ${bodyBytes} bytes; the limit is ${this.#maxBodyBytes}`, {
        context: { bodyBytes, maxBodyBytes: this.#maxBodyBytes },
      });
    }
    return HEADER_BYTES + bodyBytes;
  }
}
