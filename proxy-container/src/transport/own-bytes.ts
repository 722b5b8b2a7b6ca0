/** A frame is a view of all that one read of the socket brought; what is kept must not hold that in memory. */
export function ownBytes(frame: Buffer): Buffer {
  return frame.length * 2 < frame.buffer.byteLength ? joinOwn([frame]) : frame;
}

/** The parts as one buffer that shares its memory with nobody: not with Node's pool either, whose slabs are as large. */
export function joinOwn(parts: readonly Buffer[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const part of parts) at += part.copy(joined, at);
  return joined;
}
