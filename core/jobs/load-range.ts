/** Loads one range of one table: SSTables → merge → filter → writes → target. Running it twice is harmless. */

import { createFilter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RangeRecord } from '../ledger/records.ts';
import { createRowFilter } from '../merge/filter-rows.ts';
import { createGrouping } from '../merge/group-writes.ts';
import { tombstonePolicy, unclearListTimes } from '../merge/load-policies.ts';
import { mergePartitions } from '../merge/merge-partitions.ts';
import { OrdinaryRows } from '../merge/ordinary-row.ts';
import { createToStatements } from '../merge/statements.ts';
import { closingMarker, type PartitionSlice } from '../model/clustering-bound.ts';
import { equalBytes } from '../model/compare-value.ts';
import { Consistency } from '../model/cql-request.ts';
import type { Deletion, PartitionCursor, PartitionStart } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, LoadSession, Logger, ObjectStore } from '../ports.ts';
import { tokenOf } from '../token/token.ts';
import type { TokenRange } from '../token/token-range.ts';
import { loadCounters } from './load-counters.ts';
import { decodeSlice, encodePlace, type LoadPlace, placeBehind } from './load-place.ts';
import { type LoadItem, loadItemSchema, readTableManifest, startOf, type TableManifest } from './load-plan.ts';
import type { SnapshotPlace } from './load-planning.ts';
import { writeBudgetBytes } from './memory-budget.ts';
import { openMergeInputs } from './merge-inputs.ts';
import { PartitionCopy } from './partition-copy.ts';
import { RangeJournal } from './range-journal.ts';
import { TargetWriter } from './target-writer.ts';

/** What loading a range needs of the world. */
export interface LoadRangePorts {
  /** Where the plan lies. */
  readonly objects: ObjectStore;
  readonly openSnapshot: (uri: string) => SnapshotPlace;
  /** Must send a batch once: lists sent again are sent at another time. */
  readonly target: LoadSession;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

export interface LoadRangeRequest {
  /** A LoadItem, perhaps with a checkpoint. */
  readonly item: unknown;
  readonly ports: LoadRangePorts;
  /** After this instant the range stops, at a partition or among the rows of a large one. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
  readonly signal?: AbortSignal;
}

export type LoadRangeResult =
  | { readonly kind: 'done'; readonly index: number; readonly counts: Readonly<Record<string, number>> }
  /** `item` is what to call again, to go on behind the last complete partition, or row of a large one. */
  | {
      readonly kind: 'checkpoint';
      readonly index: number;
      readonly checkpoint: string;
      readonly item: LoadItem;
      readonly counts: Readonly<Record<string, number>>;
    };

/** Rows and markers; so that one costs neither a look at the clock nor a copy of its clustering. */
const STEPS_BETWEEN_PLACES = 32;
const NO_KEY = new Uint8Array(0);
/** Microseconds between the write times of lists of two calls, of two runs; the attempts of one call are fewer. */
const CALL_STEP = 16;
const RUN_STEP = 4096;

/**
 * Loads a range, or as much of it as the deadline allows; the ledger's record of the range says how far it came.
 * @throws SSTableCorruptError, SSTableUnsupportedError, SchemaMismatchError, ServerError and what the ports throw; the
 * ledger's record then holds the error
 */
export async function loadRange(request: LoadRangeRequest): Promise<LoadRangeResult> {
  const item = loadItemSchema.parse(request.item);
  const { ledger } = request.ports;
  const known = await ledger.readRange(item.runId, item.index);
  if (known?.state === 'done') return { kind: 'done', index: item.index, counts: known.counts };
  if (item.counters) return loadCounters(item, request);
  const range = new RangeLoad(item, known, request);
  try {
    return await range.run();
  } catch (error) {
    await range.recordFailure(error);
    throw error;
  }
}

class RangeLoad {
  readonly #item: LoadItem;
  readonly #request: LoadRangeRequest;
  readonly #journal: RangeJournal;
  /** Of an item that is a part of a partition. */
  readonly #slice: PartitionSlice | undefined;
  /** What earlier calls have finished. */
  readonly #start: LoadPlace;
  /** What has been handed over to the writer. */
  #handedOver: LoadPlace;
  #writer: TargetWriter<LoadPlace> | undefined;
  #partition: PartitionCopy<LoadPlace> | undefined;
  #isOvertimeSaid = false;

  constructor(item: LoadItem, known: RangeRecord | undefined, request: LoadRangeRequest) {
    this.#item = item;
    this.#request = request;
    this.#journal = new RangeJournal(item, known, request.ports);
    this.#slice = item.slice && decodeSlice(item.slice);
    this.#start = startOf(item, this.#slice, known?.checkpoint);
    this.#handedOver = this.#start;
  }

  async run(): Promise<LoadRangeResult> {
    const { ports, signal } = this.#request;
    const item = this.#item;
    this.#journal.add('calls', 1);
    // Written before anything is sent: the next call must know that lists may have been written.
    await this.#journal.save('running', this.#start);
    const manifest = await readTableManifest(ports.objects, item.tableKey);
    const slice = this.#toRead();
    const range: TokenRange = { start: slice ? slice.token - 1n : this.#start.token, end: BigInt(item.end) };
    if (range.start >= range.end) return this.#done();
    const { objects } = ports.openSnapshot(manifest.snapshot);
    const { inputs, schema } = await openMergeInputs(manifest, objects, range, { slice, signal });
    this.#journal.set('sstables', inputs.length);
    const cursor = mergePartitions(inputs, schema);
    try {
      const isDone = await this.#copy(cursor, schema, manifest, signal);
      await this.#writer?.finish();
      return isDone ? await this.#done() : await this.#checkpoint();
    } finally {
      cursor.close();
      await this.#writer?.drain();
    }
  }

  /** Resolves to false when the deadline ended it before the range's end. */
  async #copy(
    cursor: PartitionCursor,
    schema: TableSchema,
    manifest: TableManifest,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const { ports } = this.#request;
    const { clock } = ports;
    const since = manifest.dualWritesSinceMicros === null ? undefined : BigInt(manifest.dualWritesSinceMicros);
    const settled = manifest.dualWritesSettledMicros === null ? undefined : BigInt(manifest.dualWritesSettledMicros);
    const exactTimes = ports.target.protocolVersion >= 5;
    const nowSeconds = () => Math.floor(clock.nowMillis() / 1000);
    const group = createGrouping(schema, {
      keepsTombstone: tombstonePolicy(manifest.tombstones, since),
      dualWritesSinceMicros: since,
      isUnclear: unclearListTimes(since, settled),
      exactTimes,
      nowSeconds,
      onLoss: (loss) => this.#journal.lost(loss),
    });
    // Rules name tables as the origin does; the schema may have another name on the target.
    const { keyspace, table } = this.#item;
    const filter =
      manifest.filterRules === null
        ? undefined
        : createRowFilter(createFilter(manifest.filterRules), { ...schema, keyspace, table });
    const toStatements = createToStatements(schema);
    const writer = new TargetWriter<LoadPlace>(ports, {
      table: `${schema.keyspace}.${schema.table}`,
      toStatements,
      consistency: Consistency[manifest.consistency],
      exactTimes,
      bytesPerSecond: manifest.bytesPerSecond,
      maxBytesInFlight: writeBudgetBytes(manifest.memoryBudgetBytes),
      listAttempt: this.#item.listAttemptBase * RUN_STEP + ((this.#journal.counts['calls'] ?? 1) - 1) * CALL_STEP,
    });
    this.#writer = writer;
    const ordinary = new OrdinaryRows(schema, { exactTimes, nowSeconds });
    const copyOptions = { schema, filter, ordinary, group, toStatements, exactTimes };
    const partition = new PartitionCopy({ target: ports.target, clock, writer }, copyOptions);
    this.#partition = partition;
    this.#journal.follow(() => ({
      sums: { ...writer.counts, ...partition.counts },
      values: { inFlightLimit: writer.limit },
    }));
    return this.#copyEvents(cursor, partition, signal);
  }

  async #copyEvents(
    cursor: PartitionCursor,
    partition: PartitionCopy<LoadPlace>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    let key: Uint8Array = NO_KEY;
    /** Everything up to and including it is handed over. */
    let tokenBefore = this.#start.token;
    let open: Deletion | undefined;
    let steps = 0;
    for (;;) {
      const event = cursor.next();
      if (event === undefined) {
        if (this.#journal.isSaveDue) await this.#journal.save('running', this.#completed);
        const isEnd = !(await cursor.fill(signal));
        // Rows that a deletion covers never come out of the merge, however many they are.
        if (!isEnd && !(this.#isLate() && this.#hasProgress())) continue;
        await partition.flush();
        return isEnd;
      }
      if (event.kind === 'partition') {
        signal?.throwIfAborted();
        if (partition.token !== undefined && event.token !== partition.token) tokenBefore = partition.token;
        key = event.key;
        open = undefined;
        const isContinued = this.#isContinued(event);
        if (!isContinued) this.#handedOver = { token: tokenBefore };
        // Never between two partitions of one token: this checkpoint is a token.
        if (event.token !== partition.token && partition.token !== undefined && this.#isLate()) {
          await partition.flush();
          return false;
        }
        partition.start(event, this.#handedOver, isContinued);
        if (this.#journal.isSaveDue) await this.#journal.save('running', this.#completed);
      } else if (event.kind === 'marker') open = event.opens;
      // Nearly always there is nothing to wait for, and a promise per row would cost more than the row.
      const wait = partition.accept(event);
      if (wait !== undefined) await wait;
      if (event.kind === 'partition' || event.kind === 'end' || (event.kind === 'row' && event.isStatic)) continue;
      if (++steps % STEPS_BETWEEN_PLACES !== 0) continue;
      const isLate = this.#isLate();
      // A range deletion that is open here is written when it ends: going on from here would lose its first part.
      if (open !== undefined && !isLate) continue;
      const place = this.#mayStopIn(key) ? placeBehind(event, key, tokenBefore) : undefined;
      if (place?.inside === undefined) {
        if (!isLate || !this.#hasProgress()) continue;
        // What was written of the partition since then is written again.
        await partition.flush();
        return false;
      }
      if (isLate && open !== undefined) await partition.accept(closingMarker(place.inside.bound, open));
      if (isLate) await partition.flush();
      this.#handedOver = place;
      if (isLate) return false;
      partition.moveTo(place);
    }
  }

  /** The slice to open the SSTables with, if any. */
  #toRead(): PartitionSlice | undefined {
    const { inside } = this.#start;
    if (inside === undefined) return this.#slice;
    return { key: inside.key, token: tokenOf(inside.key), from: inside.bound, to: this.#slice?.to };
  }

  /** The end of a slice is a place in its own partition: another one of the token, before it, is read as a whole. */
  #mayStopIn(key: Uint8Array): boolean {
    return this.#slice?.to === undefined || equalBytes(this.#slice.key, key);
  }

  /** Whether a call that ends at the last place came further than those before it. */
  #hasProgress(): boolean {
    if (encodePlace(this.#handedOver) !== encodePlace(this.#start)) return true;
    if (this.#isOvertimeSaid) return false;
    this.#isOvertimeSaid = true;
    const { runId, index } = this.#item;
    this.#journal.add('overtimeCalls', 1);
    const { logger } = this.#request.ports;
    logger.warn('a range goes on past its deadline: its rows are too large for a checkpoint', { runId, index });
    return false;
  }

  /** Whether the deletion and the static row are written: by an earlier call, or by the item of the first slice. */
  #isContinued({ key }: PartitionStart): boolean {
    const { inside } = this.#start;
    return inside !== undefined && equalBytes(inside.key, key);
  }

  #isLate(): boolean {
    const { deadlineMillis, ports } = this.#request;
    return deadlineMillis !== undefined && ports.clock.nowMillis() >= deadlineMillis;
  }

  async #done(): Promise<LoadRangeResult> {
    await this.#journal.save('done', { token: BigInt(this.#item.end) });
    return { kind: 'done', index: this.#item.index, counts: this.#journal.counts };
  }

  async #checkpoint(): Promise<LoadRangeResult> {
    await this.#journal.save('running', this.#handedOver);
    const checkpoint = encodePlace(this.#handedOver);
    const item = { ...this.#item, checkpoint };
    return { kind: 'checkpoint', index: item.index, checkpoint, item, counts: this.#journal.counts };
  }

  /** What is on the target; everything before it, too. */
  get #completed(): LoadPlace {
    return this.#partition?.completed(this.#handedOver) ?? this.#start;
  }

  /** Never throws. */
  recordFailure(error: unknown): Promise<void> {
    return this.#journal.recordFailure(error, this.#completed);
  }
}
