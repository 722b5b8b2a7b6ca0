import { describeError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { Mark } from '#core/ledger/mark.ts';
import type { Clock, Logger } from '#core/ports.ts';
import type { MarkedPlace } from './marked-place.ts';
import { isTableName, MarkedPlaces } from './marked-places.ts';
import { tellEverything, tellPlace } from './tell-marks.ts';

const RETRY_MS = 2_000;
/** A place goes to the ledger at most this often; a mark in between waits, and is not dropped. */
const REPEAT_MS = 5_000;

export interface SuspectMarksOptions {
  readonly ledger: Ledger;
  readonly instance: string;
  /** Of the journal. */
  readonly directory: string;
  /** The clusters' time: what a comparison has looked at is told by it. */
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Places that may differ between the clusters, on their way into the ledger. A mark is in a file when `mark` returns, in
 * space that was reserved before, so that neither a ledger that is away, nor a full disk, nor a killed process loses it.
 */
export class SuspectMarks {
  readonly #ledger: Ledger;
  readonly #instance: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #places: MarkedPlaces;
  #sending: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #count = 0;

  constructor(options: SuspectMarksOptions) {
    this.#ledger = options.ledger;
    this.#instance = options.instance;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#places = new MarkedPlaces(options.directory, options.clock, options.logger);
  }

  /** Marks made since the start, repetitions included. */
  get count(): number {
    return this.#count;
  }

  /** Places of which the ledger lacks something. */
  get pendingCount(): number {
    let count = this.#places.isEverything ? 1 : 0;
    for (const place of this.#places.all()) if (place.waitingSinceMs !== undefined) count++;
    return count;
  }

  /** The ledger has every mark from before. Milliseconds since the epoch. */
  get settledAtMs(): number {
    if (this.#places.isEverything) return 0;
    let settledAtMs = this.#clock.nowMillis();
    for (const { waitingSinceMs } of this.#places.all()) {
      settledAtMs = Math.min(settledAtMs, waitingSinceMs ?? settledAtMs);
    }
    return settledAtMs;
  }

  /**
   * Opens the file, and takes over what an earlier process could not bring to the ledger. When it noted the last loss is
   * not on the disk, so the marks are of now: a validation that ran meanwhile must not take them for looked at.
   */
  async restore(): Promise<void> {
    this.#places.restore();
    this.#schedule(0);
  }

  /** Never throws and never waits. */
  mark(mark: Mark): void {
    if (!isTableName(mark.keyspace, mark.table)) return;
    this.#count++;
    const place = this.#places.add(mark);
    this.#schedule(place === undefined ? 0 : dueInMs(place));
  }

  /** Marks every table that the ledger knows: nobody can say which may differ. Never throws and never waits. */
  markEverything(): void {
    this.#count++;
    this.#places.setEverything(true);
    this.#schedule(0);
  }

  /** Tries once to bring everything to the ledger; what it does not take stays on the disk. */
  async flush(): Promise<void> {
    this.#clearTimer();
    // What is under way has not seen the last ones.
    await this.#sending;
    await this.#send(true);
  }

  /**
   * Gives back what the ledger has; what it is still being told stays on the disk, whatever it answers. Marks that come
   * later are in memory only.
   */
  close(): void {
    this.#clearTimer();
    for (const place of this.#places.all()) if (place.waitingSinceMs === undefined) this.#places.remove(place);
    this.#places.close();
  }

  #clearTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  #schedule(delayMs: number): void {
    const atMs = performance.now() + delayMs;
    if (atMs >= this.#timerAtMs) return;
    this.#clearTimer();
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => {
      this.#clearTimer();
      void this.#send(false);
    }, delayMs).unref();
  }

  #send(isFinal: boolean): Promise<void> {
    this.#sending ??= this.#sendDue(isFinal).finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  async #sendDue(isFinal: boolean): Promise<void> {
    this.#places.save();
    try {
      if (this.#places.isEverything) {
        await tellEverything(this.#ledger, this.#instance, this.#clock);
        this.#places.setEverything(false);
      }
      // First: while the ledger is away not one more is ended, so that they do not become many.
      for (const place of this.#places.closed) await this.#tellLast(place);
      for (const place of this.#places.open) {
        if (place.isOver) {
          this.#places.end(place);
          await this.#tellLast(place);
        } else if (place.waitingSinceMs !== undefined && (isFinal || dueInMs(place) === 0)) await this.#tell(place);
      }
      for (const place of this.#places.all()) this.#schedule(dueInMs(place));
    } catch (error) {
      this.#logger.warn('suspect marks wait: the ledger does not take them', {
        error: describeError(error),
        waiting: this.pendingCount,
      });
      this.#schedule(RETRY_MS);
    }
  }

  async #tellLast(place: MarkedPlace): Promise<void> {
    if (place.waitingSinceMs !== undefined) await this.#tell(place);
    this.#places.remove(place);
  }

  async #tell(place: MarkedPlace): Promise<void> {
    const { version } = place;
    const beganMs = this.#clock.nowMillis();
    await tellPlace(this.#ledger, this.#instance, place);
    place.sentMs = performance.now();
    // A mark that came while it was on its way waits for its turn.
    place.waitingSinceMs = place.version === version ? undefined : beganMs;
  }
}

/** When something of it is next to be done. */
function dueInMs(place: MarkedPlace): number {
  const dueMs = place.waitingSinceMs === undefined ? place.openedMs + place.windowMs : place.sentMs + REPEAT_MS;
  return Math.max(0, dueMs - performance.now());
}
