import { type BodyCompression, decompressBody } from '#core/cql/compression.ts';
import { encodeFrame, flagsOf, HEADER_BYTES, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { decodeRegister } from '#core/cql/handshake-messages.ts';
import { FrameFlag } from '#core/cql/protocol.ts';
import { ProtocolError } from '#core/errors.ts';

const EVENT_TYPES: ReadonlySet<string> = new Set(['SCHEMA_CHANGE', 'TOPOLOGY_CHANGE', 'STATUS_CHANGE']);

/**
 * Versions are refused by their first byte: the rest of such a frame may have any form.
 * @param first of the connection's first frame
 * @throws ProtocolError naming the versions that are spoken
 */
export function refuseUnknownVersion(first: number, maxVersion: number): void {
  const version = first & 0x7f;
  if (version >= 3 && version <= maxVersion) return;
  const versions = [3, 4, 5].filter((one) => one <= maxVersion).map((one) => `${one}/v${one}`);
  throw new ProtocolError(
    `Invalid or unsupported protocol version (${version}); supported versions are (${versions.join(', ')})`,
  );
}

/** What STARTUP asks for. @throws ProtocolError for one that the version does not have */
export function compressionOf(name: string | undefined, version: number): BodyCompression | undefined {
  if (name === undefined || name === '') return undefined;
  const lower = name.toLowerCase();
  if (lower === 'lz4' || (lower === 'snappy' && version < 5)) return lower;
  throw new ProtocolError(`Unknown compression algorithm: ${name}`);
}

/** What REGISTER asks for. @throws ProtocolError for one that there is not */
export function eventTypesOf(body: Buffer): string[] {
  const types = decodeRegister(body);
  for (const type of types) if (!EVENT_TYPES.has(type)) throw new ProtocolError('an event type is unknown');
  return types;
}

/**
 * A frame of v3 or v4 whose flag says that its body is compressed, without that.
 * @throws ProtocolError when the body is broken or longer than `maxBodyBytes`
 */
export function plainFrame(
  frame: Buffer,
  version: number,
  compression: BodyCompression | undefined,
  maxBodyBytes: number,
): Buffer {
  if (!compression) throw new ProtocolError('a compressed frame without COMPRESSION in STARTUP');
  const body = decompressBody(frame.subarray(HEADER_BYTES), compression, maxBodyBytes);
  const flags = flagsOf(frame) & ~FrameFlag.COMPRESSION;
  return encodeFrame({ version, isResponse: false, flags, streamId: streamIdOf(frame), opcode: opcodeOf(frame) }, body);
}
