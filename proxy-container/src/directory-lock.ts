import { mkdir, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { PrerequisiteError } from '#core/errors.ts';

const FILE_NAME = 'lock';
const TOUCH_MS = 5_000;
/** A holder that can't be looked up (another machine, another container) is dead when it did not touch its lock for so long. */
const STALE_AFTER_MS = 30_000;

interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly processId: string;
}

/** Keeps a second process out of the journal's directory: each would send and delete what the other one writes. */
export class DirectoryLock {
  readonly #path: string;
  readonly #touching: NodeJS.Timeout;
  /** The process that held it and died without giving it back; undefined when there was none. */
  readonly deadProcessId: string | undefined;

  private constructor(path: string, deadProcessId: string | undefined) {
    this.#path = path;
    this.deadProcessId = deadProcessId;
    this.#touching = setInterval(() => {
      const now = new Date();
      // Gone with its directory: then there is nothing to keep anybody out of.
      utimes(path, now, now).catch(() => undefined);
    }, TOUCH_MS);
    this.#touching.unref();
  }

  /**
   * Takes the lock, also from a process that is dead.
   * @throws PrerequisiteError naming the process that holds it
   */
  static async take(directory: string, processId: string): Promise<DirectoryLock> {
    const path = join(directory, FILE_NAME);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const own: Holder = { pid: process.pid, host: hostname(), processId };
    let dead: Holder | undefined;
    for (let attempt = 1; ; attempt++) {
      if (await create(path, own)) return new DirectoryLock(path, dead?.processId);
      const holder = await readHolder(path);
      const isAlive = await isHolderAlive(path, holder);
      if (isAlive || attempt >= 3) {
        throw new PrerequisiteError(
          `the directory ${directory} is in use by process ${holder?.pid ?? '(unknown)'} on ${holder?.host ?? '(unknown)'}; give each proxy a failedWrites.journalDir of its own, or remove ${path} if that process is gone`,
        );
      }
      dead = holder;
      await rm(path, { force: true });
    }
  }

  async release(): Promise<void> {
    clearInterval(this.#touching);
    await rm(this.#path, { force: true });
  }
}

/** False: it exists. */
async function create(path: string, holder: Holder): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600);
    await file.writeFile(JSON.stringify(holder));
    await file.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

async function isHolderAlive(path: string, holder: Holder | undefined): Promise<boolean> {
  const touchedMs = await stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  if (Date.now() - touchedMs > STALE_AFTER_MS) return false;
  if (holder === undefined || holder.host !== hostname()) return true;
  // In a container every proxy is process 1: a lock of this number from before this process is its predecessor's.
  if (holder.pid === process.pid) return touchedMs >= performance.timeOrigin;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
