import type { Logger } from '#core/ports.ts';
import { type InFlight, NOT_NOTED, type NotedTable, PlaceFlag } from './in-flight-port.ts';
import type { LogCounters } from './log-counters.ts';
import type { LogDisk } from './log-file.ts';
import { LogFiles } from './log-files.ts';
import { OpenSequences } from './open-sequences.ts';
import {
  ENTRY_BYTES,
  encodeStampBody,
  encodeTableBody,
  MAX_BODY_BYTES,
  RECORD_BYTES,
  RecordKind,
} from './record-layout.ts';

/** So many writes at most lie between the oldest that is under way and the newest. */
const MAX_OPEN = 2 ** 22;
const MAX_TABLES = 4096;
const TICK_MS = 50;
/** A disk that refused is asked again so often. */
const TICKS_TO_RETRY = 20;
/** A table that is written while nothing can be noted is marked again so often. */
const TICKS_TO_MARK = 200;
const SLOW_MS = 100;

const FIRST_WORD = RECORD_BYTES / 4;
const ENTRY_WORDS = ENTRY_BYTES / 4;
const END_WORD = FIRST_WORD + Math.floor(MAX_BODY_BYTES / ENTRY_BYTES) * ENTRY_WORDS;
const NO_BODY = Buffer.alloc(0);

export interface InFlightLogOptions {
  readonly directory: string;
  /** Later than all that was there before. */
  readonly firstSegment: number;
  readonly firstSequence: number;
  readonly bootId: string;
  readonly timestamps: { readonly lastMicros: number };
  /** Marks all of a table; durable when it returns. */
  readonly markTable: (keyspace: string, table: string, reason: string) => void;
  readonly counters: LogCounters;
  readonly logger: Logger;
  readonly disk?: LogDisk;
  /** Of writes under way; a power of two. */
  readonly maxOpen?: number;
}

/**
 * The log of writes under way: what is begun in a turn of the event loop is written in one call before the turn's sockets
 * are flushed, and so before the primary can have it. A kill leaves it whole; a power loss takes what is younger than the
 * last flush to the disk, which comes every 50 ms and is never waited for. A disk that refuses is answered with space kept
 * for that, and then with marks: a request is never refused or delayed for it.
 */
export class InFlightLog implements InFlight {
  readonly #options: InFlightLogOptions;
  readonly #counters: LogCounters;
  readonly #open: OpenSequences;
  readonly #files: LogFiles;
  /** The record of this turn. */
  readonly #buffer = Buffer.allocUnsafeSlow(RECORD_BYTES + MAX_BODY_BYTES);
  readonly #words = new Int32Array(this.#buffer.buffer);
  #at = FIRST_WORD;
  #firstSequence = 0;
  /** By their numbers. */
  #tables: NotedTable[] = [];
  /** Tables of before their numbers were given anew, while writes below `until` may be open. */
  #earlier: { readonly until: number; readonly tables: readonly NotedTable[] } | undefined;
  readonly #markedBlind = new Set<NotedTable>();
  readonly #timer: NodeJS.Timeout;
  #ticks = 0;
  #stamped = { next: 0, low: 0, micros: 0 };
  #needsSync = false;
  #isClosed = false;

  constructor(options: InFlightLogOptions) {
    this.#options = options;
    this.#counters = options.counters;
    this.#open = new OpenSequences(options.firstSequence, options.maxOpen ?? MAX_OPEN);
    this.#files = new LogFiles({
      ...options,
      sequences: this.#open,
      onEnter: () => {
        for (const table of this.#tables) if (!this.#writeTable(table)) return;
      },
    });
    this.#files.nextSegment();
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Nothing can be noted: what is written now is marked, table by table. */
  get isBlind(): boolean {
    return this.#files.isBlind && !this.#isClosed;
  }

  /** Why the disk does not flush what it takes; undefined: it does. */
  get flushError(): string | undefined {
    return this.#files.syncError;
  }

  get openCount(): number {
    return this.#open.count;
  }

  /** On the disk, the reserve apart. */
  get bytes(): number {
    return this.#files.bytes;
  }

  begin(table: NotedTable, hi: number, lo: number, flags: number): number {
    this.#makeReady(table);
    if (this.#files.isBlind) return this.#markBlind(table);
    let sequence = this.#open.open();
    if (sequence < 0) {
      this.#settleAll();
      sequence = this.#open.open();
    }
    if (this.#at === FIRST_WORD) this.#firstSequence = sequence;
    this.#put(table.index, hi, lo, flags);
    return sequence;
  }

  also(sequence: number, table: NotedTable, hi: number, lo: number, flags: number): void {
    this.#makeReady(table);
    if (this.#files.isBlind || sequence === NOT_NOTED) {
      this.#markBlind(table);
      return;
    }
    if (this.#at === FIRST_WORD) this.#firstSequence = sequence;
    this.#put(table.index, hi, lo, flags | PlaceFlag.SAME_REQUEST);
  }

  done(sequence: number): void {
    this.#open.close(sequence);
  }

  /** Writes what was begun in this turn. */
  readonly flush = (): void => {
    if (this.#at === FIRST_WORD) return;
    const bodyBytes = (this.#at - FIRST_WORD) * 4;
    const startedMs = performance.now();
    const isWritten = this.#files.write(this.#buffer, bodyBytes, RecordKind.WRITES, this.#firstSequence);
    const tookMs = performance.now() - startedMs;
    this.#counters.writeLatency.observe(tookMs);
    if (tookMs > SLOW_MS) this.#counters.slowWrites++;
    if (!isWritten) this.#markTurn();
    this.#at = FIRST_WORD;
  };

  /** Says that nothing is owed, if that is so. Nothing may begin any more. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.flush();
    if (this.#open.low === this.#open.next) this.#files.writeAlone(RecordKind.CLEAN_END, NO_BODY);
    else this.#writeStamp();
    await this.#files.close();
  }

  #makeReady(table: NotedTable): void {
    if (this.#at === END_WORD) this.flush();
    if (table.index < 0) this.#name(table);
  }

  #put(index: number, hi: number, lo: number, flags: number): void {
    const words = this.#words;
    const at = this.#at;
    words[at] = lo;
    words[at + 1] = hi;
    words[at + 2] = index | (flags << 16);
    this.#at = at + ENTRY_WORDS;
  }

  #name(table: NotedTable): void {
    if (this.#tables.length === MAX_TABLES) this.#forgetTables();
    table.index = this.#tables.length;
    this.#tables.push(table);
    this.#writeTable(table);
  }

  #writeTable({ index, keyspace, table }: NotedTable): boolean {
    return this.#files.writeAlone(RecordKind.TABLE, encodeTableBody(index, keyspace, table));
  }

  /** Numbers are given anew: names come from clients, and there are no more than so many. */
  #forgetTables(): void {
    this.flush();
    const before = this.#earlier && this.#earlier.until > this.#open.low ? this.#earlier.tables : [];
    if (before.length > MAX_TABLES) this.#settleAll();
    for (const one of this.#tables) one.index = -1;
    this.#earlier = { until: this.#open.next, tables: [...before, ...this.#tables] };
    this.#tables = [];
  }

  /** What the disk did not take is marked, and so settled. */
  #markTurn(): void {
    let sequence = this.#firstSequence;
    for (let at = FIRST_WORD; at < this.#at; at += ENTRY_WORDS) {
      const last = this.#words[at + 2]!;
      if (at > FIRST_WORD && ((last >>> 16) & PlaceFlag.SAME_REQUEST) === 0) sequence++;
      this.#markBlind(this.#tables[last & 0xffff]!);
      this.#open.close(sequence);
    }
  }

  #markBlind(table: NotedTable): typeof NOT_NOTED {
    if (!this.#isClosed && !this.#markedBlind.has(table)) {
      this.#markedBlind.add(table);
      const reason = 'it was written while the log of writes under way could not be';
      this.#options.markTable(table.keyspace, table.table, reason);
    }
    return NOT_NOTED;
  }

  /** There is no room for one more beside the oldest: all tables are marked instead. */
  #settleAll(): void {
    this.flush();
    this.#options.logger.error('a write has been under way for so long that the tables of all others are marked', {
      open: this.#open.count,
    });
    const reason = 'it was written while too many writes were under way';
    for (const { keyspace, table } of [...(this.#earlier?.tables ?? []), ...this.#tables]) {
      this.#options.markTable(keyspace, table, reason);
    }
    this.#open.closeAll();
  }

  #tick(): void {
    this.#ticks++;
    this.flush();
    if (this.#ticks % TICKS_TO_MARK === 0) this.#markedBlind.clear();
    const isDue = this.#files.isRefused ? this.#ticks % TICKS_TO_RETRY === 0 : this.#files.isSegmentFull;
    if (isDue) this.#files.nextSegment();
    const { next, low } = this.#open;
    const { lastMicros } = this.#options.timestamps;
    const stamped = this.#stamped;
    if ((next !== stamped.next || low !== stamped.low || lastMicros !== stamped.micros) && this.#writeStamp()) {
      this.#stamped = { next, low, micros: lastMicros };
      this.#needsSync ||= next !== stamped.next || low !== stamped.low || this.#files.leftCount > 0;
    }
    // What was refused is asked for again, though nothing is written meanwhile, and not at each tick.
    const isDenied = this.#files.syncError !== undefined;
    if (isDenied ? this.#ticks % TICKS_TO_RETRY !== 0 : !this.#needsSync) return;
    if (this.#files.isSyncing) return;
    this.#needsSync = false;
    this.#files.sync(this.#stamped.next, this.#stamped.low);
  }

  #writeStamp(): boolean {
    return this.#files.writeAlone(RecordKind.STAMP, encodeStampBody(Date.now(), this.#files.syncedSequence));
  }
}
