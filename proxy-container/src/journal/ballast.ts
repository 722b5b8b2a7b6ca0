import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';

const BALLAST_BYTES = 16 * 1024 * 1024;
/** Above what the write-ahead log of the journal takes: less of it would not help. */
const MIN_BYTES = 4 * 1024 * 1024;
const STEP = Buffer.alloc(256 * 1024);

/**
 * Room that the journal can give itself on a full disk: there SQLite can't even delete, so that what the queue has taken
 * would never leave. Takes a quarter of what is free at the most.
 */
export class Ballast {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  get isThere(): boolean {
    return existsSync(this.#path);
  }

  /** Puts it where it is missing and the disk has room again. */
  restore(): void {
    if (this.isThere) return;
    try {
      const { bavail, bsize } = statfsSync(this.#path.slice(0, this.#path.lastIndexOf('/')) || '/');
      const bytes = Math.min(BALLAST_BYTES, Math.floor((bavail * bsize) / 4));
      if (bytes < MIN_BYTES) return;
      const file = openSync(this.#path, 'wx', 0o600);
      try {
        for (let written = 0; written < bytes; written += STEP.length) writeSync(file, STEP);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    } catch {
      // Without it a full disk is waited for, as before.
      this.drop();
    }
  }

  drop(): void {
    rmSync(this.#path, { force: true });
  }
}
