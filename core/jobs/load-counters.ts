/**
 * Loads one range of a counter table: what the target lacks of each merged counter is added to it. The additions are
 * computed from what the target holds, so a range may be loaded again, also one that was interrupted; but nobody else may
 * write the table meanwhile, and one range has one writer.
 */

import { describeError } from '../errors.ts';
import { createFilter } from '../filter/filter.ts';
import type { RangeClaim } from '../ledger/range-claim.ts';
import type { RangeRecord } from '../ledger/records.ts';
import { createRowFilter, type RowFilter } from '../merge/filter-rows.ts';
import { mergePartitions } from '../merge/merge-partitions.ts';
import type { PartitionSlice } from '../model/clustering-bound.ts';
import { equalBytes } from '../model/compare-value.ts';
import { Consistency } from '../model/cql-request.ts';
import { splitPartitionKey } from '../model/partition-key.ts';
import type { PartitionCursor, PartitionStart, Row } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { tokenOf } from '../token/token.ts';
import { checkCounterGate } from './counter-gate.ts';
import { type CounterRow, createCounterStatements, totalsOf } from './counter-statements.ts';
import { COUNTER_SETTLE_MS, CounterWriter } from './counter-writer.ts';
import { encodePlace, type LoadPlace, placeBehind } from './load-place.ts';
import { type LoadItem, readTableManifest, startOf, type TableManifest } from './load-plan.ts';
import type { LoadRangeRequest, LoadRangeResult } from './load-range.ts';
import { openMergeInputs } from './merge-inputs.ts';
import { RangeJournal } from './range-journal.ts';

/** Rows at once; each is read before it is written, so a counter load is bound by round trips. */
const ROWS_IN_FLIGHT = 64;
/** How often the claim is looked after while something is waited for. */
const TICK_MS = 5000;
const NOT_TAKEN =
  'counters that were deleted on the target take no addition: Cassandra keeps such a deletion for good. Truncate the table on the target, or load into a new one, and load the counters again';

/**
 * Loads the counters of a range, or as many as the deadline allows; the ledger's record of the range says how far it came.
 * @throws GateClosedError when increments may be on their way to the target, or another call is at work on the range
 */
export async function loadCounters(item: LoadItem, request: LoadRangeRequest): Promise<LoadRangeResult> {
  const { ledger } = request.ports;
  // Before it is ours the range's record is not, either: whoever has the range writes it.
  const claim = await ledger.claimRange(item, request.ports);
  try {
    const known = await ledger.readRange(item.runId, item.index);
    if (known?.state === 'done') return { kind: 'done', index: item.index, counts: known.counts };
    const range = new CounterRange(item, known, claim, request);
    try {
      checkCounterGate(item, await ledger.readPhase());
      return await range.run();
    } catch (error) {
      await range.recordFailure(error);
      throw error;
    }
  } finally {
    await claim.release();
  }
}

/** A row that is being written. */
interface RowUnderWay {
  /** Counts up with the rows. */
  readonly order: number;
  /** What is done when all rows before it are. */
  readonly before: LoadPlace;
}

class CounterRange {
  readonly #item: LoadItem;
  readonly #claim: RangeClaim;
  readonly #request: LoadRangeRequest;
  readonly #journal: RangeJournal;
  /** Whether an earlier call may have left additions on their way. */
  readonly #isContinued: boolean;
  /** What earlier calls have finished. */
  readonly #start: LoadPlace;
  readonly #counts = { partitions: 0, excludedPartitions: 0, rows: 0, excludedRows: 0, deletedCounters: 0 };
  #handedOver: LoadPlace;
  #writer: CounterWriter | undefined;
  /** Oldest first. */
  readonly #underWay = new Map<Promise<void>, RowUnderWay>();
  #failure: (RowUnderWay & { readonly error: unknown }) | undefined;
  #tick: Promise<void> | undefined;

  constructor(item: LoadItem, known: RangeRecord | undefined, claim: RangeClaim, request: LoadRangeRequest) {
    this.#item = item;
    this.#claim = claim;
    this.#request = request;
    this.#journal = new RangeJournal(item, known, request.ports);
    this.#isContinued = known !== undefined || item.listAttemptBase > 0 || claim.isTakenOver;
    this.#start = startOf(item, undefined, known?.checkpoint);
    this.#handedOver = this.#start;
  }

  async run(): Promise<LoadRangeResult> {
    const item = this.#item;
    const { ports, signal } = this.#request;
    await this.#journal.save('running', this.#start);
    if (this.#isContinued) await ports.sleep(COUNTER_SETTLE_MS);
    const manifest = await readTableManifest(ports.objects, item.tableKey);
    const { objects } = ports.openSnapshot(manifest.snapshot);
    const slice = this.#toRead();
    const range = { start: slice ? slice.token - 1n : this.#start.token, end: BigInt(item.end) };
    if (range.start >= range.end) return this.#done();
    const { inputs, schema } = await this.#holding(openMergeInputs(manifest, objects, range, { slice, signal }));
    const cursor = mergePartitions(inputs, schema);
    const consistency = Consistency[manifest.consistency];
    const writer = new CounterWriter(ports, createCounterStatements(schema), consistency, this.#claim);
    this.#writer = writer;
    this.#journal.follow(() => ({ sums: { ...this.#counts, ...writer.counts }, values: {} }));
    try {
      const isDone = await this.#copy(cursor, schema, this.#filterOf(manifest, schema));
      while (this.#underWay.size > 0) await this.#holding(Promise.race(this.#underWay.keys()));
      if (this.#failure !== undefined) throw this.#failure.error;
      return isDone ? await this.#done() : await this.#checkpoint();
    } finally {
      cursor.close();
      writer.stop();
      await Promise.allSettled(this.#underWay.keys());
    }
  }

  /** Behind the row that an earlier call came to, in the middle of its partition. */
  #toRead(): PartitionSlice | undefined {
    const { inside } = this.#start;
    return inside && { key: inside.key, token: tokenOf(inside.key), from: inside.bound };
  }

  /** Rules name tables as the origin does; the schema may have another name on the target. */
  #filterOf({ filterRules }: TableManifest, schema: TableSchema): RowFilter | undefined {
    const { keyspace, table } = this.#item;
    return filterRules === null
      ? undefined
      : createRowFilter(createFilter(filterRules), { ...schema, keyspace, table });
  }

  /** Resolves to false when the deadline ended it before the range's end. */
  async #copy(cursor: PartitionCursor, schema: TableSchema, filter: RowFilter | undefined): Promise<boolean> {
    const { signal } = this.#request;
    const continued = this.#start.inside?.key;
    let partition: PartitionStart | undefined;
    let tokenBefore = this.#start.token;
    let key: readonly Uint8Array[] = [];
    let isExcluded = false;
    for (;;) {
      const event = cursor.next();
      if (event === undefined) {
        if (await this.#holding(cursor.fill(signal))) continue;
        return true;
      }
      if (event.kind === 'partition') {
        signal?.throwIfAborted();
        // The place between two partitions is a token, so there is none between two that share one.
        const isOther = partition !== undefined && event.token !== partition.token;
        if (isOther) tokenBefore = partition!.token;
        const isContinued = continued !== undefined && equalBytes(continued, event.key);
        if (!isContinued) this.#handedOver = { token: tokenBefore };
        if (isOther && this.#isLate()) return false;
        partition = event;
        key = splitPartitionKey(event.key, schema.partitionKey.length);
        isExcluded = filter?.startPartition(key) === false;
        if (!isContinued) this.#counts[isExcluded ? 'excludedPartitions' : 'partitions']++;
      } else if (event.kind === 'row' && !isExcluded) {
        if (filter?.acceptRow(event) === false) this.#counts.excludedRows++;
        else await this.#accept(event, partition!.key, key);
        const place = event.isStatic ? undefined : placeBehind(event, partition!.key, tokenBefore);
        if (place === undefined) continue;
        this.#handedOver = place;
        if (this.#isLate()) return false;
      }
    }
  }

  async #accept(row: Row, routingKey: Uint8Array, key: readonly Uint8Array[]): Promise<void> {
    const wanted = totalsOf(row);
    this.#counts.rows++;
    this.#counts.deletedCounters += row.cells.length - wanted.size;
    if (wanted.size === 0) return;
    while (this.#underWay.size >= ROWS_IN_FLIGHT) await this.#holding(Promise.race(this.#underWay.keys()));
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#journal.isSaveDue) {
      await this.#claim.renew();
      await this.#journal.save('running', this.#completed());
    }
    const underWay = { order: this.#counts.rows, before: this.#handedOver };
    const place: CounterRow = { isStatic: row.isStatic, place: [...key, ...row.clustering.values()] };
    const work: Promise<void> = this.#writer!.settle(place, wanted, routingKey)
      .then((isTaken) => {
        if (!isTaken) this.#journal.suspect('rowsNotTaken', 'counter', NOT_TAKEN);
      })
      .catch((error: unknown) => {
        if (this.#failure === undefined || underWay.order < this.#failure.order) this.#failure = { ...underWay, error };
      })
      .finally(() => this.#underWay.delete(work));
    this.#underWay.set(work, underWay);
  }

  /** Waits, and keeps the claim however long that takes. */
  async #holding<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const over = work.then(
      () => {
        isOver = true;
      },
      () => {
        isOver = true;
      },
    );
    for (;;) {
      this.#tick ??= this.#request.ports.sleep(TICK_MS).finally(() => {
        this.#tick = undefined;
      });
      await Promise.race([this.#tick, over]);
      await this.#claim.renew();
      if (isOver) return work;
    }
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
  #completed(): LoadPlace {
    const [oldest] = this.#underWay.values();
    const failed = this.#failure;
    if (failed === undefined) return oldest?.before ?? this.#handedOver;
    return oldest !== undefined && oldest.order < failed.order ? oldest.before : failed.before;
  }

  /** Never throws: the error that ended the range is the one to report. */
  async recordFailure(error: unknown): Promise<void> {
    const { logger } = this.#request.ports;
    const { runId, index } = this.#item;
    try {
      await this.#claim.renew();
    } catch (cause) {
      const texts = { error: describeError(error), cause: describeError(cause) };
      logger.error('a range of counters is lost to another call, whose record stays', { runId, index, ...texts });
      return;
    }
    await this.#journal.recordFailure(error, this.#completed());
  }
}
