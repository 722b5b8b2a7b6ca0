import { mkdir, open, readFile, rm, rmdir, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError, PrerequisiteError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';

const FILE_NAME = 'lock';

/** How often a holder shows that it lives, and after how long without that it is dead. Milliseconds. */
export interface LockTimes {
  readonly touchMs: number;
  readonly staleAfterMs: number;
}

const TIMES: LockTimes = { touchMs: 5_000, staleAfterMs: 30_000 };

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

  private constructor(path: string, deadProcessId: string | undefined, touchMs: number) {
    this.#path = path;
    this.deadProcessId = deadProcessId;
    this.#touching = setInterval(() => {
      const now = new Date();
      // Gone with its directory: then there is nothing to keep anybody out of.
      utimes(path, now, now).catch(() => undefined);
    }, touchMs);
    this.#touching.unref();
  }

  /**
   * Takes the lock, also from a process that is dead. A holder that can't be looked up (another container's, or a process
   * number that means another process by now) is watched: it is alive when it touches its lock, dead when it has not for
   * `staleAfterMs`. A full or broken disk does not stop the start, as the application needs its database: the ledger's
   * claim on the instance's name still stands.
   * @throws PrerequisiteError naming the process that holds it
   */
  static async take(
    directory: string,
    processId: string,
    logger: Logger,
    times: LockTimes = TIMES,
  ): Promise<DirectoryLock> {
    const path = join(directory, FILE_NAME);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const own: Holder = { pid: process.pid, host: hostname(), processId };
    let dead: Holder | undefined;
    for (;;) {
      const created = await create(path, own);
      if (created !== 'exists') {
        if (created !== 'created') {
          logger.error('the lock of the journal directory could not be written; starting without it', {
            path,
            error: describeError(created),
          });
        }
        return new DirectoryLock(path, dead?.processId, times.touchMs);
      }
      const found = await readLock(path);
      const { holder } = found;
      if (await isAlive(path, found, times, logger)) {
        throw new PrerequisiteError(
          `the directory ${directory} is in use by process ${holder?.pid ?? '(unknown)'} on ${holder?.host ?? '(unknown)'}; give each proxy a failedWrites.journalDir of its own, or remove ${path} if that process is gone`,
        );
      }
      dead = holder;
      await removeDead(path, found, times);
    }
  }

  async release(): Promise<void> {
    clearInterval(this.#touching);
    await rm(this.#path, { force: true });
  }
}

/** What came of it; an Error when the disk refused the file. Nothing half written stays. */
async function create(path: string, holder: Holder): Promise<'created' | 'exists' | Error> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(JSON.stringify(holder));
    } catch (error) {
      await rm(path, { force: true }).catch(() => undefined);
      throw error;
    } finally {
      await file.close();
    }
    return 'created';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EEXIST' ? 'exists' : (error as Error);
  }
}

/** A lock as it was found; of one that is gone the text is undefined. */
interface FoundLock {
  readonly text: string | undefined;
  readonly holder: Holder | undefined;
  /** When the holder last showed that it lives; 0 when the lock is gone. Milliseconds since the epoch. */
  readonly touchedMs: number;
}

async function readLock(path: string): Promise<FoundLock> {
  const touchedMs = await touchedAt(path);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  let holder: Holder | undefined;
  try {
    holder = JSON.parse(text ?? '') as Holder;
  } catch {
    // Torn, or of a process that is just making it.
  }
  return { text, holder, touchedMs };
}

async function touchedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}

/**
 * Removes the lock of a dead process, unless another one has taken it over meanwhile: of those who find it at once one looks
 * and removes at a time.
 */
async function removeDead(path: string, found: FoundLock, { touchMs, staleAfterMs }: LockTimes): Promise<void> {
  const turn = `${path}.taking`;
  const untilMs = performance.now() + staleAfterMs;
  while (!(await isMade(turn))) {
    // Whoever had the turn was killed in it: it is a matter of two calls.
    if (performance.now() > untilMs) await rmdir(turn).catch(() => undefined);
    else await delay(touchMs / 5);
  }
  try {
    const now = await readLock(path);
    if (now.text === found.text && now.touchedMs === found.touchedMs) await rm(path, { force: true });
  } finally {
    await rmdir(turn).catch(() => undefined);
  }
}

/** False: another process has made the directory. A disk that takes none stops no start. */
async function isMade(directory: string): Promise<boolean> {
  try {
    await mkdir(directory, { mode: 0o700 });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EEXIST';
  }
}

/** The clock may be set meanwhile: any other time is a sign of life, and silence is measured without it, too. */
async function isAlive(
  path: string,
  { holder, touchedMs: firstTouch }: FoundLock,
  { touchMs, staleAfterMs }: LockTimes,
  logger: Logger,
): Promise<boolean> {
  if (isKnownDead(holder, firstTouch)) return false;
  const untilMs = performance.now() + staleAfterMs;
  for (let isTold = false; ; isTold = true) {
    const touched = await touchedAt(path);
    if (touched === 0) return false;
    if (touched !== firstTouch) return true;
    if (Date.now() - touched > staleAfterMs || performance.now() > untilMs) return false;
    if (!isTold) {
      logger.warn('the journal directory has a lock; watching whether its process lives', {
        path,
        pid: holder?.pid ?? 0,
        host: holder?.host ?? '',
      });
    }
    await delay(touchMs / 5);
  }
}

function isKnownDead(holder: Holder | undefined, touchedMs: number): boolean {
  if (holder === undefined || holder.host !== hostname()) return false;
  // In a container every proxy is process 1: a lock of this number from before this process is its predecessor's.
  if (holder.pid === process.pid) return touchedMs < performance.timeOrigin;
  try {
    process.kill(holder.pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
