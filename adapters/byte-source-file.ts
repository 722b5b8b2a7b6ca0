import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describeError, ObjectStoreError, SnapshotIncompleteError, UsageError } from '#core/errors.ts';
import type { ByteSource } from '#core/ports.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';
import { parseSSTableName } from '#core/sstable/sstable-name.ts';

/**
 * A file as a ByteSource. It is opened for each read, so that a source needs no closing.
 *
 * @throws SnapshotIncompleteError when there is no such file
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  const { size } = await stat(path).catch((error: unknown) => {
    throw fileError(path, error);
  });
  return {
    name: path,
    byteLength: size,
    read: (start, end, signal) => readRange(path, start, end, signal),
  };
}

async function readRange(path: string, start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
  signal?.throwIfAborted();
  const bytes = Buffer.allocUnsafeSlow(end - start);
  const file = await open(path, 'r').catch((error: unknown) => {
    throw fileError(path, error);
  });
  try {
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
      if (bytesRead === 0) {
        throw new ObjectStoreError(`${path} ends at ${start + filled}, but bytes up to ${end} were asked for`, {
          context: { file: path, offset: start + filled },
        });
      }
      filled += bytesRead;
    }
  } finally {
    await file.close();
  }
  return bytes;
}

/**
 * The components of one SSTable in a directory.
 *
 * @param dataPath path of any of them, e.g. …/nb-1-big-Data.db
 * @throws UsageError when the name is not that of an SSTable component
 */
export function sstableFilesAt(dataPath: string): SSTableFiles {
  const name = parseSSTableName(basename(dataPath));
  if (!name) throw new UsageError(`${dataPath} is not named like an SSTable, e.g. nb-1-big-Data.db`);
  const prefix = join(dirname(dataPath), name.base);
  return {
    name: prefix,
    version: name.version,
    open: (component) => openFileSource(`${prefix}-${component}`),
  };
}

/** All SSTables in a directory (not below it), by name. */
export async function listSSTables(directory: string): Promise<SSTableFiles[]> {
  const entries = await readdir(directory);
  return entries
    .filter((entry) => entry.endsWith('-Data.db') && parseSSTableName(entry) !== undefined)
    .sort()
    .map((entry) => sstableFilesAt(join(directory, entry)));
}

function fileError(path: string, error: unknown): Error {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
    return new SnapshotIncompleteError(`${path} does not exist`, { context: { file: path }, cause: error });
  }
  return new ObjectStoreError(`${path} can not be read: ${describeError(error)}`, {
    context: { file: path },
    cause: error,
  });
}
