/** Collections and UDTs as the native protocol encodes them (v3 and later): i32 lengths, −1 for null. */

/** [int] n, then n [bytes]: of a list, a set, or a map whose keys and values stand in turn. */
export function encodeCollection(count: number, parts: readonly Uint8Array[]): Uint8Array {
  let size = 4;
  for (const part of parts) size += 4 + part.length;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, count);
  writeParts(bytes, view, 4, parts);
  return bytes;
}

/** [bytes] of each field in order; null for a field without a value. */
export function encodeFields(fields: readonly (Uint8Array | null)[]): Uint8Array {
  let size = 0;
  for (const field of fields) size += 4 + (field?.length ?? 0);
  const bytes = new Uint8Array(size);
  writeParts(bytes, new DataView(bytes.buffer), 0, fields);
  return bytes;
}

function writeParts(bytes: Uint8Array, view: DataView, start: number, parts: readonly (Uint8Array | null)[]): void {
  let at = start;
  for (const part of parts) {
    view.setInt32(at, part === null ? -1 : part.length);
    at += 4;
    if (part === null) continue;
    bytes.set(part, at);
    at += part.length;
  }
}
