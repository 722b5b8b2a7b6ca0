import { ByteReader, EndOfBytesError, MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { SSTableUnsupportedError } from '#core/errors.ts';
import { openingMarker } from '#core/model/clustering-bound.ts';
import {
  BoundKind,
  type Deletion,
  NO_CLUSTERING,
  type PartitionCursor,
  type PartitionEvent,
  type PartitionStart,
  type RangeTombstoneMarker,
} from '#core/model/row.ts';
import { tokenOf } from '#core/token/token.ts';
import { contains, type TokenRange, unwrap } from '#core/token/token-range.ts';
import type { DataFile, StoredWindow } from './data-file.ts';
import type { DeltaReader } from './delta-reader.ts';
import type { DataSpan, PartitionIndex, PartitionPlace } from './partition-index.ts';
import { PartitionOrder } from './partition-order.ts';
import type { RowDecoder } from './row-decoder.ts';
import type { RowBlock } from './row-index.ts';
import { checkSpanEnd } from './span-end.ts';
import { corrupt } from './sstable-files.ts';

/** Plain bytes of one window, before it is rounded up to whole chunks. */
export const WINDOW_BYTES = { min: 64 * 1024, default: 1024 * 1024, max: 8 * 1024 * 1024 } as const;
/** A partition before the range that has more than this is entered at its last rows. */
const LARGE_BEFORE_BYTES = 256 * 1024;
/** A single row above this can't be held in memory beside its siblings. */
const MAX_ROW_BYTES = 512 * 1024 * 1024;

const END_OF_PARTITION: PartitionEvent = { kind: 'end' };

interface CursorParts {
  readonly data: DataFile;
  readonly index: PartitionIndex;
  readonly deltas: DeltaReader;
  readonly rows: RowDecoder;
  readonly hasStaticColumns: boolean;
  readonly range: TokenRange;
  readonly windowBytes: number;
  /** A partition of the range that is entered at a bound; those before it are left out as far as that is easy. */
  readonly enter?: PartitionPlace & { readonly bound: RangeTombstoneMarker };
  /** The block of a partition to read from, to meet all that stands at or behind a bound; undefined: the first one. */
  blockAt?(place: PartitionPlace, bound: RangeTombstoneMarker, signal?: AbortSignal): Promise<RowBlock | undefined>;
}

/** Behind all rows of a partition. */
const END_BOUND = openingMarker({ clustering: NO_CLUSTERING, side: 1 });

/** `entering`: the head has been read, and the block is to be read next; `entered`: its bytes are there. */
type State = 'partition' | 'static' | 'rows' | 'entering' | 'entered' | 'closed';

/** A cursor over one SSTable, which knows where in Data.db its events stand. */
export interface PositionedCursor extends PartitionCursor {
  /** Where the event that `next` gave last begins: a plain position in Data.db. */
  readonly position: number;
}

/**
 * Streams partitions of a token range out of Data.db: one window at a time, decoded synchronously, the next one being
 * fetched meanwhile. A wrapping range comes out ascending: first its low tokens, then its high ones.
 */
export class SSTablePartitionCursor implements PositionedCursor {
  readonly #parts: CursorParts;
  readonly #pieces: TokenRange[];
  readonly #abort = new AbortController();
  #span: (DataSpan & { readonly range: TokenRange }) | undefined;
  #reader = new ByteReader(new Uint8Array(0));
  /** Plain position in Data.db of the first byte of the window. */
  #windowStart = 0;
  #readAhead: { readonly start: number; readonly window: Promise<StoredWindow> } | undefined;
  #state: State = 'partition';
  #isSkipping = false;
  #order: PartitionOrder | undefined;
  /** A partition behind the range was seen: nothing of it is left. */
  #isBehindRange = false;
  /** Where to go on behind the head of the partition that stands next. */
  #block: RowBlock | undefined;
  #openAtBlock: Deletion | undefined;
  /** Of the event that `next` gave last, in the window. */
  #eventStart = 0;

  constructor(parts: CursorParts) {
    this.#parts = parts;
    this.#pieces = unwrap(parts.range);
  }

  next(): PartitionEvent | undefined {
    const reader = this.#reader;
    for (;;) {
      const start = reader.offset;
      if (this.#state === 'closed' || this.#span === undefined) return undefined;
      if (start === reader.limit) {
        if (this.#isAtSpanEnd() && this.#state !== 'partition' && this.#state !== 'entering')
          throw this.#fault(start, 'the data ends inside a partition');
        return undefined;
      }
      try {
        const event = this.#decode(reader);
        if (event !== undefined) {
          this.#eventStart = start;
          return event;
        }
      } catch (error) {
        if (error instanceof EndOfBytesError) {
          if (this.#isAtSpanEnd()) throw this.#fault(start, `the data ends inside a partition (${error.message})`);
          reader.offset = start;
          return undefined;
        }
        if (error instanceof MalformedBytesError) throw this.#fault(error.offset, error.message, error);
        throw error;
      }
    }
  }

  /** Where the event that `next` gave last begins: a plain position in Data.db. Of use until `fill`. */
  get position(): number {
    return this.#windowStart + this.#eventStart;
  }

  async fill(signal?: AbortSignal): Promise<boolean> {
    if (this.#state === 'closed') return false;
    while (this.#isPieceRead()) {
      await this.#checkEnd(signal);
      if (!(await this.#openNextPiece(signal))) return false;
    }
    if (this.#state === 'entering') this.#jump();
    if (this.#isAtSpanEnd()) return true;
    await this.#readWindow(signal);
    return true;
  }

  close(): void {
    this.#state = 'closed';
    this.#reader = new ByteReader(new Uint8Array(0));
    this.#readAhead = undefined;
    this.#abort.abort();
  }

  /** One event; undefined: something was passed over. Advances the state only after all of its bytes were read. */
  #decode(reader: ByteReader): PartitionEvent | undefined {
    if (this.#state === 'partition') return this.#decodeStart(reader);
    if (this.#state === 'entered') {
      this.#state = 'rows';
      const opens = this.#openAtBlock;
      // What is open where the block begins, as if it had begun with the partition.
      if (opens !== undefined && !this.#isSkipping) {
        return { kind: 'marker', bound: BoundKind.InclusiveStart, clustering: NO_CLUSTERING, opens };
      }
    }
    const isStatic = this.#state === 'static';
    const unfiltered = this.#parts.rows.read(reader, isStatic, this.#isSkipping);
    if (isStatic) this.#behindHead(reader);
    if (unfiltered === 'nothing') return undefined;
    if (unfiltered !== 'end') return unfiltered;
    this.#state = 'partition';
    return this.#isSkipping ? undefined : END_OF_PARTITION;
  }

  /** bytes16 key; deletion. */
  #decodeStart(reader: ByteReader): PartitionStart | undefined {
    const start = reader.offset;
    const key = reader.readBytes16();
    const deletion = this.#parts.deltas.readPartitionDeletion(reader);
    const token = tokenOf(key);
    const zone = this.#order!.accept(key, token, this.#windowStart + start, start);
    if (this.#parts.hasStaticColumns) this.#state = 'static';
    else this.#behindHead(reader);
    this.#isSkipping = zone !== 'inside';
    if (zone === 'behind') {
      // Tokens ascend: nothing behind this one is wanted.
      this.#state = 'partition';
      reader.offset = reader.limit;
      this.#span = { ...this.#span!, end: this.#windowStart + reader.limit };
      this.#isBehindRange = true;
      return undefined;
    }
    return this.#isSkipping ? undefined : { kind: 'partition', key, token, deletion };
  }

  async #openNextPiece(signal?: AbortSignal): Promise<boolean> {
    const range = this.#pieces.shift();
    if (range === undefined) {
      this.close();
      return false;
    }
    let span = await this.#parts.index.locate(range, signal);
    const { enter } = this.#parts;
    this.#block = undefined;
    if (enter !== undefined && contains(range, enter.token)) {
      this.#block = await this.#parts.blockAt?.(enter, enter.bound, signal);
      const isFirst = (key: Uint8Array) => Buffer.compare(key, enter.key) === 0;
      if (this.#block !== undefined) span = { start: this.#block.partition, end: span.end, isFirst };
    }
    if (this.#block === undefined) this.#block = await this.#lastBlockBefore(span, signal);
    this.#span = { ...span, range };
    this.#order = new PartitionOrder(span, range);
    this.#isBehindRange = false;
    this.#readAhead = undefined;
    this.#windowStart = span.start;
    this.#reader = new ByteReader(new Uint8Array(0));
    return true;
  }

  /** Of a large partition before the range nothing is wanted but where it ends. */
  async #lastBlockBefore({ start, next, before }: DataSpan, signal?: AbortSignal): Promise<RowBlock | undefined> {
    if (before === undefined || next === undefined || next - start <= LARGE_BEFORE_BYTES) return undefined;
    const block = await this.#parts.blockAt?.(before, END_BOUND, signal);
    return block?.partition === start ? block : undefined;
  }

  /** The rows follow, or the block at which the partition is entered. */
  #behindHead(reader: ByteReader): void {
    this.#state = 'rows';
    if (this.#block === undefined) return;
    this.#state = 'entering';
    reader.offset = reader.limit;
  }

  #jump(): void {
    const block = this.#block!;
    this.#block = undefined;
    this.#openAtBlock = block.open;
    this.#windowStart = block.start;
    this.#reader = new ByteReader(new Uint8Array(0));
    this.#readAhead = undefined;
    this.#state = 'entered';
  }

  async #checkEnd(signal?: AbortSignal): Promise<void> {
    const { data } = this.#parts;
    if (this.#span === undefined || this.#isBehindRange || this.#span.end >= data.byteLength) return;
    // What the last window holds behind the span.
    const { bytes, limit } = this.#reader;
    await checkSpanEnd(data, this.#span.end, this.#span.range.end, bytes.subarray(limit), signal);
  }

  #isPieceRead(): boolean {
    if (this.#span === undefined) return true;
    return this.#state !== 'entering' && this.#isAtSpanEnd() && this.#reader.remaining === 0;
  }

  async #readWindow(signal?: AbortSignal): Promise<void> {
    const { data, windowBytes } = this.#parts;
    const span = this.#span!;
    const reader = this.#reader;
    const leftover = reader.bytes.subarray(reader.offset, reader.limit);
    if (leftover.length > MAX_ROW_BYTES) {
      throw new SSTableUnsupportedError(
        `${data.name}, offset ${this.#windowStart + reader.offset}: a row of more than ${MAX_ROW_BYTES} bytes can not be held`,
        { context: { file: data.name, offset: this.#windowStart + reader.offset } },
      );
    }
    const start = this.#windowStart + reader.limit;
    // What did not fit into a window (a row larger than it) is read with doubled windows; of a partition that is entered
    // in the middle only the head.
    const wanted = Math.max(this.#block === undefined ? windowBytes : WINDOW_BYTES.min, leftover.length);
    this.#order?.keepKey();
    const stored = await this.#take(start, wanted, signal);
    const headroom = leftover.length;
    const bytes = Buffer.allocUnsafeSlow(headroom + stored.plainBytes);
    bytes.set(leftover, 0);
    stored.unpack(bytes, headroom);
    this.#windowStart = stored.start - headroom;
    // A span starts anywhere in a chunk: what is unpacked before it is passed over. Later windows continue exactly.
    const lead = start - stored.start;
    const limit = Math.min(stored.end, span.end) - this.#windowStart;
    this.#reader = new ByteReader(bytes, lead, limit);
    // A row larger than a window: the next one grows with what is there, or joining them would take quadratic time.
    const next = Math.max(windowBytes, headroom);
    if (stored.end < span.end && this.#block === undefined) this.#fetchAhead(stored.end, next);
  }

  async #take(start: number, bytes: number, signal?: AbortSignal): Promise<StoredWindow> {
    const ahead = this.#readAhead;
    this.#readAhead = undefined;
    if (ahead?.start === start) return ahead.window;
    return this.#parts.data.fetch(start, Math.min(start + bytes, this.#span!.end), signal ?? this.#abort.signal);
  }

  #fetchAhead(start: number, bytes: number): void {
    const end = Math.min(start + bytes, this.#span!.end);
    const window = this.#parts.data.fetch(start, end, this.#abort.signal);
    // Whoever takes the window sees the failure; nobody may, when the cursor is closed before.
    window.catch(() => undefined);
    this.#readAhead = { start, window };
  }

  #isAtSpanEnd(): boolean {
    return this.#span !== undefined && this.#windowStart + this.#reader.limit >= this.#span.end;
  }

  #fault(offset: number, what: string, cause?: unknown): Error {
    return corrupt(this.#parts.data.name, this.#windowStart + offset, `${what} (offset of the plain data)`, cause);
  }
}
