import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { ObjectStoreError } from '#core/errors.ts';
import type { ObjectInfo, ObjectStore } from '#core/ports.ts';
import { openFileSource } from './byte-source-file.ts';

/** A directory that stands for a bucket, for migrations that one machine does alone. */
export function createFileObjectStore(directory: string): ObjectStore {
  const root = resolve(directory);
  const pathOf = (key: string) => {
    const path = resolve(root, key);
    if (!path.startsWith(root + sep)) throw new ObjectStoreError(`${key} is no key of ${root}`, { context: { key } });
    return path;
  };
  return {
    name: root,
    async *list(prefix) {
      // Keys below the prefix lie in the directory of its last '/', or deeper.
      const from = join(root, prefix.slice(0, prefix.lastIndexOf('/') + 1));
      for await (const info of walk(root, from)) if (info.key.startsWith(prefix)) yield info;
    },
    async open(key) {
      return openFileSource(pathOf(key));
    },
    async get(key, signal) {
      try {
        return new Uint8Array(await readFile(pathOf(key), { signal }));
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    async put(key, body, signal) {
      const path = pathOf(key);
      await mkdir(dirname(path), { recursive: true });
      // Renamed into place: a reader sees the old object or the new one, never a part.
      const temporary = `${path}.${process.pid}.tmp`;
      await writeFile(temporary, body, { signal });
      await rename(temporary, path);
    },
    async remove(key) {
      await rm(pathOf(key), { force: true });
    },
  };
}

async function* walk(root: string, directory: string): AsyncGenerator<ObjectInfo> {
  let names: string[];
  try {
    names = (await readdir(directory)).sort();
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  for (const name of names) {
    const path = join(directory, name);
    const info = await stat(path);
    if (info.isDirectory()) yield* walk(root, path);
    else if (!name.endsWith('.tmp')) yield { key: relative(root, path).split(sep).join('/'), byteLength: info.size };
  }
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
