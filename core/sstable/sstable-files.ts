import { EndOfBytesError, MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { SnapshotIncompleteError, SSTableCorruptError } from '#core/errors.ts';
import type { ByteSource } from '#core/ports.ts';
import type { Component } from './sstable-name.ts';

/** The components of one SSTable, wherever they are. */
export interface SSTableFiles {
  /** For messages: a path or URI up to and including `nb-1-big`, without a component. */
  readonly name: string;
  /** Two letters, from the name. */
  readonly version: string;
  /**
   * @throws SnapshotIncompleteError when there is no such component (only that: a store that does not answer is another
   * error, or an uncompressed table could not be told from an unreachable one)
   */
  open(component: string): Promise<ByteSource>;
}

/** The component, or undefined when the SSTable has none. */
export async function openOptional(files: SSTableFiles, component: Component): Promise<ByteSource | undefined> {
  try {
    return await files.open(component);
  } catch (error) {
    if (error instanceof SnapshotIncompleteError) return undefined;
    throw error;
  }
}

/** All bytes of a small component. @throws SSTableCorruptError when it is larger than `maxBytes` */
export async function readWhole(source: ByteSource, maxBytes: number, signal?: AbortSignal): Promise<Uint8Array> {
  if (source.byteLength > maxBytes) {
    throw corrupt(source.name, 0, `${source.byteLength} bytes, but at most ${maxBytes} make sense here`);
  }
  return source.byteLength === 0 ? new Uint8Array(0) : source.read(0, source.byteLength, signal);
}

/** An SSTableCorruptError that says where. `offset` in bytes, of `file` (or of its decompressed content when told so). */
export function corrupt(file: string, offset: number, what: string, cause?: unknown): SSTableCorruptError {
  return new SSTableCorruptError(`${file}, offset ${offset}: ${what}`, { context: { file, offset }, cause });
}

/** Runs a decoder over bytes of `file` that start at `base`, and gives its faults a file and an offset. */
export function decodeOf<T>(file: string, base: number, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof EndOfBytesError || error instanceof MalformedBytesError) {
      throw corrupt(file, base + error.offset, error.message, error);
    }
    throw error;
  }
}
