import type { Socket } from 'node:net';
import { type BodyCompression, compressBody, decompressBody } from '#core/cql/compression.ts';
import {
  bodyOf,
  encodeFrame,
  type FrameConsumer,
  FrameSplitter,
  flagsOf,
  HEADER_BYTES,
  isResponse,
  opcodeOf,
  streamIdOf,
  versionOf,
  writeHeader,
} from '#core/cql/frame.ts';
import { FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodeSegments, SegmentSplitter } from '#core/cql/segment.ts';

/** Bodies smaller than this are not worth compressing. */
const MIN_COMPRESSED_BYTES = 512;
/** Frames are gathered into writes of about this size. */
const WRITE_BYTES = 64 * 1024;

/**
 * Frames over one socket: v3 and v4 frames, or v5 segments once the handshake says so. What is written in one turn of the
 * event loop leaves in as few writes as possible. Knows nothing of requests and replies.
 */
export class Transport {
  readonly #socket: Socket;
  readonly #maxBodyBytes: number;
  readonly #consume: FrameConsumer;
  readonly #frames: FrameSplitter;
  #segments: SegmentSplitter | undefined;
  #segmentCompression: 'none' | 'lz4' = 'none';
  #compression: BodyCompression | undefined;
  #queue: Buffer[] = [];

  constructor(socket: Socket, maxBodyBytes: number, consume: FrameConsumer) {
    this.#socket = socket;
    this.#maxBodyBytes = maxBodyBytes;
    this.#consume = (frame) => consume(this.#plain(frame));
    this.#frames = new FrameSplitter(maxBodyBytes);
  }

  /** Bytes that wait to be sent. */
  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  /** Bytes from the socket. @throws ProtocolError */
  receive(chunk: Buffer): void {
    if (this.#segments) {
      this.#segments.push(chunk, this.#consume);
      return;
    }
    this.#frames.push(chunk, (frame) => {
      this.#consume(frame);
      return this.#segments === undefined;
    });
    // A callback of the loop above may have changed the framing; what lies behind its frame is in segments.
    const segments = this.#segments as SegmentSplitter | undefined;
    const rest = segments ? this.#frames.takeRest() : undefined;
    if (rest && rest.length > 0) segments?.push(rest, this.#consume);
  }

  /** v5: every frame from here on, in both directions, is inside segments. */
  startSegments(compression: 'none' | 'lz4'): void {
    this.#segments = new SegmentSplitter(compression, this.#maxBodyBytes);
    this.#segmentCompression = compression;
  }

  /** v3 and v4: bodies are compressed from here on. */
  startBodyCompression(compression: BodyCompression): void {
    this.#compression = compression;
  }

  /** Sends a frame at the end of this turn of the event loop. The body must not change until then. */
  send(version: number, flags: number, streamId: number, opcode: number, body: Buffer | readonly Buffer[]): void {
    const plain = Buffer.isBuffer(body) ? body : body.length === 1 ? body[0]! : undefined;
    const header = { version, isResponse: false, flags, streamId, opcode };
    if (this.#compression && opcode !== Opcode.STARTUP && opcode !== Opcode.OPTIONS) {
      const whole = plain ?? Buffer.concat(body as readonly Buffer[]);
      if (whole.length >= MIN_COMPRESSED_BYTES) {
        const compressed = compressBody(whole, this.#compression);
        this.#enqueue(encodeFrame({ ...header, flags: flags | FrameFlag.COMPRESSION }, compressed));
        return;
      }
    }
    if (plain) this.#enqueue(encodeFrame(header, plain));
    else this.#enqueue(joinFrame(header, body as readonly Buffer[]));
  }

  #enqueue(frame: Buffer): void {
    if (this.#queue.length === 0) setImmediate(() => this.flush());
    this.#queue.push(frame);
  }

  /** Sends what is queued now. */
  flush(): void {
    const frames = this.#queue;
    if (frames.length === 0 || this.#socket.destroyed) return;
    this.#queue = [];
    this.#socket.cork();
    const buffers = this.#segments ? encodeSegments(frames, this.#segmentCompression) : gather(frames);
    for (const buffer of buffers) this.#socket.write(buffer);
    this.#socket.uncork();
  }

  /** The frame with its body decompressed, which is itself where it is not compressed. */
  #plain(frame: Buffer): Buffer {
    const flags = flagsOf(frame);
    if ((flags & FrameFlag.COMPRESSION) === 0 || this.#compression === undefined) return frame;
    const body = decompressBody(bodyOf(frame), this.#compression, this.#maxBodyBytes);
    return encodeFrame(
      {
        version: versionOf(frame),
        isResponse: isResponse(frame),
        flags: flags & ~FrameFlag.COMPRESSION,
        streamId: streamIdOf(frame),
        opcode: opcodeOf(frame),
      },
      body,
    );
  }
}

function joinFrame(header: Parameters<typeof writeHeader>[1], parts: readonly Buffer[]): Buffer {
  let bodyBytes = 0;
  for (const part of parts) bodyBytes += part.length;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + bodyBytes);
  writeHeader(frame, header, bodyBytes);
  let offset = HEADER_BYTES;
  for (const part of parts) offset += part.copy(frame, offset);
  return frame;
}

/** Small frames together, large ones by themselves. */
function gather(frames: readonly Buffer[]): Buffer[] {
  const buffers: Buffer[] = [];
  let group: Buffer[] = [];
  let groupBytes = 0;
  for (const frame of frames) {
    if (groupBytes + frame.length > WRITE_BYTES && group.length > 0) {
      buffers.push(group.length === 1 ? group[0]! : Buffer.concat(group, groupBytes));
      group = [];
      groupBytes = 0;
    }
    group.push(frame);
    groupBytes += frame.length;
  }
  if (group.length > 0) buffers.push(group.length === 1 ? group[0]! : Buffer.concat(group, groupBytes));
  return buffers;
}
