import { compressors } from 'hyparquet-compressors';
import { decodeLz4Block, encodeLz4Block, lz4CompressBound } from '#core/bytes/lz4.ts';
import { encodeSnappy, snappyCompressBound } from '#core/bytes/snappy-encoder.ts';
import { ProtocolError } from '#core/errors.ts';
import {
  DEFAULT_MAX_BODY_BYTES,
  encodeFrame,
  flagsOf,
  HEADER_BYTES,
  isResponse,
  opcodeOf,
  streamIdOf,
  versionOf,
} from './frame.ts';
import { FrameFlag } from './protocol.ts';

/**
 * Compression of frame bodies in v3 and v4 (section 5): LZ4 is <uncompressed length [int]><block>, Snappy its own raw
 * format. In v5 the segments are compressed instead, and Snappy is gone.
 */
export type BodyCompression = 'lz4' | 'snappy';

/** @throws ProtocolError when the body is broken or would be longer than `maxBodyBytes` */
export function decompressBody(
  body: Uint8Array,
  compression: BodyCompression,
  maxBodyBytes: number = DEFAULT_MAX_BODY_BYTES,
): Buffer {
  return compression === 'lz4' ? decompressLz4(body, maxBodyBytes) : decompressSnappyBody(body, maxBodyBytes);
}

export function compressBody(body: Uint8Array, compression: BodyCompression): Buffer {
  if (compression === 'snappy') {
    const target = Buffer.allocUnsafe(snappyCompressBound(body.length));
    return target.subarray(0, encodeSnappy(body, target));
  }
  const target = Buffer.allocUnsafe(4 + lz4CompressBound(body.length));
  target.writeInt32BE(body.length, 0);
  return target.subarray(0, 4 + encodeLz4Block(body, target, 4));
}

/**
 * Shorter bodies leave as they are: they fit one packet either way, and compressing one costs more time than all else
 * that a proxy does with it.
 */
const MIN_COMPRESSED_BYTES = 1024;

/** The frame with its body compressed and the flag that says so; the frame itself where that does not pay. */
export function compressFrame(frame: Buffer, compression: BodyCompression): Buffer {
  if (frame.length < HEADER_BYTES + MIN_COMPRESSED_BYTES) return frame;
  const body = compressBody(frame.subarray(HEADER_BYTES), compression);
  if (HEADER_BYTES + body.length >= frame.length) return frame;
  const header = {
    version: versionOf(frame),
    isResponse: isResponse(frame),
    flags: flagsOf(frame) | FrameFlag.COMPRESSION,
    streamId: streamIdOf(frame),
    opcode: opcodeOf(frame),
  };
  return encodeFrame(header, body);
}

function decompressLz4(body: Uint8Array, maxBodyBytes: number): Buffer {
  if (body.length < 4) throw new ProtocolError('an LZ4 body is shorter than its length field');
  const plainBytes = new DataView(body.buffer, body.byteOffset, 4).getInt32(0);
  // No byte of an LZ4 block yields more than 255 bytes, so a lie about the length costs no memory.
  if (plainBytes < 0 || plainBytes > maxBodyBytes || plainBytes > body.length * 255) {
    throw new ProtocolError(`an LZ4 body of ${body.length} bytes announces ${plainBytes} bytes`);
  }
  const plain = Buffer.allocUnsafe(plainBytes);
  if (plainBytes === 0) return plain;
  if (decodeLz4Block(body, 4, body.length, plain, 0, plainBytes) !== plainBytes) {
    throw new ProtocolError('a frame body is not valid LZ4');
  }
  return plain;
}

function decompressSnappyBody(body: Uint8Array, maxBodyBytes: number): Buffer {
  const plainBytes = readVarint(body);
  // The densest Snappy element makes 64 bytes of 3.
  if (plainBytes > maxBodyBytes || plainBytes > body.length * 22) {
    throw new ProtocolError(`a Snappy body of ${body.length} bytes announces ${plainBytes} bytes`);
  }
  try {
    const plain = compressors.SNAPPY!(body, plainBytes);
    return Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength);
  } catch (cause) {
    throw new ProtocolError('a frame body is not valid Snappy', { cause });
  }
}

function readVarint(body: Uint8Array): number {
  let value = 0;
  for (let index = 0; index < 5 && index < body.length; index++) {
    value += (body[index]! & 0x7f) * 2 ** (7 * index);
    if ((body[index]! & 0x80) === 0) return value;
  }
  throw new ProtocolError('a Snappy body does not start with its length');
}
