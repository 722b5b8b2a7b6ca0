/** A disk of a few megabytes that only who enters its mount namespace sees; without such namespaces there is none. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';

const PIECE = Buffer.alloc(64 * 1024);

export class SmallDisk {
  readonly #folder: string;
  readonly #holder: ChildProcess;

  private constructor(folder: string, holder: ChildProcess) {
    this.#folder = folder;
    this.#holder = holder;
  }

  /** Resolves to undefined where this machine does not permit it. @param folder is empty for everybody else */
  static async open(folder: string, megabytes: number): Promise<SmallDisk | undefined> {
    if (process.platform !== 'linux') return undefined;
    mkdirSync(folder, { recursive: true });
    const script = `mount -t tmpfs -o size=${megabytes}m tmpfs "$0" && echo ready && exec sleep 100000`;
    const holder = spawn('unshare', ['-rm', 'sh', '-c', script, folder], { stdio: ['ignore', 'pipe', 'ignore'] });
    const isReady = await new Promise<boolean>((resolve) => {
      holder.stdout.once('data', () => resolve(true));
      holder.once('error', () => resolve(false));
      holder.once('exit', () => resolve(false));
    });
    if (isReady) return new SmallDisk(folder, holder);
    holder.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
    return undefined;
  }

  /** What makes a command see it. */
  get launcher(): readonly string[] {
    return ['nsenter', '-t', String(this.#holder.pid), '-U', '-m', '--preserve-credentials', '--'];
  }

  /** Until there is no room for a byte more. */
  fill(): void {
    const file = openSync(this.#filler, 'a');
    try {
      for (let piece = PIECE; piece.length > 0; ) {
        try {
          writeSync(file, piece);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
          piece = piece.subarray(0, piece.length >> 1);
        }
      }
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.#filler, { force: true });
  }

  /** A path in it, for those who have not entered its namespace. */
  seenFromOutside(path: string): string {
    return `/proc/${this.#holder.pid}/root${this.#folder}/${path}`;
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#holder.once('exit', resolve));
    if (this.#holder.kill('SIGKILL')) await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #filler(): string {
    return this.seenFromOutside('filler');
  }
}
