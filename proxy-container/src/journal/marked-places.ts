import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { Mark } from '#core/ledger/mark.ts';
import { WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { Clock, Logger } from '#core/ports.ts';
import { NARROW_SLOTS, PlaceImage, type SlotIdentity, WIDE_SLOTS } from './mark-slots.ts';
import { MarkedPlace } from './marked-place.ts';
import { KEYSPACE_SLOTS, ReservedMarks } from './reserved-marks.ts';

export const MARKS_FILE = 'marks.bits';
const FIRST_WINDOW_MS = 60_000;
const MAX_WINDOW_MS = 60 * 60_000;
/** Bounds memory, also where the disk takes nothing. */
const MAX_PLACES = NARROW_SLOTS + WIDE_SLOTS;
/** Of a keyspace; those that the ledger knows need not be named. */
const MAX_TABLES = 10_000;
const MAX_WINDOWS_KNOWN = 10_000;
const MAX_REASON_LENGTH = 100;
/** No other name is a table's. */
const NAME = /^\w{1,222}$/;

/**
 * The places that wait for the ledger, in memory and in the reserved file alike. What there is no room for is kept as more
 * than it is: a bucket of partitions, the table, the keyspace, everything.
 */
export class MarkedPlaces {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Those that take marks, by what they are of. */
  readonly #open = new Map<string, MarkedPlace>();
  /** Those that take none any more. */
  readonly #closed = new Set<MarkedPlace>();
  /** How long the last one of each took marks, and when it ended. */
  readonly #windows = new Map<string, { readonly windowMs: number; readonly endedMs: number }>();
  #file: ReservedMarks | undefined;
  #isEverything = false;
  #hasDiskFailed = false;

  constructor(directory: string, clock: Clock, logger: Logger) {
    this.#path = join(directory, MARKS_FILE);
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Opens the file, and takes over what is in it. */
  restore(): void {
    try {
      this.#file = ReservedMarks.open(this.#path, this.#logger);
    } catch (error) {
      this.#diskFailed(error);
      return;
    }
    this.#isEverything ||= this.#file.isEverything;
    for (const { slot, identity, places } of this.#file.found) {
      const place = new MarkedPlace(identity, places, FIRST_WINDOW_MS);
      place.slot = slot;
      place.note(identity.reason, this.#clock.nowMillis());
      const key = keyOf(identity);
      if (this.#open.has(key)) this.#closed.add(place);
      else this.#open.set(key, place);
    }
  }

  /** Any table may differ: what was marked can't be told. */
  get isEverything(): boolean {
    return this.#isEverything;
  }

  setEverything(is: boolean): void {
    if (is && !this.#isEverything) {
      this.#logger.error('it can not be told which tables may differ: every table that the ledger knows is marked', {});
    }
    this.#isEverything = is;
    this.#onDisk((file) => file.setEverything(is));
  }

  get open(): readonly MarkedPlace[] {
    return [...this.#open.values()];
  }

  get closed(): readonly MarkedPlace[] {
    return [...this.#closed];
  }

  *all(): Iterable<MarkedPlace> {
    yield* this.#open.values();
    yield* this.#closed;
  }

  /** Keeps the mark; the place that holds it, or undefined where everything does. */
  add(mark: Mark): MarkedPlace | undefined {
    const key = keyOf(mark);
    const place = this.#open.get(key) ?? this.#openPlace(key, mark);
    if (place === undefined) return this.#addMore(mark);
    place.note(mark.reason, this.#clock.nowMillis());
    if (place.image !== undefined) this.#addTokens(place, place.image, mark.tokens ?? []);
    return place;
  }

  /** From now on marks of this kind open another place. */
  end(place: MarkedPlace): void {
    const key = keyOf(place.identity);
    if (this.#open.get(key) !== place) return;
    this.#open.delete(key);
    this.#closed.add(place);
    if (this.#windows.size >= MAX_WINDOWS_KNOWN) this.#windows.clear();
    this.#windows.set(key, { windowMs: place.windowMs, endedMs: performance.now() });
  }

  /** The ledger has it. */
  remove(place: MarkedPlace): void {
    this.#closed.delete(place);
    const { slot } = place;
    if (slot !== undefined) this.#onDisk((file) => file.free(slot));
  }

  /** Tries again to bring to the disk what it has refused. */
  save(): void {
    if (!this.#hasDiskFailed || this.#file === undefined) return;
    this.#hasDiskFailed = false;
    for (const place of this.all()) if (place.slot === undefined) this.#reserve(place);
  }

  /** Marks that come later are in memory only. */
  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** undefined: there is no room for one more. */
  #openPlace(key: string, { keyspace, table, lacking, code, reason, tokens }: Mark): MarkedPlace | undefined {
    const isKeyspace = table === WHOLE_KEYSPACE;
    const room = isKeyspace ? MAX_PLACES : MAX_PLACES - KEYSPACE_SLOTS;
    if (this.#open.size + this.#closed.size >= room) return undefined;
    const last = this.#windows.get(key);
    const isGoingOn = last !== undefined && performance.now() - last.endedMs < last.windowMs;
    const windowMs = isGoingOn ? Math.min(2 * last.windowMs, MAX_WINDOW_MS) : FIRST_WINDOW_MS;
    const shown = reason.slice(0, MAX_REASON_LENGTH);
    const identity: SlotIdentity = { keyspace, table, lacking, code, reason: shown, fromMs: this.#clock.nowMillis() };
    const image = tokens === null || tokens.length === 0 ? undefined : new PlaceImage();
    const place = new MarkedPlace(identity, image, windowMs);
    if (!this.#reserve(place)) return undefined;
    this.#open.set(key, place);
    if (last === undefined) this.#logger.warn('a table is marked suspect', { keyspace, table, code, reason });
    return place;
  }

  /** False: all slots are in use. */
  #reserve(place: MarkedPlace): boolean {
    const isDone = this.#onDisk((file) => {
      if (place.image) place.slot = file.takeWide(place.identity, place.image);
      if (place.slot !== undefined) return;
      place.image = undefined;
      place.slot = file.takeNarrow(place.identity);
    });
    return !isDone || place.slot !== undefined;
  }

  #addTokens(place: MarkedPlace, image: PlaceImage, tokens: readonly bigint[]): void {
    if (tokens.length === 0) place.image = undefined;
    const { slot } = place;
    const blocks = new Set<number>();
    for (const token of tokens) {
      const block = image.add(token);
      if (block >= 0) blocks.add(block);
    }
    if (slot === undefined) return;
    const isDone = this.#onDisk((file) => {
      if (tokens.length === 0) file.widen(slot);
      for (const block of blocks) file.writeBlock(slot, image, block);
    });
    // It goes to the disk anew, as a whole.
    if (!isDone) place.slot = undefined;
  }

  /** The keyspace for its table, and everything for a keyspace. */
  #addMore(mark: Mark): MarkedPlace | undefined {
    if (mark.table !== WHOLE_KEYSPACE) {
      const place = this.add({ ...mark, table: WHOLE_KEYSPACE, tokens: null, code: 'journal-full', lacking: null });
      if (place && place.tables.size < MAX_TABLES) place.tables.add(mark.table);
      return place;
    }
    this.setEverything(true);
    return undefined;
  }

  /** False: the disk has not taken it, and it is in memory. */
  #onDisk(work: (file: ReservedMarks) => void): boolean {
    if (this.#file === undefined) return false;
    try {
      work(this.#file);
      return true;
    } catch (error) {
      this.#diskFailed(error);
      return false;
    }
  }

  #diskFailed(error: unknown): void {
    if (this.#hasDiskFailed) return;
    this.#hasDiskFailed = true;
    this.#logger.error('suspect marks could not be written to the disk: they are in memory until the ledger has them', {
      path: this.#path,
      error: describeError(error),
    });
  }
}

/** Whether there can be such a table. */
export function isTableName(keyspace: string, table: string): boolean {
  return NAME.test(keyspace) && (table === WHOLE_KEYSPACE || NAME.test(table));
}

function keyOf({ keyspace, table, lacking, code }: Pick<Mark, 'keyspace' | 'table' | 'lacking' | 'code'>): string {
  return `${keyspace}.${table} ${lacking} ${code}`;
}
