import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';
import { type LogDisk, LogFile, REAL_DISK } from './log-file.ts';
import { RESERVE_BYTES, RESERVE_NAME, segmentName } from './log-folder.ts';
import { RECORD_BYTES, type RecordKind, sealRecord } from './record-layout.ts';

const SEGMENT_BYTES = 8 * 1024 * 1024;

export interface LogFilesOptions {
  readonly directory: string;
  /** Later than all that was there before. */
  readonly firstSegment: number;
  readonly bootId: string;
  readonly logger: Logger;
  readonly disk?: LogDisk;
  /** What each record says of all of them. */
  readonly sequences: { readonly low: number; readonly next: number };
  readonly timestamps: { readonly lastMicros: number };
  /** Called when another file is written from now on: it must be told again what the one before it knew. */
  readonly onEnter: () => void;
}

/** The files of the log: which of them is written, which goes on where the disk refuses, which are not needed any more. */
export class LogFiles {
  readonly #options: LogFilesOptions;
  readonly #disk: LogDisk;
  /** undefined: the disk takes nothing. */
  #file: LogFile | undefined;
  #reserve: LogFile | undefined;
  /** Not written any more, oldest first. */
  #left: LogFile[] = [];
  #nextNumber: number;
  readonly #unsynced = new Set<LogFile>();
  #syncing: Promise<void> | undefined;
  #syncedSequence = 0;
  #syncError: string | undefined;
  #isRefusalTold = false;

  constructor(options: LogFilesOptions) {
    this.#options = options;
    this.#disk = options.disk ?? REAL_DISK;
    this.#nextNumber = options.firstSegment;
  }

  /** The disk takes nothing, not even in the space that was kept for that. */
  get isBlind(): boolean {
    return this.#file === undefined;
  }

  /** The disk has refused, and should be asked again. */
  get isRefused(): boolean {
    return this.#file === undefined || this.#file === this.#reserve;
  }

  get isSegmentFull(): boolean {
    return (this.#file?.bytes ?? 0) > SEGMENT_BYTES;
  }

  /** Files that wait until nothing in them is needed. */
  get leftCount(): number {
    return this.#left.length;
  }

  get bytes(): number {
    let bytes = this.#file?.bytes ?? 0;
    for (const file of this.#left) bytes += file.bytes;
    return bytes;
  }

  /** Below it everything is on the disk, whatever happens to the machine. */
  get syncedSequence(): number {
    return this.#syncedSequence;
  }

  /** Why the disk refused to flush what is written, last time; undefined: it did not. */
  get syncError(): string | undefined {
    return this.#syncError;
  }

  get isSyncing(): boolean {
    return this.#syncing !== undefined;
  }

  /** Writes the record whose body lies in `bytes` behind the room for its head. False: the disk takes nothing any more. */
  write(bytes: Buffer, bodyBytes: number, kind: RecordKind, firstSequence: number): boolean {
    const { logger, sequences, timestamps } = this.#options;
    for (let file = this.#file; file !== undefined; file = this.#file) {
      const { lastMicros } = timestamps;
      const length = sealRecord(bytes, bodyBytes, kind, firstSequence, sequences.low, lastMicros, file.number);
      try {
        file.append(bytes, length);
        this.#unsynced.add(file);
        return true;
      } catch (error) {
        logger.error('the log of writes under way can not be written', {
          path: file.path,
          error: describeError(error),
        });
        this.#leave(file);
        if (file === this.#reserve || !this.#toReserve()) this.#file = undefined;
      }
    }
    return false;
  }

  writeAlone(kind: RecordKind, body: Buffer): boolean {
    const bytes = Buffer.alloc(RECORD_BYTES + body.length);
    body.copy(bytes, RECORD_BYTES);
    return this.write(bytes, body.length, kind, this.#options.sequences.next);
  }

  /** Goes on in a new segment; where there is none to be had, and nothing else is open, in the reserve. */
  nextSegment(): void {
    const { directory, logger } = this.#options;
    const path = join(directory, segmentName(this.#nextNumber));
    try {
      const file = new LogFile(path, this.#header(), this.#disk);
      if (this.#file) this.#leave(this.#file);
      this.#isRefusalTold = false;
      this.#enter(file);
    } catch (error) {
      if (!this.#isRefusalTold) {
        logger.error('there is no new file for the log of writes under way', { path, error: describeError(error) });
      }
      this.#isRefusalTold = true;
      if (this.#file === undefined && this.#reserve === undefined) this.#toReserve();
    }
  }

  /**
   * Brings what is written to the disk, and removes what is not needed then; never twice at once, and nobody waits for it.
   * @param next the sequence below which everything is written
   * @param low the low water that is written
   */
  sync(next: number, low: number): void {
    this.#syncing ??= this.#sync(next, low).finally(() => {
      this.#syncing = undefined;
    });
  }

  async close(): Promise<void> {
    await this.#syncing;
    await this.#file?.sync().catch(() => undefined);
    for (const file of new Set([...this.#left, this.#reserve, this.#file])) file?.close();
    this.#file = undefined;
  }

  #header() {
    return { number: this.#nextNumber++, startedAtMs: Date.now(), bootId: this.#options.bootId };
  }

  #enter(file: LogFile): void {
    this.#file = file;
    file.lastSequence = Number.POSITIVE_INFINITY;
    this.#options.onEnter();
  }

  #leave(file: LogFile): void {
    file.lastSequence = this.#options.sequences.next - 1;
    if (file !== this.#reserve) this.#left.push(file);
  }

  /** Goes on in the space that was kept for a full disk, behind what is still needed there. */
  #toReserve(): boolean {
    const path = join(this.#options.directory, RESERVE_NAME);
    try {
      this.#reserve ??= new LogFile(path, this.#header(), this.#disk, RESERVE_BYTES);
    } catch (error) {
      this.#options.logger.error('the space kept for a full disk can not be used', { error: describeError(error) });
      return false;
    }
    this.#enter(this.#reserve);
    return this.#file !== undefined;
  }

  #noteRefusal(error: string): void {
    if (this.#syncError === undefined) {
      this.#options.logger.error('the log of writes under way is not flushed; a loss of power may cost what is in it', {
        error,
      });
    }
    this.#syncError = error;
  }

  async #sync(next: number, low: number): Promise<void> {
    const files = [...this.#unsynced];
    this.#unsynced.clear();
    try {
      await Promise.all(files.map((file) => file.sync()));
    } catch (error) {
      this.#noteRefusal(describeError(error));
      for (const file of files) this.#unsynced.add(file);
      return;
    }
    if (this.#syncError !== undefined) {
      this.#syncError = undefined;
      this.#options.logger.info('the log of writes under way is flushed again', {});
      // What the disk refused it may have forgotten: the names of the tables are written anew.
      this.nextSegment();
    }
    this.#syncedSequence = next;
    const isOver = (file: LogFile): boolean => file.lastSequence < low && !this.#unsynced.has(file);
    const over = this.#left.filter(isOver);
    this.#left = this.#left.filter((file) => !over.includes(file));
    if (this.#reserve && this.#reserve !== this.#file && isOver(this.#reserve)) {
      this.#reserve.close();
      this.#reserve = undefined;
    }
    for (const file of over) {
      file.close();
      await rm(file.path, { force: true }).catch(() => undefined);
    }
  }
}
