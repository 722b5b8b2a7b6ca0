import { statSync } from 'node:fs';
import { describeError } from '#core/errors.ts';

const WATCH_MS = 5_000;

/** What became of files that were read again. */
export interface Reloaded {
  /** The setting that names the files. */
  readonly setting: string;
  readonly isChanged: boolean;
  /** Why what was in force stays so. */
  readonly fault?: string;
}

/**
 * What was made of some files, made again when they change. Files that can't be used (one of a pair was replaced, the
 * other one not yet) leave what is in force as it is.
 */
export class WatchedFiles<T> {
  readonly setting: string;
  readonly #files: readonly (string | null)[];
  readonly #read: () => T;
  #value: T;
  #stamp: string;
  #watcher: NodeJS.Timeout | undefined;

  /**
   * @param setting where the files are named, for messages: `origin.tls`
   * @throws what `read` throws
   */
  constructor(setting: string, files: readonly (string | null)[], read: () => T) {
    this.setting = setting;
    this.#files = files;
    this.#read = read;
    this.#stamp = stampOf(files);
    this.#value = read();
  }

  get value(): T {
    return this.#value;
  }

  /** Takes what the files hold now, if they have changed. Never throws. */
  reload(): Reloaded {
    const { setting } = this;
    const stamp = stampOf(this.#files);
    if (stamp === this.#stamp) return { setting, isChanged: false };
    try {
      this.#value = this.#read();
    } catch (error) {
      return { setting, isChanged: false, fault: describeError(error) };
    }
    this.#stamp = stamp;
    return { setting, isChanged: true };
  }

  /** Looks at the files now and then, whatever the file system tells of changes (mounted secrets tell nothing). */
  watch(onChange: () => void, onFault: (message: string) => void, everyMs: number = WATCH_MS): void {
    let toldOf: string | undefined;
    this.#watcher = setInterval(() => {
      const stamp = stampOf(this.#files);
      const { isChanged, fault } = this.reload();
      if (isChanged) onChange();
      // Looked at again each time, because the other file may follow; told of once.
      if (fault !== undefined && toldOf !== stamp) onFault(fault);
      toldOf = fault === undefined ? undefined : stamp;
    }, everyMs);
    this.#watcher.unref();
  }

  close(): void {
    clearInterval(this.#watcher);
  }
}

/** Changes when one of the files does; a link that points elsewhere counts, and so do other permissions. */
export function stampOf(files: readonly (string | null)[]): string {
  return files
    .map((file) => {
      try {
        const stat = file === null ? undefined : statSync(file, { throwIfNoEntry: false });
        return stat ? `${stat.ino}:${stat.size}:${stat.mtimeMs}:${stat.ctimeMs}` : '-';
      } catch {
        // Whoever reads it says which file and why.
        return '!';
      }
    })
    .join(' ');
}
