import { close, closeSync, fdatasync, openSync, rmSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { encodeSegmentHeader, type SegmentHeader } from './record-layout.ts';

/** The calls that a disk may refuse; a test's own refuse when it says so. */
export interface LogDisk {
  openSync(path: string, flags: string, mode: number): number;
  writeSync(fd: number, bytes: Buffer, offset: number, length: number, position: number): number;
  closeSync(fd: number): void;
  fdatasync(fd: number): Promise<void>;
}

export const REAL_DISK: LogDisk = { openSync, writeSync, closeSync, fdatasync: promisify(fdatasync) };

/** A segment of the log that is written: a file that grows, or one whose place on the disk is taken already. */
export class LogFile {
  readonly path: string;
  readonly number: number;
  /** The last one that may be in it; known when it is not written any more. */
  lastSequence = Number.POSITIVE_INFINITY;
  readonly #disk: LogDisk;
  readonly #fd: number;
  readonly #maxBytes: number;
  #bytes = 0;

  /** Opens the file and writes the header. @throws what the disk says */
  constructor(path: string, header: SegmentHeader, disk: LogDisk, maxBytes?: number) {
    this.path = path;
    this.number = header.number;
    this.#disk = disk;
    this.#maxBytes = maxBytes ?? Number.POSITIVE_INFINITY;
    this.#fd = disk.openSync(path, maxBytes === undefined ? 'w' : 'r+', 0o600);
    try {
      const bytes = encodeSegmentHeader(header);
      this.append(bytes, bytes.length);
    } catch (error) {
      disk.closeSync(this.#fd);
      if (maxBytes === undefined) rmSync(path, { force: true });
      throw error;
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** All of it, or nothing that counts. @throws what the disk says, or that there is no more room */
  append(bytes: Buffer, length: number): void {
    if (this.#bytes + length > this.#maxBytes) throw new Error('the space kept for a full disk is used up');
    let at = 0;
    while (at < length) at += this.#disk.writeSync(this.#fd, bytes, at, length - at, this.#bytes + at);
    this.#bytes += length;
  }

  sync(): Promise<void> {
    return this.#disk.fdatasync(this.#fd);
  }

  close(): void {
    // Of what is written already; there is nothing to do about a failure.
    close(this.#fd, () => undefined);
  }
}
