/** Locks in a directory of one machine: `link` is atomic, so a file made by it is one. A killed holder is found out. */
import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

const WAIT_MS = 5;
/** A holder of which nobody can say whether it lives has it for so long. */
const STALE_MS = 10_000;

/** Whether a file is one of a lock, and none of who uses it. @param name with or without its directory */
export function isLockFile(name: string): boolean {
  return /\.lock(\.[0-9a-f-]{36}(\.dead)?)?$/.test(name);
}

/** Runs `body` while no other process runs one under the lock of the same path. */
export async function withFileLock<T>(path: string, body: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const lock = `${path}.lock`;
  const id = randomUUID();
  const mine = `${lock}.${id}`;
  await writeFile(mine, `${id} ${process.pid} ${await processNamespace()}`);
  try {
    while (!(await isLinked(mine, lock))) {
      const holder = await readIfThere(lock);
      if (holder !== undefined && (await isAbandoned(holder, lock))) await breakLock(holder, lock);
      else await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
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

/** A process id means something to processes that see each other only: those of one container. */
function processNamespace(): Promise<string> {
  return readlink('/proc/self/ns/pid').catch(() => 'none');
}

async function isAbandoned(holder: string, lock: string): Promise<boolean> {
  const [, pid, namespace] = holder.split(' ');
  if (namespace === (await processNamespace()) && isDead(Number(pid))) return true;
  return (await ageOf(lock, 'mtimeMs')) > STALE_MS;
}

function isDead(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/**
 * Takes the lock from a dead holder. Of those who come for it at once one gets it under a second name, which says whose lock
 * it was; whoever is late finds another holder's there, and leaves it.
 */
async function breakLock(holder: string, lock: string): Promise<void> {
  const [id] = holder.split(' ');
  const broken = `${lock}.${id}.dead`;
  try {
    if (!(await isLinked(lock, broken))) {
      // Whoever broke it was killed in between.
      if ((await ageOf(broken, 'ctimeMs')) > STALE_MS) await rm(broken, { force: true });
      return;
    }
  } catch (cause) {
    // Another was faster.
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw cause;
  }
  if ((await readIfThere(broken)) === holder) {
    await rm(lock, { force: true });
    await rm(`${lock}.${id}`, { force: true });
  }
  await rm(broken, { force: true });
}

/** False: the second name is taken. */
async function isLinked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw cause;
  }
}

/** Milliseconds; 0: it is gone. */
function ageOf(path: string, time: 'mtimeMs' | 'ctimeMs'): Promise<number> {
  return stat(path).then(
    (info) => Date.now() - info[time],
    () => 0,
  );
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}
