import { SSTableCorruptError } from '../errors.ts';
import { type ClusteringBound, closingMarker, openingMarker, type PartitionSlice } from '../model/clustering-bound.ts';
import { compareBytes } from '../model/compare-value.ts';
import type {
  Deletion,
  PartitionCursor,
  PartitionEvent,
  PartitionStart,
  RangeTombstoneMarker,
  Row,
} from '../model/row.ts';
import type { Positioned } from './compare-clustering.ts';

/** Where in the stream the cursor is: partitions before the slice, rows before it, in it, behind it. */
type Zone = 'earlier' | 'before' | 'inside' | 'behind' | 'ended';

export interface SliceParts {
  readonly slice: PartitionSlice;
  readonly compare: (left: Positioned, right: Positioned) => number;
  /** For messages. */
  readonly name: string;
}

/**
 * Cuts a slice out of a stream: the partition's start and static row, the range deletion that is open at the slice's
 * start as a marker there, what stands in the slice, and a marker that closes what is open at its end.
 */
export class SliceCursor implements PartitionCursor {
  readonly #inner: PartitionCursor & { readonly position: number };
  readonly #parts: SliceParts;
  readonly #from: RangeTombstoneMarker | undefined;
  readonly #to: RangeTombstoneMarker | undefined;
  #zone: Zone = 'earlier';
  #open: Deletion | undefined;
  /** What stands behind the event that `next` gives now. */
  #held: PartitionEvent | undefined;

  constructor(inner: PartitionCursor & { readonly position: number }, parts: SliceParts) {
    this.#inner = inner;
    this.#parts = parts;
    const { from, to } = parts.slice;
    this.#from = from && openingMarker(from);
    this.#to = to && openingMarker(to);
  }

  next(): PartitionEvent | undefined {
    if (this.#zone === 'behind' && this.#held === undefined) return this.#inner.next();
    for (;;) {
      if (this.#zone === 'ended') return undefined;
      const event = this.#held ?? this.#inner.next();
      this.#held = undefined;
      if (event === undefined) return undefined;
      const given = this.#accept(event);
      if (given !== undefined) return given;
    }
  }

  fill(signal?: AbortSignal): Promise<boolean> {
    return this.#zone === 'ended' ? Promise.resolve(false) : this.#inner.fill(signal);
  }

  close(): void {
    this.#zone = 'ended';
    this.#inner.close();
  }

  /** Where in the file the stream that is cut has come to. */
  get position(): number {
    return this.#inner.position;
  }

  #accept(event: PartitionEvent): PartitionEvent | undefined {
    switch (event.kind) {
      case 'partition':
        return this.#start(event);
      case 'end':
        return this.#end(event);
      default:
        if (this.#zone === 'earlier') return this.#from === undefined ? event : undefined;
        if (this.#zone === 'behind' || (event.kind === 'row' && event.isStatic)) return event;
        return this.#zone === 'before' ? this.#before(event) : this.#inside(event);
    }
  }

  #start(event: PartitionStart): PartitionEvent | undefined {
    const { slice } = this.#parts;
    const order = event.token === slice.token ? compareBytes(event.key, slice.key) : event.token < slice.token ? -1 : 1;
    if (order < 0) return this.#from === undefined ? event : undefined;
    if (order === 0) this.#zone = this.#from === undefined ? 'inside' : 'before';
    else if (slice.to !== undefined) return this.#finish();
    else this.#zone = 'behind';
    return event;
  }

  #end(event: PartitionEvent): PartitionEvent | undefined {
    if (this.#zone === 'earlier') return this.#from === undefined ? event : undefined;
    if (this.#zone === 'behind') return event;
    if (this.#open !== undefined) throw this.#fault('a range deletion is open at the end of the partition');
    if (this.#to !== undefined) this.#finish();
    else this.#zone = 'behind';
    return event;
  }

  #before(event: Row | RangeTombstoneMarker): PartitionEvent | undefined {
    if (this.#parts.compare(event, this.#from!) < 0) {
      if (event.kind === 'marker') this.#pass(event);
      return undefined;
    }
    this.#zone = 'inside';
    const open = this.#open;
    if (open === undefined) return this.#inside(event);
    // A marker right at the bound closes nothing of the slice: it only opens, if anything.
    if (event.kind === 'marker' && this.#parts.compare(event, this.#from!) === 0) {
      this.#pass(event);
      return event.opens === undefined ? undefined : openingMarker(this.#parts.slice.from!, event.opens);
    }
    this.#held = event;
    return openingMarker(this.#parts.slice.from!, open);
  }

  #inside(event: Row | RangeTombstoneMarker): PartitionEvent | undefined {
    if (this.#to !== undefined && this.#parts.compare(event, this.#to) >= 0) return this.#cut(this.#parts.slice.to!);
    if (event.kind === 'marker') this.#pass(event);
    return event;
  }

  /** The slice ends inside of the partition: nothing behind is read. */
  #cut(to: ClusteringBound): PartitionEvent | undefined {
    const open = this.#open;
    if (open === undefined) return this.#finish({ kind: 'end' });
    this.#open = undefined;
    this.#held = { kind: 'end' };
    return closingMarker(to, open);
  }

  #finish(last?: PartitionEvent): PartitionEvent | undefined {
    this.close();
    return last;
  }

  /** No index has checksums: what it says is open must be what the next marker closes. */
  #pass(marker: RangeTombstoneMarker): void {
    if (!sameDeletion(marker.closes, this.#open)) {
      throw this.#fault('a marker closes another range deletion than the one that is open');
    }
    this.#open = marker.opens;
  }

  #fault(what: string): SSTableCorruptError {
    const { name, slice } = this.#parts;
    return new SSTableCorruptError(`${name}: ${what}`, { context: { file: name, token: String(slice.token) } });
  }
}

function sameDeletion(left: Deletion | undefined, right: Deletion | undefined): boolean {
  return (
    left?.timestampMicros === right?.timestampMicros &&
    left?.localDeletionTimeSeconds === right?.localDeletionTimeSeconds
  );
}
