/** The ledger in a directory: for one machine. Not for several hosts on a shared file system. */
import { createHash, randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LedgerConflictError, LedgerUnavailableError } from '#core/errors.ts';
import { readEntries } from '#core/ledger/read-entries.ts';
import type { LedgerStore, Versioned } from '#core/ports.ts';

const LOCK_WAIT_MS = 5;
const LOCK_STALE_MS = 10_000;

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

  /** Compare-and-set needs a critical section; `link` is atomic, so a lock file made by it is one. */
  async function withLock<T>(key: string, body: () => Promise<T>): Promise<T> {
    const path = pathOf(key);
    await mkdir(dirname(path), { recursive: true });
    const lock = `${path}.lock`;
    const mine = `${lock}.${randomUUID()}`;
    await writeFile(mine, String(process.pid));
    try {
      while (!(await link(mine, lock).then(() => true, isExisting))) {
        const age = await stat(lock).then(
          (info) => Date.now() - info.mtimeMs,
          () => 0,
        );
        if (age > LOCK_STALE_MS) await rm(lock, { force: true });
        else await new Promise((resolve) => setTimeout(resolve, LOCK_WAIT_MS));
      }
      try {
        return await body();
      } finally {
        await rm(lock, { force: true });
      }
    } finally {
      await rm(mine, { force: true });
    }
  }

  async function* list(prefix: string): AsyncGenerator<string, void> {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((cause) => {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw unavailable(prefix, cause);
    });
    const keys = entries
      .filter((entry) => entry.isFile() && !entry.name.includes('.lock') && !entry.name.includes('.tmp.'))
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
      return await withLock(key, body);
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
/** A name is on the disk when its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function isExisting(cause: unknown): false {
  if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
  throw cause;
}

function unavailable(key: string, cause: unknown): LedgerUnavailableError {
  return new LedgerUnavailableError(`the ledger's record ${key} can't be reached: ${(cause as Error).message}`, {
    cause,
    context: { key },
  });
}
