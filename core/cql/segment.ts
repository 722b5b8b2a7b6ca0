import { decodeLz4Block, encodeLz4Block, lz4CompressBound } from '#core/bytes/lz4.ts';
import { ProtocolError } from '#core/errors.ts';
import { segmentHeaderCrc, segmentPayloadCrc } from './crc.ts';
import { DEFAULT_MAX_BODY_BYTES, type FrameConsumer, type FramePeek, FrameSplitter, HEADER_BYTES } from './frame.ts';

/**
 * Segments of protocol v5 (section 2.2 of its specification), little-endian, unlike everything inside them:
 *
 *   plain       <17 bits payload length><1 bit self-contained><6 bits 0><CRC24 of these 3 bytes>
 *   compressed  <17 bits compressed length><17 bits uncompressed length><1 bit self-contained><5 bits 0><CRC24 of these 5>
 *   then        <payload><CRC32 of the payload as sent>
 *
 * A self-contained segment holds whole frames, one or more; any other holds a piece of exactly one frame. An
 * uncompressed length of 0 says that compression did not pay and the payload is plain.
 */
const MAX_PAYLOAD_BYTES = 128 * 1024 - 1;
const CRC24_BYTES = 3;
const CRC32_BYTES = 4;
const PLAIN_HEADER_BYTES = 3;
const LZ4_HEADER_BYTES = 5;
const LENGTH_MASK = 0x1ffff;
/** A shorter payload fits one packet either way, so compressing it would save nothing. */
const MIN_COMPRESSED_BYTES = 1024;

export type SegmentCompression = 'none' | 'lz4';

/** Turns frames into segments, each one buffer: some drivers lose a header that arrives in two reads. */
export function encodeSegments(frames: readonly Buffer[], compression: SegmentCompression): Buffer[] {
  const segments: Buffer[] = [];
  let group: Buffer[] = [];
  let groupBytes = 0;
  const flush = (): void => {
    if (groupBytes > 0) segments.push(encodeSegment(group, groupBytes, true, compression));
    group = [];
    groupBytes = 0;
  };
  for (const frame of frames) {
    if (groupBytes + frame.length > MAX_PAYLOAD_BYTES) flush();
    if (frame.length <= MAX_PAYLOAD_BYTES) {
      group.push(frame);
      groupBytes += frame.length;
      continue;
    }
    for (let start = 0; start < frame.length; start += MAX_PAYLOAD_BYTES) {
      const piece = frame.subarray(start, start + MAX_PAYLOAD_BYTES);
      segments.push(encodeSegment([piece], piece.length, false, compression));
    }
  }
  flush();
  return segments;
}

function encodeSegment(
  parts: readonly Buffer[],
  payloadBytes: number,
  isSelfContained: boolean,
  compression: SegmentCompression,
): Buffer {
  if (compression === 'none') {
    const start = PLAIN_HEADER_BYTES + CRC24_BYTES;
    const segment = Buffer.allocUnsafe(start + payloadBytes + CRC32_BYTES);
    copyParts(parts, segment, start);
    segment.writeUIntLE(payloadBytes | (isSelfContained ? 1 << 17 : 0), 0, 3);
    return seal(segment, PLAIN_HEADER_BYTES, payloadBytes);
  }
  const start = LZ4_HEADER_BYTES + CRC24_BYTES;
  const isTried = payloadBytes >= MIN_COMPRESSED_BYTES;
  const bound = isTried ? Math.max(lz4CompressBound(payloadBytes), payloadBytes) : payloadBytes;
  const scratch = Buffer.allocUnsafe(start + bound + CRC32_BYTES);
  let wireBytes = payloadBytes;
  let plainBytes = 0;
  if (isTried) {
    const payload = parts.length === 1 ? parts[0]! : Buffer.concat(parts, payloadBytes);
    const compressedBytes = encodeLz4Block(payload, scratch, start);
    if (compressedBytes < payloadBytes) {
      wireBytes = compressedBytes;
      plainBytes = payloadBytes;
    }
  }
  if (plainBytes === 0) copyParts(parts, scratch, start);
  // 35 bits: more than a 32-bit operation holds, few enough for a double.
  scratch.writeUIntLE(wireBytes + plainBytes * 2 ** 17 + (isSelfContained ? 2 ** 34 : 0), 0, 5);
  return seal(scratch.subarray(0, start + wireBytes + CRC32_BYTES), LZ4_HEADER_BYTES, wireBytes);
}

function copyParts(parts: readonly Buffer[], target: Buffer, start: number): void {
  let offset = start;
  for (const part of parts) offset += part.copy(target, offset);
}

function seal(segment: Buffer, headerBytes: number, payloadBytes: number): Buffer {
  segment.writeUIntLE(segmentHeaderCrc(segment, 0, headerBytes), headerBytes, CRC24_BYTES);
  const start = headerBytes + CRC24_BYTES;
  const payload = segment.subarray(start, start + payloadBytes);
  segment.writeUInt32LE(segmentPayloadCrc(payload), start + payloadBytes);
  return segment;
}

/** Cuts a byte stream of segments into the frames inside them. */
export class SegmentSplitter {
  readonly #compression: SegmentCompression;
  readonly #headerBytes: number;
  readonly #frames: FrameSplitter;
  #rest: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #bufferedBytes = 0;
  #wantedBytes = 0;
  #isLargeFrame = false;

  constructor(compression: SegmentCompression, maxBodyBytes: number = DEFAULT_MAX_BODY_BYTES) {
    this.#compression = compression;
    this.#headerBytes = (compression === 'lz4' ? LZ4_HEADER_BYTES : PLAIN_HEADER_BYTES) + CRC24_BYTES;
    this.#frames = new FrameSplitter(maxBodyBytes);
  }

  /** Whether bytes are held that no consumer has seen. */
  get isInsideFrame(): boolean {
    return this.#bufferedBytes > 0 || this.#frames.isInsideFrame;
  }

  /** Frames of longer bodies are taken from now on. */
  allow(maxBodyBytes: number): void {
    this.#frames.allow(maxBodyBytes);
  }

  /**
   * Takes the next bytes of the stream and hands every frame that they complete to `consume`.
   * @throws ProtocolError on a checksum that does not fit or a segment that breaks the rules; the stream must be closed
   */
  push(chunk: Buffer, consume: FrameConsumer, peek?: FramePeek): void {
    this.#parts.push(chunk);
    this.#bufferedBytes += chunk.length;
    // Not one join for every small read of a segment: only when enough is there to go on.
    if (this.#bufferedBytes < this.#wantedBytes) return;
    this.#rest = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts, this.#bufferedBytes);
    let offset = 0;
    for (;;) {
      const used = this.#segment(offset, consume, peek);
      if (used === 0) break;
      offset += used;
    }
    const left = this.#rest.subarray(offset);
    this.#parts = left.length > 0 ? [left] : [];
    this.#bufferedBytes = left.length;
  }

  /** Consumes the segment at `offset`; 0 when it is incomplete, with the bytes it needs noted. */
  #segment(offset: number, consume: FrameConsumer, peek: FramePeek | undefined): number {
    const available = this.#rest.length - offset;
    if (available < this.#headerBytes) {
      this.#wantedBytes = this.#headerBytes;
      return 0;
    }
    const { wireBytes, plainBytes, isSelfContained } = this.#header(offset);
    const segmentBytes = this.#headerBytes + wireBytes + CRC32_BYTES;
    if (available < segmentBytes) {
      this.#wantedBytes = segmentBytes;
      return 0;
    }
    this.#wantedBytes = 0;
    const start = offset + this.#headerBytes;
    const payload = this.#rest.subarray(start, start + wireBytes);
    if (segmentPayloadCrc(payload) !== this.#rest.readUInt32LE(start + wireBytes)) {
      throw new ProtocolError('the CRC32 of a segment payload does not fit its bytes');
    }
    this.#deliver(plainBytes === 0 ? payload : decompress(payload, plainBytes), isSelfContained, consume, peek);
    return segmentBytes;
  }

  #header(offset: number): { wireBytes: number; plainBytes: number; isSelfContained: boolean } {
    const fieldBytes = this.#headerBytes - CRC24_BYTES;
    const crc = segmentHeaderCrc(this.#rest, offset, fieldBytes);
    if (crc !== this.#rest.readUIntLE(offset + fieldBytes, CRC24_BYTES)) {
      throw new ProtocolError('the CRC24 of a segment header does not fit its bytes');
    }
    if (this.#compression === 'none') {
      const bits = this.#rest.readUIntLE(offset, 3);
      return { wireBytes: bits & LENGTH_MASK, plainBytes: 0, isSelfContained: (bits & (1 << 17)) !== 0 };
    }
    const bits = this.#rest.readUIntLE(offset, 5);
    return {
      wireBytes: bits % 2 ** 17,
      plainBytes: Math.floor(bits / 2 ** 17) % 2 ** 17,
      isSelfContained: Math.floor(bits / 2 ** 34) % 2 === 1,
    };
  }

  #deliver(payload: Buffer, isSelfContained: boolean, consume: FrameConsumer, peek: FramePeek | undefined): void {
    if (isSelfContained) {
      if (this.#frames.isInsideFrame) throw new ProtocolError('a self-contained segment interrupts a large frame');
      this.#frames.push(payload, consume, peek);
      if (this.#frames.isInsideFrame) throw new ProtocolError('a self-contained segment ends inside a frame');
      return;
    }
    if (!this.#isLargeFrame && payload.length < HEADER_BYTES) {
      throw new ProtocolError('the first segment of a large frame is shorter than a frame header');
    }
    this.#frames.push(payload, consume);
    this.#isLargeFrame = this.#frames.isInsideFrame;
  }
}

function decompress(payload: Buffer, plainBytes: number): Buffer {
  const plain = Buffer.allocUnsafe(plainBytes);
  if (decodeLz4Block(payload, 0, payload.length, plain, 0, plainBytes) !== plainBytes) {
    throw new ProtocolError('a segment payload is not valid LZ4');
  }
  return plain;
}
