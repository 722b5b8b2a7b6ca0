/** Loads one range of one table: SSTables → merge → filter → writes → target. Running it twice is harmless. */

import { describeError } from '../errors.ts';
import { createFilter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RangeRecord } from '../ledger/records.ts';
import { createRowFilter } from '../merge/filter-rows.ts';
import { createGrouping, type GroupingLoss, tombstonePolicy, unclearListTimes } from '../merge/group-writes.ts';
import { mergePartitions } from '../merge/merge-partitions.ts';
import { OrdinaryRows } from '../merge/ordinary-row.ts';
import { createToStatements } from '../merge/statements.ts';
import { closingMarker } from '../model/clustering-bound.ts';
import { equalBytes } from '../model/compare-value.ts';
import { Consistency } from '../model/cql-request.ts';
import type { Deletion, PartitionCursor, PartitionStart } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, LoadSession, Logger, ObjectStore } from '../ports.ts';
import { tokenOf } from '../token/token.ts';
import type { TokenRange } from '../token/token-range.ts';
import { loadCounters } from './load-counters.ts';
import { decodePlace, encodePlace, furthestPlace, type LoadPlace, placeBehind } from './load-place.ts';
import { type LoadItem, loadItemSchema, readTableManifest, type TableManifest } from './load-plan.ts';
import type { SnapshotPlace } from './load-planning.ts';
import { openMergeInputs } from './merge-inputs.ts';
import { PartitionCopy } from './partition-copy.ts';
import { TargetWriter } from './target-writer.ts';

/** What loading a range needs of the world. */
export interface LoadRangePorts {
  /** Where the plan lies. */
  readonly objects: ObjectStore;
  readonly openSnapshot: (uri: string) => SnapshotPlace;
  /** Its own retries should be off: lists must not be sent twice at one time. */
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

const PROGRESS_INTERVAL_MS = 3000;
/** So that a row costs neither a look at the clock nor a copy of its clustering. */
const ROWS_BETWEEN_PLACES = 32;
const NO_KEY = new Uint8Array(0);
/** Microseconds between the write times of lists of two calls, of two runs; the attempts of one call are fewer. */
const CALL_STEP = 16;
const RUN_STEP = 4096;

/** Why a table has to be compared after a load that met this; the other losses need no repair. */
const SUSPICIONS: Readonly<Partial<Record<GroupingLoss, string>>> = {
  unclearListCell:
    'list elements of the moment when only some proxies wrote to both clusters: they may stand twice or not at all',
  listExpiry: 'a list whose elements expire at too many different times was loaded with the longest life of them',
};

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
  if (item.counters) return loadCounters(item, known, request);
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
  readonly #counts: Record<string, number>;
  /** What earlier calls have finished. */
  readonly #start: LoadPlace;
  /** What has been handed over to the writer. */
  #handedOver: LoadPlace;
  #writer: TargetWriter<LoadPlace> | undefined;
  #partition: PartitionCopy<LoadPlace> | undefined;
  #writerBase: Readonly<Record<string, number>> = {};
  #savedAt = 0;
  /** Losses to tell the ledger of before it is told of any progress, and those it knows. */
  readonly #toMark = new Map<GroupingLoss, string>();
  readonly #marked = new Set<GroupingLoss>();

  constructor(item: LoadItem, known: RangeRecord | undefined, request: LoadRangeRequest) {
    this.#item = item;
    this.#request = request;
    this.#counts = { ...known?.counts };
    const places = [item.start, item.checkpoint, known?.checkpoint].filter((text) => typeof text === 'string');
    this.#start = furthestPlace(places.map(decodePlace));
    this.#handedOver = this.#start;
  }

  async run(): Promise<LoadRangeResult> {
    const { ports, signal } = this.#request;
    const item = this.#item;
    this.#add('calls', 1);
    // Written before anything is sent: the next call must know that lists may have been written.
    await this.#save('running', this.#start);
    const manifest = await readTableManifest(ports.objects, item.tableKey);
    const { token, inside } = this.#start;
    const slice = inside && { key: inside.key, token: tokenOf(inside.key), from: inside.bound };
    const range: TokenRange = { start: slice ? slice.token - 1n : token, end: BigInt(item.end) };
    if (range.start >= range.end) return this.#done();
    const { objects } = ports.openSnapshot(manifest.snapshot);
    const { inputs, schema } = await openMergeInputs(manifest, objects, range, { slice, signal });
    this.#counts['sstables'] = inputs.length;
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
      onLoss: (loss) => {
        this.#add(loss, 1);
        const reason = SUSPICIONS[loss];
        if (reason !== undefined && !this.#marked.has(loss)) this.#toMark.set(loss, reason);
      },
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
      listAttempt: this.#item.listAttemptBase * RUN_STEP + ((this.#counts['calls'] ?? 1) - 1) * CALL_STEP,
    });
    this.#writer = writer;
    this.#writerBase = { ...this.#counts };
    const ordinary = new OrdinaryRows(schema, { exactTimes, nowSeconds });
    const copyOptions = { schema, filter, ordinary, group, toStatements, exactTimes };
    const partition = new PartitionCopy({ target: ports.target, clock, writer }, copyOptions);
    this.#partition = partition;
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
    let rows = 0;
    for (;;) {
      const event = cursor.next();
      if (event === undefined) {
        if (this.#isSaveDue()) await this.#saveProgress();
        if (await cursor.fill(signal)) continue;
        await partition.flush();
        return true;
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
        if (this.#isSaveDue()) await this.#saveProgress();
      } else if (event.kind === 'marker') open = event.opens;
      // Nearly always there is nothing to wait for, and a promise per row would cost more than the row.
      const wait = partition.accept(event);
      if (wait !== undefined) await wait;
      if (event.kind !== 'row' || event.isStatic || ++rows % ROWS_BETWEEN_PLACES !== 0) continue;
      const isLate = this.#isLate();
      // A range deletion that is open here is written when it ends: going on from here would lose its first part.
      if (open !== undefined && !isLate) continue;
      const place = placeBehind(event, key, tokenBefore);
      if (place?.inside === undefined) continue;
      if (isLate && open !== undefined) await partition.accept(closingMarker(place.inside.bound, open));
      if (isLate) await partition.flush();
      this.#handedOver = place;
      if (isLate) return false;
      partition.moveTo(place);
    }
  }

  /** Whether an earlier call has come into this partition and wrote its deletion and its static row. */
  #isContinued({ key }: PartitionStart): boolean {
    const { inside } = this.#start;
    return inside !== undefined && equalBytes(inside.key, key);
  }

  #isLate(): boolean {
    const { deadlineMillis, ports } = this.#request;
    return deadlineMillis !== undefined && ports.clock.nowMillis() >= deadlineMillis;
  }

  async #done(): Promise<LoadRangeResult> {
    await this.#save('done', { token: BigInt(this.#item.end) });
    return { kind: 'done', index: this.#item.index, counts: this.#counts };
  }

  async #checkpoint(): Promise<LoadRangeResult> {
    await this.#save('running', this.#handedOver);
    const checkpoint = encodePlace(this.#handedOver);
    const item = { ...this.#item, checkpoint };
    return { kind: 'checkpoint', index: item.index, checkpoint, item, counts: this.#counts };
  }

  /** What is on the target; everything before it, too. */
  get #completed(): LoadPlace {
    return this.#partition?.completed(this.#handedOver) ?? this.#start;
  }

  #isSaveDue(): boolean {
    return this.#request.ports.clock.nowMillis() - this.#savedAt >= PROGRESS_INTERVAL_MS;
  }

  async #saveProgress(): Promise<void> {
    await this.#save('running', this.#completed);
  }

  /** Never throws: the error that ended the range is the one to report. */
  async recordFailure(error: unknown): Promise<void> {
    const { logger } = this.#request.ports;
    const { runId, index, keyspace, table } = this.#item;
    logger.error('a range could not be loaded', { runId, index, keyspace, table, error: describeError(error) });
    const name = error instanceof Error ? error.name : 'Error';
    try {
      await this.#save('failed', this.#completed, { name, message: describeError(error).slice(0, 2000) });
    } catch (cause) {
      logger.error('and the ledger did not take it', { runId, index, error: describeError(cause) });
    }
  }

  async #save(state: RangeRecord['state'], place: LoadPlace, error: RangeRecord['error'] = null): Promise<void> {
    const { clock, ledger } = this.#request.ports;
    if (this.#writer !== undefined) {
      for (const [name, value] of Object.entries({ ...this.#writer.counts, ...this.#partition?.counts })) {
        const sum = (this.#writerBase[name] ?? 0) + value;
        if (sum > 0) this.#counts[name] = sum;
      }
      this.#counts['inFlightLimit'] = this.#writer.limit;
    }
    await this.#mark();
    this.#savedAt = clock.nowMillis();
    const { runId, index, keyspace, table } = this.#item;
    await ledger.putRange({
      version: 1,
      runId,
      index,
      keyspace,
      table,
      state,
      checkpoint: encodePlace(place),
      counts: { ...this.#counts, bytes: this.#item.bytes },
      error,
      updatedAt: new Date(this.#savedAt).toISOString(),
    });
  }

  /** A checkpoint goes past what it was about, so the mark comes first. */
  async #mark(): Promise<void> {
    const { clock, ledger } = this.#request.ports;
    const { runId, index, keyspace, table, start, end } = this.#item;
    for (const [loss, reason] of this.#toMark) {
      const now = new Date(clock.nowMillis());
      const by = `load-range ${runId}`;
      const mark = { version: 1 as const, keyspace, table, range: { start, end }, reason, by, at: now.toISOString() };
      await ledger.addSuspect(`${runId}-${index}-${loss}`, mark);
      await ledger.setTable(keyspace, table, 'suspect', { now, by, reason });
      this.#marked.add(loss);
      this.#toMark.delete(loss);
    }
  }

  #add(name: string, by: number): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + by;
  }
}
