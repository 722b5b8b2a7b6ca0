/** The ledger in a directory: for one machine. Not for several hosts on a shared file system. */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LedgerConflictError, LedgerUnavailableError } from '#core/errors.ts';
import { readEntries } from '#core/ledger/read-entries.ts';
import type { LedgerStore, Versioned } from '#core/ports.ts';
import { isLockFile, withFileLock } from './file-lock.ts';
import { syncDirectory } from './sync-directory.ts';

/** Of a value that is being written. */
const DRAFT = /\.tmp\.[0-9a-f-]{36}$/;

const versionOf = (value: string) => createHash('sha256').update(value).digest('hex').slice(0, 32);

/** @param directory created when missing; values are files below it */
export function createFileLedgerStore(directory: string): LedgerStore {
  const pathOf = (key: string) => {
    if (key.split('/').some((part) => part === '' || part === '.' || part === '..')) {
      throw new LedgerUnavailableError(`not a ledger key: ${key}`, { context: { key } });
    }
    return join(directory, key);
  };

  async function get(key: string): Promise<Versioned | undefined> {
    try {
      const value = await readFile(pathOf(key), 'utf8');
      return { value, version: versionOf(value) };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw unavailable(key, cause);
    }
  }

  async function* list(prefix: string): AsyncGenerator<string, void> {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((cause) => {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw unavailable(prefix, cause);
    });
    const keys = entries
      .filter((entry) => entry.isFile() && !isLockFile(entry.name) && !DRAFT.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(join(directory, '/').length))
      .filter((key) => key.startsWith(prefix));
    yield* keys.sort();
  }

  async function requireVersion(key: string, expectedVersion: string | null): Promise<void> {
    const found = await get(key);
    if ((found?.version ?? null) === expectedVersion) return;
    throw new LedgerConflictError(`the ledger's record ${key} was changed by another`, { context: { key } });
  }

  /** What it throws is of the ledger. */
  async function change<T>(key: string, body: () => Promise<T>): Promise<T> {
    try {
      // Compare-and-set needs a critical section.
      return await withFileLock(pathOf(key), body);
    } catch (cause) {
      if (cause instanceof LedgerConflictError || cause instanceof LedgerUnavailableError) throw cause;
      throw unavailable(key, cause);
    }
  }

  return {
    get,
    has: async (key) => (await get(key)) !== undefined,
    put: (key, value, expectedVersion) =>
      change(key, async () => {
        if (expectedVersion !== undefined) await requireVersion(key, expectedVersion);
        const path = pathOf(key);
        const temporary = `${path}.tmp.${randomUUID()}`;
        await writeFile(temporary, value, { flush: true });
        await rename(temporary, path);
        await syncDirectory(dirname(path));
        return versionOf(value);
      }),
    list,
    entries: (prefix) => readEntries(list(prefix), get),
    remove: (key, expectedVersion) =>
      change(key, async () => {
        if (expectedVersion !== undefined) await requireVersion(key, expectedVersion);
        await rm(pathOf(key), { force: true });
      }),
    async close() {},
  };
}

function unavailable(key: string, cause: unknown): LedgerUnavailableError {
  return new LedgerUnavailableError(`the ledger's record ${key} can't be reached: ${(cause as Error).message}`, {
    cause,
    context: { key },
  });
}
