import { ByteReader, EndOfBytesError } from '#core/bytes/byte-reader.ts';
import { tokenOf } from '#core/token/token.ts';
import type { DataFile } from './data-file.ts';
import { corrupt } from './sstable-files.ts';

/** A partition's key has at most 64 KiB. */
const KEY_BYTES = 2 + 0xffff;

/**
 * Makes sure that the partition behind a span is behind the range too: index files have no checksums, and one that lets
 * a range end too early would hide partitions.
 *
 * @param position where the span ends: a plain position in Data.db, before its end
 * @param buffered bytes from there on that are at hand; the rest is read
 * @throws SSTableCorruptError
 */
export async function checkSpanEnd(
  data: DataFile,
  position: number,
  rangeEnd: bigint,
  buffered: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  const key = readKey(buffered) ?? readKey(await readAt(data, position, signal));
  if (key !== undefined && tokenOf(key) > rangeEnd) return;
  throw corrupt(data.name, position, 'the index ends the range at what is no partition behind it');
}

/** bytes16 key; undefined when it goes beyond the bytes. */
function readKey(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return new ByteReader(bytes).readBytes16();
  } catch (error) {
    if (error instanceof EndOfBytesError) return undefined;
    throw error;
  }
}

async function readAt(data: DataFile, position: number, signal?: AbortSignal): Promise<Uint8Array> {
  const window = await data.fetch(position, Math.min(position + KEY_BYTES, data.byteLength), signal);
  const bytes = new Uint8Array(window.plainBytes);
  window.unpack(bytes, 0);
  return bytes.subarray(position - window.start);
}
