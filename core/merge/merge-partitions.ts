/**
 * The k-way merge: several streams of partitions, each sorted, become one in which every row, marker and partition
 * stands once. Nothing but one event of each input is held, so a partition may be larger than the memory.
 */

import { SSTableCorruptError } from '../errors.ts';
import { compareBytes } from '../model/compare-value.ts';
import {
  BoundKind,
  type Deletion,
  type PartitionCursor,
  type PartitionEvent,
  type PartitionStart,
  type RangeTombstoneMarker,
  type Row,
} from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { compareClustering, type Positioned, sideOf } from './compare-clustering.ts';
import { Heap } from './heap.ts';
import { createRowMerge, type MergeRows } from './merge-rows.ts';
import { covers, strongerDeletion } from './reconcile.ts';

/** One input. With `firstToken` it is not read before the merge gets there, so it holds no memory until then. */
export interface MergeInput {
  readonly cursor: PartitionCursor;
  /** No partition of this input has a lower token. */
  readonly firstToken?: bigint;
}

interface Source {
  readonly index: number;
  readonly cursor: PartitionCursor;
  /** What stands next; undefined while it has not been read, or at the end. */
  head: PartitionEvent | undefined;
  /** Where it stands among partitions: that of the head, or a lower bound of what is unread. */
  token: bigint;
  key: Uint8Array;
  /** The range deletion that this input has open in the current partition. */
  open: Deletion | undefined;
}

const NO_KEY = new Uint8Array(0);
const LOWEST_TOKEN = -(1n << 63n);

/**
 * Merges the inputs; their rows must have the columns of `schema`, in its order.
 * @throws SSTableCorruptError when an input is out of order or ends inside a partition
 */
export function mergePartitions(inputs: readonly MergeInput[], schema: TableSchema): PartitionCursor {
  return new PartitionMerge(inputs, schema);
}

class PartitionMerge implements PartitionCursor {
  readonly #sources: readonly Source[];
  /** Inputs between partitions, the one with the least (token, key) on top. */
  readonly #partitions = new Heap<Source>((a, b) => comparePartitions(a, b) || a.index - b.index);
  /** Inputs inside the current partition, the one with the least clustering on top. */
  readonly #rows: Heap<Source>;
  readonly #mergeRows: MergeRows;
  readonly #compare: (left: Positioned, right: Positioned) => number;
  /** Inputs whose next event is not known yet. */
  #unread: Source[] = [];
  /** Inputs that share the current partition; empty between partitions. */
  #members: Source[] = [];
  #statics: Row[] = [];
  #staticsDone = false;
  #partitionDeletion: Deletion | undefined;
  /** The range deletion that the merged stream has open. */
  #open: Deletion | undefined;
  #last: PartitionStart | undefined;

  constructor(inputs: readonly MergeInput[], schema: TableSchema) {
    this.#sources = inputs.map(({ cursor, firstToken }, index) => ({
      index,
      cursor,
      head: undefined,
      token: firstToken ?? LOWEST_TOKEN,
      key: NO_KEY,
      open: undefined,
    }));
    for (const source of this.#sources) this.#partitions.push(source);
    this.#mergeRows = createRowMerge(schema);
    this.#compare = compareClustering(schema.clustering);
    this.#rows = new Heap<Source>(
      (a, b) => this.#compare(a.head as Positioned, b.head as Positioned) || a.index - b.index,
    );
  }

  next(): PartitionEvent | undefined {
    while (this.#settle()) {
      const event = this.#members.length === 0 ? this.#startPartition() : this.#continuePartition();
      if (event === 'none') return undefined;
      if (event !== 'again') return event;
    }
    return undefined;
  }

  async fill(signal?: AbortSignal): Promise<boolean> {
    if (this.#unread.length === 0) return this.#partitions.size > 0 || this.#members.length > 0;
    await Promise.all(
      this.#unread.map(async (source) => {
        if (source.head === undefined && !(await source.cursor.fill(signal))) this.#end(source);
      }),
    );
    return true;
  }

  close(): void {
    for (const source of this.#sources) source.cursor.close();
  }

  /** Reads the head of every input that lacks one. False: some need `fill` first. */
  #settle(): boolean {
    if (this.#unread.length === 0) return true;
    const still: Source[] = [];
    for (const source of this.#unread) {
      let head = source.cursor.next();
      while (head?.kind === 'row' && head.isStatic) {
        if (this.#staticsDone) throw this.#disorder(source);
        this.#statics.push(head);
        head = source.cursor.next();
      }
      source.head = head;
      if (head === undefined) still.push(source);
      else this.#place(source, head);
    }
    this.#unread = still;
    return still.length === 0;
  }

  #place(source: Source, head: PartitionEvent): void {
    if (head.kind === 'partition') {
      if (source.key !== NO_KEY && comparePartitions(head, source) <= 0) throw this.#disorder(source);
      source.token = head.token;
      source.key = head.key;
      this.#partitions.push(source);
    } else if (head.kind !== 'end') this.#rows.push(source);
    else if (source.open !== undefined) throw this.#disorder(source);
  }

  #disorder(source: Source): SSTableCorruptError {
    return new SSTableCorruptError('an input of the merge is out of order', {
      context: { input: source.index, token: String(source.token) },
    });
  }

  /** The input has no more bytes. Only between partitions may that be. */
  #end(source: Source): void {
    this.#unread = this.#unread.filter((other) => other !== source);
    if (this.#members.includes(source)) throw this.#disorder(source);
    source.cursor.close();
  }

  #advance(source: Source): void {
    source.head = undefined;
    this.#unread.push(source);
  }

  #startPartition(): PartitionEvent | 'again' | 'none' {
    const least = this.#partitions.peek();
    if (least === undefined) return 'none';
    if (least.head === undefined) {
      // Not opened so far: the merge has come to its first token.
      this.#unread.push(this.#partitions.pop()!);
      return 'again';
    }
    const start = least.head as PartitionStart;
    if (this.#last !== undefined && comparePartitions(this.#last, start) >= 0) throw this.#disorder(least);
    let deletion: Deletion | undefined;
    const members: Source[] = [];
    while (this.#partitions.size > 0 && comparePartitions(this.#partitions.peek()!, start) === 0) {
      const source = this.#partitions.pop()!;
      members.push(source);
      deletion = strongerDeletion(deletion, (source.head as PartitionStart).deletion);
    }
    for (const source of members) {
      source.open = undefined;
      this.#advance(source);
    }
    this.#members = members;
    this.#statics = [];
    this.#staticsDone = false;
    this.#partitionDeletion = deletion;
    this.#open = undefined;
    this.#last = { kind: 'partition', key: start.key, token: start.token, deletion };
    return this.#last;
  }

  #continuePartition(): PartitionEvent | 'again' {
    if (!this.#staticsDone) {
      this.#staticsDone = true;
      const merged = this.#statics.length > 0 ? this.#mergeRows(this.#statics, this.#partitionDeletion) : undefined;
      return merged ?? 'again';
    }
    if (this.#rows.size === 0) {
      // Every member stands at its partition's end, since none is unread and none is in the heap.
      for (const source of this.#members) this.#advance(source);
      this.#members = [];
      return { kind: 'end' };
    }
    const least = this.#rows.pop()!;
    const position = least.head as Positioned;
    const same = [least];
    while (this.#rows.size > 0 && this.#compare(this.#rows.peek()!.head as Positioned, position) === 0) {
      same.push(this.#rows.pop()!);
    }
    const event =
      position.kind === 'row'
        ? this.#mergeRows(
            same.map((source) => source.head as Row),
            this.#open ?? this.#partitionDeletion,
          )
        : this.#mergeMarkers(same, position);
    for (const source of same) this.#advance(source);
    return event ?? 'again';
  }

  /** RangeTombstoneMarker.Merger: what is open after this position, against what was open before. */
  #mergeMarkers(same: readonly Source[], position: RangeTombstoneMarker): RangeTombstoneMarker | undefined {
    for (const source of same) source.open = (source.head as RangeTombstoneMarker).opens;
    let opens: Deletion | undefined;
    for (const source of this.#members) opens = strongerDeletion(opens, source.open);
    if (opens !== undefined && covers(this.#partitionDeletion, opens.timestampMicros)) opens = undefined;
    const closes = this.#open;
    this.#open = opens;
    if (sameDeletion(closes, opens)) return undefined;
    const isBefore = sideOf(position) < 0;
    const bound =
      closes === undefined
        ? isBefore
          ? BoundKind.InclusiveStart
          : BoundKind.ExclusiveStart
        : opens === undefined
          ? isBefore
            ? BoundKind.ExclusiveEnd
            : BoundKind.InclusiveEnd
          : isBefore
            ? BoundKind.ExclusiveEndInclusiveStartBoundary
            : BoundKind.InclusiveEndExclusiveStartBoundary;
    return { kind: 'marker', bound, clustering: position.clustering, closes, opens };
  }
}

interface PartitionPosition {
  readonly token: bigint;
  readonly key: Uint8Array;
}

function comparePartitions(left: PartitionPosition, right: PartitionPosition): number {
  if (left.token !== right.token) return left.token < right.token ? -1 : 1;
  return compareBytes(left.key, right.key);
}

function sameDeletion(left: Deletion | undefined, right: Deletion | undefined): boolean {
  if (left === undefined || right === undefined) return left === right;
  return (
    left.timestampMicros === right.timestampMicros && left.localDeletionTimeSeconds === right.localDeletionTimeSeconds
  );
}
