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
/**
 * A shorter payload fits one packet either way, and compressing one costs more time than all else that a proxy does with
 * it: frames of fewer bytes are not compressed, whatever leaves together with them.
 */
export const MIN_COMPRESSED_BYTES = 1024;

export type SegmentCompression = 'none' | 'lz4';

/** What lies before the payload of a segment. */
export function segmentHeaderBytes(compression: SegmentCompression): number {
  return (compression === 'lz4' ? LZ4_HEADER_BYTES : PLAIN_HEADER_BYTES) + CRC24_BYTES;
}

/** What lies behind it. */
export const SEGMENT_TRAILER_BYTES = CRC32_BYTES;

/**
 * Makes a segment of the whole frames that lie at [start, end), not compressed and at most 128 KiB in all:
 * `segmentHeaderBytes` before them and `SEGMENT_TRAILER_BYTES` behind them are written.
 */
export function sealSegment(bytes: Buffer, start: number, end: number, compression: SegmentCompression): void {
  writeSegmentHeader(bytes, start, end - start, 0, true, compression);
  writeUInt32LE(bytes, segmentPayloadCrc(bytes, start, end), end);
}

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
  const start = segmentHeaderBytes(compression);
  const isTried = compression === 'lz4' && payloadBytes >= MIN_COMPRESSED_BYTES;
  const bound = isTried ? Math.max(lz4CompressBound(payloadBytes), payloadBytes) : payloadBytes;
  const segment = Buffer.allocUnsafe(start + bound + CRC32_BYTES);
  let wireBytes = payloadBytes;
  let plainBytes = 0;
  if (isTried) {
    const payload = parts.length === 1 ? parts[0]! : Buffer.concat(parts, payloadBytes);
    const compressedBytes = encodeLz4Block(payload, segment, start);
    if (compressedBytes < payloadBytes) {
      wireBytes = compressedBytes;
      plainBytes = payloadBytes;
    }
  }
  if (plainBytes === 0) {
    let offset = start;
    for (const part of parts) offset += part.copy(segment, offset);
  }
  writeSegmentHeader(segment, start, wireBytes, plainBytes, isSelfContained, compression);
  const end = start + wireBytes;
  writeUInt32LE(segment, segmentPayloadCrc(segment, start, end), end);
  return segment.subarray(0, end + CRC32_BYTES);
}

/** Before the payload, which begins at `payloadStart`. */
function writeSegmentHeader(
  bytes: Buffer,
  payloadStart: number,
  wireBytes: number,
  plainBytes: number,
  isSelfContained: boolean,
  compression: SegmentCompression,
): void {
  const start = payloadStart - segmentHeaderBytes(compression);
  bytes[start] = wireBytes & 0xff;
  bytes[start + 1] = (wireBytes >>> 8) & 0xff;
  let fieldBytes = PLAIN_HEADER_BYTES;
  if (compression === 'none') bytes[start + 2] = (wireBytes >>> 16) | (isSelfContained ? 2 : 0);
  else {
    fieldBytes = LZ4_HEADER_BYTES;
    bytes[start + 2] = (wireBytes >>> 16) | ((plainBytes & 0x7f) << 1);
    bytes[start + 3] = (plainBytes >>> 7) & 0xff;
    bytes[start + 4] = (plainBytes >>> 15) | (isSelfContained ? 4 : 0);
  }
  const crc = segmentHeaderCrc(bytes, start, fieldBytes);
  const at = start + fieldBytes;
  bytes[at] = crc & 0xff;
  bytes[at + 1] = (crc >>> 8) & 0xff;
  bytes[at + 2] = crc >>> 16;
}

function writeUInt32LE(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
  bytes[at + 2] = (value >>> 16) & 0xff;
  bytes[at + 3] = value >>> 24;
}

/** Cuts a byte stream of segments into the frames inside them. What a chunk holds whole is read where it lies. */
export class SegmentSplitter {
  readonly #compression: SegmentCompression;
  readonly #headerBytes: number;
  readonly #frames: FrameSplitter;
  /** Of a segment that is not whole yet. */
  #parts: Buffer[] = [];
  #bufferedBytes = 0;
  #wantedBytes = 0;
  #isLargeFrame = false;
  /** What the header said that was read last. */
  #wireBytes = 0;
  #plainBytes = 0;
  #isSelfContained = false;

  constructor(compression: SegmentCompression, maxBodyBytes: number = DEFAULT_MAX_BODY_BYTES) {
    this.#compression = compression;
    this.#headerBytes = segmentHeaderBytes(compression);
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
    let bytes = chunk;
    if (this.#bufferedBytes > 0) {
      this.#keep(chunk);
      // Not one join for every small read of a segment: only when enough is there to go on.
      if (this.#bufferedBytes < this.#wantedBytes) return;
      bytes = Buffer.concat(this.#parts, this.#bufferedBytes);
      this.#parts = [];
      this.#bufferedBytes = 0;
    }
    let offset = 0;
    while (offset < bytes.length) {
      const used = this.#segment(bytes, offset, consume, peek);
      if (used === 0) break;
      offset += used;
    }
    if (offset < bytes.length) this.#keep(offset === 0 ? bytes : bytes.subarray(offset));
  }

  #keep(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.#bufferedBytes += bytes.length;
  }

  /** Consumes the segment at `offset`; 0 when it is incomplete, with the bytes it needs noted. */
  #segment(bytes: Buffer, offset: number, consume: FrameConsumer, peek: FramePeek | undefined): number {
    const available = bytes.length - offset;
    if (available < this.#headerBytes) {
      this.#wantedBytes = this.#headerBytes;
      return 0;
    }
    this.#readHeader(bytes, offset);
    const start = offset + this.#headerBytes;
    const end = start + this.#wireBytes;
    const segmentBytes = end + SEGMENT_TRAILER_BYTES - offset;
    if (available < segmentBytes) {
      this.#wantedBytes = segmentBytes;
      return 0;
    }
    if (segmentPayloadCrc(bytes, start, end) !== bytes.readUInt32LE(end)) {
      throw new ProtocolError('the CRC32 of a segment payload does not fit its bytes');
    }
    if (this.#plainBytes === 0) this.#deliver(bytes, start, end, consume, peek);
    else {
      const plain = decompress(bytes, start, end, this.#plainBytes);
      this.#deliver(plain, 0, plain.length, consume, peek);
    }
    return segmentBytes;
  }

  #readHeader(bytes: Buffer, offset: number): void {
    const crcAt = offset + this.#headerBytes - CRC24_BYTES;
    const crc = bytes[crcAt]! | (bytes[crcAt + 1]! << 8) | (bytes[crcAt + 2]! << 16);
    if (segmentHeaderCrc(bytes, offset, crcAt - offset) !== crc) {
      throw new ProtocolError('the CRC24 of a segment header does not fit its bytes');
    }
    const third = bytes[offset + 2]!;
    this.#wireBytes = bytes[offset]! | (bytes[offset + 1]! << 8) | ((third & 1) << 16);
    if (this.#compression === 'none') {
      this.#isSelfContained = (third & 2) !== 0;
      return;
    }
    const last = bytes[offset + 4]!;
    this.#plainBytes = (third >> 1) | (bytes[offset + 3]! << 7) | ((last & 3) << 15);
    this.#isSelfContained = (last & 4) !== 0;
  }

  #deliver(bytes: Buffer, start: number, end: number, consume: FrameConsumer, peek: FramePeek | undefined): void {
    const frames = this.#frames;
    if (this.#isSelfContained) {
      if (frames.isInsideFrame) throw new ProtocolError('a self-contained segment interrupts a large frame');
      frames.push(bytes, consume, peek, start, end);
      if (frames.isInsideFrame) throw new ProtocolError('a self-contained segment ends inside a frame');
      return;
    }
    if (!this.#isLargeFrame && end - start < HEADER_BYTES) {
      throw new ProtocolError('the first segment of a large frame is shorter than a frame header');
    }
    frames.push(bytes, consume, undefined, start, end);
    this.#isLargeFrame = frames.isInsideFrame;
  }
}

function decompress(bytes: Buffer, start: number, end: number, plainBytes: number): Buffer {
  const plain = Buffer.allocUnsafe(plainBytes);
  if (decodeLz4Block(bytes, start, end, plain, 0, plainBytes) !== plainBytes) {
    throw new ProtocolError('a segment payload is not valid LZ4');
  }
  return plain;
}
