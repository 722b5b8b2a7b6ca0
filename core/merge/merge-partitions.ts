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
import { HeadList } from './head-list.ts';
import { createRowMerge, type MergeRows } from './merge-rows.ts';
import { strongerDeletion, supersedes } from './reconcile.ts';

/** One input. With `firstToken` it is not read before the merge gets there, so it holds no memory until then. */
export interface MergeInput {
  readonly cursor: PartitionCursor;
  /** No partition of this input has a lower token. */
  readonly firstToken?: bigint;
  /** Told when it has been read to its end. */
  readonly onEnd?: () => void;
}

interface Source {
  readonly index: number;
  readonly cursor: PartitionCursor;
  readonly onEnd: (() => void) | undefined;
  /** What stands next; undefined while it has not been read, or at the end. */
  head: PartitionEvent | undefined;
  /** Where it stands among partitions: that of the head, or a lower bound of what is unread. */
  token: bigint;
  /** The token, rounded: where two differ in this, they differ so in the token, which is slower to compare. */
  roundToken: number;
  key: Uint8Array;
  /** The range deletion that this input has open in the current partition. */
  open: Deletion | undefined;
  peer: Source | undefined;
}

const NO_KEY = new Uint8Array(0);
/** NO_KEY stays itself. */
const copyOf = (key: Uint8Array) => (key === NO_KEY ? key : new Uint8Array(key));
const LOWEST_TOKEN = -(1n << 63n);
const PARTITION_END: PartitionEvent = { kind: 'end' };

/**
 * Merges the inputs; their rows must have the columns of `schema`, in its order.
 * @throws SSTableCorruptError when an input is out of order or ends inside a partition
 */
export function mergePartitions(inputs: readonly MergeInput[], schema: TableSchema): PartitionCursor {
  return new PartitionMerge(inputs, schema);
}

class PartitionMerge implements PartitionCursor {
  readonly #sources: readonly Source[];
  /** Inputs between partitions. */
  readonly #partitions = new HeadList<Source>(comparePartitions);
  /** Inputs inside the current partition. */
  readonly #rows: HeadList<Source>;
  readonly #mergeRows: MergeRows;
  readonly #compare: (left: Positioned, right: Positioned) => number;
  /** Inputs whose next event is not known yet. */
  readonly #unread: Source[] = [];
  /** Inputs that share the current partition; empty between partitions. */
  readonly #members: Source[] = [];
  /** The versions of the row that is being merged. */
  readonly #versions: Row[] = [];
  /** What was merged last in the current partition. */
  #lastPosition: Positioned | undefined;
  #partitionDeletion: Deletion | undefined;
  /** The range deletion that the merged stream has open. */
  #open: Deletion | undefined;
  #lastPartition: PartitionPosition | undefined;

  constructor(inputs: readonly MergeInput[], schema: TableSchema) {
    this.#sources = inputs.map(({ cursor, onEnd, firstToken = LOWEST_TOKEN }, index) => ({
      index,
      cursor,
      onEnd,
      head: undefined,
      token: firstToken,
      roundToken: Number(firstToken),
      key: NO_KEY,
      open: undefined,
      peer: undefined,
    }));
    for (const source of this.#sources) this.#partitions.insert(source);
    this.#mergeRows = createRowMerge(schema);
    this.#compare = compareClustering(schema.clustering);
    this.#rows = new HeadList<Source>((a, b) => this.#compare(a.head as Positioned, b.head as Positioned));
  }

  next(): PartitionEvent | undefined {
    for (;;) {
      if (this.#unread.length > 0 && !this.#settle()) return undefined;
      const isBetween = this.#members.length === 0;
      if (isBetween && this.#partitions.isEmpty) return undefined;
      const event = isBetween ? this.#startPartition() : this.#continuePartition();
      if (event !== undefined) return event;
    }
  }

  async fill(signal?: AbortSignal): Promise<boolean> {
    if (this.#unread.length === 0) return !this.#partitions.isEmpty || this.#members.length > 0;
    // A key that outlives its window must not hold it: in a wide partition each input would have one more.
    for (const source of this.#unread) source.key = copyOf(source.key);
    if (this.#lastPartition !== undefined) {
      this.#lastPartition = { ...this.#lastPartition, key: copyOf(this.#lastPartition.key) };
    }
    await Promise.all(
      this.#unread.map(async (source) => {
        if (!(await source.cursor.fill(signal))) this.#end(source);
      }),
    );
    return true;
  }

  close(): void {
    for (const source of this.#sources) source.cursor.close();
  }

  /** Reads the head of every input that lacks one. False: some need `fill` first. */
  #settle(): boolean {
    const unread = this.#unread;
    let still = 0;
    for (let i = 0; i < unread.length; i++) {
      const source = unread[i]!;
      source.head = source.cursor.next();
      if (source.head === undefined) unread[still++] = source;
      else this.#place(source, source.head);
    }
    unread.length = still;
    return still === 0;
  }

  #advance(source: Source): void {
    source.head = source.cursor.next();
    if (source.head === undefined) this.#unread.push(source);
    else this.#place(source, source.head);
  }

  #place(source: Source, head: PartitionEvent): void {
    if (head.kind === 'partition') {
      if (source.key !== NO_KEY && comparePlaces(source, head) >= 0) throw this.#disorder(source);
      source.token = head.token;
      source.roundToken = Number(head.token);
      source.key = head.key;
      this.#partitions.insert(source);
    } else if (head.kind !== 'end') this.#rows.insert(source);
    else if (source.open !== undefined) throw this.#disorder(source);
  }

  #disorder(source: Source): SSTableCorruptError {
    return new SSTableCorruptError('an input of the merge is out of order', {
      context: { input: source.index, token: String(source.token) },
    });
  }

  /** The input has no more bytes. Only between partitions may that be. */
  #end(source: Source): void {
    this.#unread.splice(this.#unread.indexOf(source), 1);
    if (this.#members.includes(source)) throw this.#disorder(source);
    source.cursor.close();
    source.onEnd?.();
  }

  /** undefined: inputs whose first token has come must be read first. */
  #startPartition(): PartitionEvent | undefined {
    const first = this.#partitions.take()!;
    if (first.head === undefined || hasUnreadPeer(first)) {
      this.#readUnopened(first);
      return undefined;
    }
    const { key, token } = first;
    if (this.#lastPartition !== undefined && comparePlaces(this.#lastPartition, first) >= 0)
      throw this.#disorder(first);
    let deletion: Deletion | undefined;
    for (let source: Source | undefined = first; source !== undefined; source = source.peer) {
      this.#members.push(source);
      source.open = undefined;
      deletion = strongerDeletion(deletion, (source.head as PartitionStart).deletion);
    }
    this.#partitionDeletion = deletion;
    this.#open = undefined;
    this.#lastPosition = undefined;
    this.#lastPartition = { token, key };
    for (const source of this.#members) this.#advance(source);
    return { kind: 'partition', key, token, deletion };
  }

  #readUnopened(first: Source): void {
    for (let source: Source | undefined = first; source !== undefined; ) {
      const { peer }: Source = source;
      if (source.head === undefined) this.#unread.push(source);
      else this.#partitions.insert(source);
      source = peer;
    }
  }

  /** undefined: nothing is left of what stood there. */
  #continuePartition(): PartitionEvent | undefined {
    const first = this.#rows.take();
    if (first === undefined) {
      // Every member stands at its partition's end, since none is unread and none is in the list.
      const members = this.#members.splice(0);
      for (const source of members) this.#advance(source);
      return PARTITION_END;
    }
    const position = first.head as Positioned;
    // What an input puts before something that is merged already comes out of order.
    if (this.#lastPosition !== undefined && this.#compare(this.#lastPosition, position) >= 0)
      throw this.#disorder(first);
    this.#lastPosition = position;
    const event = position.kind === 'row' ? this.#mergeVersions(first) : this.#mergeMarkers(first, position);
    for (let source: Source | undefined = first; source !== undefined; ) {
      const { peer }: Source = source;
      this.#advance(source);
      source = peer;
    }
    return event;
  }

  #mergeVersions(first: Source): Row | undefined {
    const versions = this.#versions;
    versions.length = 0;
    for (let source: Source | undefined = first; source !== undefined; source = source.peer) {
      versions.push(source.head as Row);
    }
    return this.#mergeRows(versions, this.#open ?? this.#partitionDeletion);
  }

  /** RangeTombstoneMarker.Merger: what is open after this position, against what was open before. */
  #mergeMarkers(first: Source, position: RangeTombstoneMarker): RangeTombstoneMarker | undefined {
    for (let source: Source | undefined = first; source !== undefined; source = source.peer) {
      source.open = (source.head as RangeTombstoneMarker).opens;
    }
    let opens: Deletion | undefined;
    for (const source of this.#members) opens = strongerDeletion(opens, source.open);
    // One that is equal to the partition's stays, as in Cassandra.
    if (opens !== undefined && this.#partitionDeletion !== undefined && supersedes(this.#partitionDeletion, opens)) {
      opens = undefined;
    }
    const closes = this.#open;
    this.#open = opens;
    if (sameDeletion(closes, opens)) return undefined;
    const bound = boundOf(closes, opens, sideOf(position) < 0);
    return { kind: 'marker', bound, clustering: position.clustering, closes, opens };
  }
}

function boundOf(closes: Deletion | undefined, opens: Deletion | undefined, isBefore: boolean): BoundKind {
  if (closes === undefined) return isBefore ? BoundKind.InclusiveStart : BoundKind.ExclusiveStart;
  if (opens === undefined) return isBefore ? BoundKind.ExclusiveEnd : BoundKind.InclusiveEnd;
  return isBefore ? BoundKind.ExclusiveEndInclusiveStartBoundary : BoundKind.InclusiveEndExclusiveStartBoundary;
}

interface PartitionPosition {
  readonly token: bigint;
  readonly key: Uint8Array;
}

function comparePlaces(left: PartitionPosition, right: PartitionPosition): number {
  if (left.token !== right.token) return left.token < right.token ? -1 : 1;
  return compareBytes(left.key, right.key);
}

function comparePartitions(left: Source, right: Source): number {
  return left.roundToken - right.roundToken || comparePlaces(left, right);
}

function hasUnreadPeer(first: Source): boolean {
  for (let source = first.peer; source !== undefined; source = source.peer) if (source.head === undefined) return true;
  return false;
}

function sameDeletion(left: Deletion | undefined, right: Deletion | undefined): boolean {
  if (left === undefined || right === undefined) return left === right;
  return (
    left.timestampMicros === right.timestampMicros && left.localDeletionTimeSeconds === right.localDeletionTimeSeconds
  );
}
