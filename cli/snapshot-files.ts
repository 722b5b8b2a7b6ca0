/** The files of one snapshot on a node's disk, with what Cassandra wrote beside them. */

import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { PrerequisiteError, UsageError } from '#core/errors.ts';

export interface SnapshotFile {
  readonly path: string;
  /** Below the node's folder: `<keyspace>/<table>-<id>/snapshots/<tag>/<file>`. */
  readonly key: string;
  readonly byteLength: number;
}

export interface SnapshotFolder {
  readonly keyspace: string;
  readonly table: string;
  /** 32 hex digits: the id in `system_schema.tables`, without dashes. */
  readonly tableId: string;
  readonly files: readonly SnapshotFile[];
  /** `created_at` of the snapshot's manifest.json (Cassandra 4.1 and later). */
  readonly createdAt: string | null;
  /** From the snapshot's schema.cql. */
  readonly droppedColumns: readonly { readonly name: string; readonly droppedAtMicros: string }[];
}

const SYSTEM = /^system(_\w+)?$/;

/**
 * Finds a snapshot's folders.
 * @param directory the data directory, or the one that holds it
 * @param keyspaces empty: all but the system's
 * @throws PrerequisiteError when there is none
 */
export async function findSnapshot(
  directory: string,
  tag: string,
  keyspaces: readonly string[],
): Promise<readonly SnapshotFolder[]> {
  const folders: SnapshotFolder[] = [];
  for (const root of [directory, join(directory, 'data')]) {
    for (const keyspace of await folderNames(root)) {
      if (keyspaces.length > 0 ? !keyspaces.includes(keyspace) : SYSTEM.test(keyspace)) continue;
      for (const name of await folderNames(join(root, keyspace))) {
        const match = /^(\w+)-([0-9a-f]{32})$/.exec(name);
        const folder = join(root, keyspace, name, 'snapshots', tag);
        if (match === null || !(await isFolder(folder))) continue;
        const table = { keyspace, table: match[1]!, tableId: match[2]! };
        folders.push({ ...table, ...(await readFolder(folder, `${keyspace}/${name}/snapshots/${tag}`)) });
      }
    }
    if (folders.length > 0) return folders;
  }
  throw new PrerequisiteError(
    `${directory} holds no snapshot ${tag}; take it with: nodetool flush, then nodetool snapshot -t ${tag} ${keyspaces.join(' ') || 'KEYSPACE'}`,
  );
}

/**
 * Leaves out the folders of tables that were dropped and made again under the same name: their snapshots outlive them.
 * @param liveIds `keyspace.table` → id, from the node's schema; empty when it could not be asked
 * @throws UsageError when two folders of one table can't be told apart
 */
export function withoutDroppedTables(
  folders: readonly SnapshotFolder[],
  liveIds: ReadonlyMap<string, string>,
): readonly SnapshotFolder[] {
  const nameOf = (folder: SnapshotFolder) => `${folder.keyspace}.${folder.table}`;
  const kept = folders.filter((folder) => liveIds.size === 0 || liveIds.get(nameOf(folder)) === folder.tableId);
  for (const folder of kept) {
    const same = kept.filter((other) => nameOf(other) === nameOf(folder));
    if (same.length === 1) continue;
    throw new UsageError(
      `there are snapshots of two tables named ${nameOf(folder)}, one of them dropped: ${same.map(({ tableId }) => `${folder.table}-${tableId}`).join(', ')}; clear the dropped one's, or let the node be asked with --contact-point`,
    );
  }
  return kept;
}

async function readFolder(
  folder: string,
  key: string,
): Promise<Pick<SnapshotFolder, 'files' | 'createdAt' | 'droppedColumns'>> {
  const files: SnapshotFile[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(folder, entry.name);
    files.push({ path, key: `${key}/${entry.name}`, byteLength: (await stat(path)).size });
  }
  const textOf = (name: string) => readFile(join(folder, name), 'utf8').catch(() => '');
  return {
    files: files.sort((a, b) => (a.key < b.key ? -1 : 1)),
    createdAt: parseCreatedAt(await textOf('manifest.json')),
    droppedColumns: parseDroppedColumns(await textOf('schema.cql')),
  };
}

/** `created_at` of a snapshot's manifest.json, as UTC with milliseconds; null when it has none. */
export function parseCreatedAt(text: string): string | null {
  if (text.trim() === '') return null;
  let value: unknown;
  try {
    value = (JSON.parse(text) as { created_at?: unknown }).created_at;
  } catch {
    return null;
  }
  const at = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}

/** The columns that schema.cql drops with their times; Cassandra writes them so that a restore knows. */
export function parseDroppedColumns(text: string): { name: string; droppedAtMicros: string }[] {
  const drops = text.matchAll(/\bDROP\s+("(?:[^"]|"")+"|\w+)\s+USING\s+TIMESTAMP\s+(\d{1,19})\s*;/gi);
  return [...drops].map(([, name, micros]) => ({
    name: name!.startsWith('"') ? name!.slice(1, -1).replaceAll('""', '"') : name!.toLowerCase(),
    droppedAtMicros: micros!,
  }));
}

/** CRC32 of a file. @throws UsageError when it is not as long as it was */
export async function checksumOfFile(file: SnapshotFile): Promise<number> {
  let crc = 0;
  let bytes = 0;
  for await (const chunk of createReadStream(file.path, { highWaterMark: 1024 * 1024 })) {
    crc = crc32(chunk as Buffer, crc);
    bytes += (chunk as Buffer).length;
  }
  if (bytes !== file.byteLength) throw new UsageError(`${file.path} changed while it was read; is it a snapshot?`);
  return crc;
}

async function folderNames(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}
