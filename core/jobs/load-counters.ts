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
import { Consistency } from '../model/cql-request.ts';
import { splitPartitionKey } from '../model/partition-key.ts';
import type { PartitionCursor, PartitionStart, Row } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { checkCounterGate } from './counter-gate.ts';
import { type CounterRow, createCounterStatements, totalsOf } from './counter-statements.ts';
import { COUNTER_SETTLE_MS, CounterWriter } from './counter-writer.ts';
import { type LoadItem, readTableManifest, type TableManifest } from './load-plan.ts';
import type { LoadRangeRequest, LoadRangeResult } from './load-range.ts';
import { openMergeInputs } from './merge-inputs.ts';
import { requireUnderWay } from './run-under-way.ts';

/** Rows at once; each is read before it is written, so a counter load is bound by round trips. */
const ROWS_IN_FLIGHT = 64;
/** How often the claim is looked after while rows are waited for. */
const TICK_MS = 5000;
const PROGRESS_INTERVAL_MS = 3000;

/**
 * Loads the counters of a range, or as many as the deadline allows; the ledger's record of the range says how far it came.
 * @throws GateClosedError when increments may be on their way to the target, or another call is at work on the range
 */
export async function loadCounters(
  item: LoadItem,
  known: RangeRecord | undefined,
  request: LoadRangeRequest,
): Promise<LoadRangeResult> {
  const { ports } = request;
  const range = new CounterRange(item, known, request);
  try {
    checkCounterGate(item, await ports.ledger.readPhase());
    const claim = await ports.ledger.claimRange(item, ports);
    try {
      return await range.run(claim);
    } finally {
      await claim.release();
    }
  } catch (error) {
    await range.recordFailure(error);
    throw error;
  }
}

class CounterRange {
  readonly #item: LoadItem;
  readonly #request: LoadRangeRequest;
  /** Whether an earlier call may have left additions on their way. */
  readonly #isContinued: boolean;
  /** Everything up to and including this token is done, by earlier calls. */
  readonly #start: bigint;
  readonly #earlierCounts: Readonly<Record<string, number>>;
  readonly #counts = { partitions: 0, excludedPartitions: 0, rows: 0, excludedRows: 0, deletedCounters: 0 };
  #handedOver: bigint;
  #writer: CounterWriter | undefined;
  /** Rows under way, oldest first, each with the token that is done when all before it are. */
  readonly #underWay = new Map<Promise<void>, bigint>();
  #failure: { readonly error: unknown; readonly before: bigint } | undefined;
  #tick: Promise<void> | undefined;
  #savedAt = 0;

  constructor(item: LoadItem, known: RangeRecord | undefined, request: LoadRangeRequest) {
    this.#item = item;
    this.#request = request;
    this.#isContinued = known !== undefined || item.listAttemptBase > 0;
    const tokens = [item.start, item.checkpoint, known?.checkpoint].filter((text) => typeof text === 'string');
    this.#start = tokens.map(BigInt).reduce((a, b) => (b > a ? b : a));
    this.#handedOver = this.#start;
    this.#earlierCounts = known?.counts ?? {};
  }

  async run(claim: RangeClaim): Promise<LoadRangeResult> {
    const item = this.#item;
    const { ports, signal } = this.#request;
    await this.#save('running', this.#start);
    if (this.#isContinued) await ports.sleep(COUNTER_SETTLE_MS);
    const manifest = await readTableManifest(ports.objects, item.tableKey);
    const { objects } = ports.openSnapshot(manifest.snapshot);
    const range = { start: this.#start, end: BigInt(item.end) };
    const { inputs, schema } = await openMergeInputs(manifest, objects, range, { signal });
    const writer = new CounterWriter(ports, createCounterStatements(schema), Consistency[manifest.consistency]);
    this.#writer = writer;
    const cursor = mergePartitions(inputs, schema);
    try {
      const isDone = await this.#copy(cursor, schema, this.#filterOf(manifest, schema), writer, claim);
      while (this.#underWay.size > 0) await this.#wait(claim);
      if (this.#failure !== undefined) throw this.#failure.error;
      if (isDone) {
        await this.#save('done', range.end);
        return { kind: 'done', index: item.index, counts: this.#allCounts() };
      }
    } finally {
      cursor.close();
      writer.stop();
      await Promise.allSettled(this.#underWay.keys());
    }
    await this.#save('running', this.#handedOver);
    const checkpoint = String(this.#handedOver);
    const next = { ...item, checkpoint };
    return { kind: 'checkpoint', index: item.index, checkpoint, item: next, counts: this.#allCounts() };
  }

  /** Rules name tables as the origin does; the schema may have another name on the target. */
  #filterOf({ filterRules }: TableManifest, schema: TableSchema): RowFilter | undefined {
    const { keyspace, table } = this.#item;
    return filterRules === null
      ? undefined
      : createRowFilter(createFilter(filterRules), { ...schema, keyspace, table });
  }

  /** Resolves to false when the deadline ended it before the range's end. */
  async #copy(
    cursor: PartitionCursor,
    schema: TableSchema,
    filter: RowFilter | undefined,
    writer: CounterWriter,
    claim: RangeClaim,
  ): Promise<boolean> {
    const { deadlineMillis, ports, signal } = this.#request;
    let partition: PartitionStart | undefined;
    let key: readonly Uint8Array[] = [];
    let isExcluded = false;
    for (;;) {
      const event = cursor.next();
      if (event === undefined) {
        if (await cursor.fill(signal)) continue;
        return true;
      }
      if (event.kind === 'partition') {
        signal?.throwIfAborted();
        // A checkpoint is a token, so it is never between two partitions of one.
        const isOther = partition !== undefined && event.token !== partition.token;
        if (isOther) this.#handedOver = partition!.token;
        if (isOther && deadlineMillis !== undefined && ports.clock.nowMillis() >= deadlineMillis) return false;
        partition = event;
        key = splitPartitionKey(event.key, schema.partitionKey.length);
        isExcluded = filter?.startPartition(key) === false;
        this.#counts[isExcluded ? 'excludedPartitions' : 'partitions']++;
      } else if (event.kind === 'row' && !isExcluded) {
        if (filter?.acceptRow(event) === false) this.#counts.excludedRows++;
        else await this.#accept(event, partition!.key, key, writer, claim);
      }
    }
  }

  async #accept(
    row: Row,
    routingKey: Uint8Array,
    key: readonly Uint8Array[],
    writer: CounterWriter,
    claim: RangeClaim,
  ): Promise<void> {
    const wanted = totalsOf(row);
    this.#counts.rows++;
    this.#counts.deletedCounters += row.cells.length - wanted.size;
    if (wanted.size === 0) return;
    while (this.#underWay.size >= ROWS_IN_FLIGHT) await this.#wait(claim);
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#request.ports.clock.nowMillis() - this.#savedAt >= PROGRESS_INTERVAL_MS) {
      await claim.renew();
      await this.#save('running', this.#completed());
    }
    const before = this.#handedOver;
    const place: CounterRow = { isStatic: row.isStatic, place: [...key, ...row.clustering.values()] };
    const work: Promise<void> = writer
      .settle(place, wanted, routingKey)
      .catch((error: unknown) => {
        if (this.#failure === undefined || before < this.#failure.before) this.#failure = { error, before };
      })
      .finally(() => this.#underWay.delete(work));
    this.#underWay.set(work, before);
  }

  /** Waits for a row, or for a while; the claim must not run out however long that takes. */
  async #wait(claim: RangeClaim): Promise<void> {
    this.#tick ??= this.#request.ports.sleep(TICK_MS).finally(() => {
      this.#tick = undefined;
    });
    await Promise.race([this.#tick, ...this.#underWay.keys()]);
    await claim.renew();
  }

  /** The token up to which everything is on the target. */
  #completed(): bigint {
    let least = this.#handedOver;
    for (const before of this.#underWay.values()) if (before < least) least = before;
    return this.#failure !== undefined && this.#failure.before < least ? this.#failure.before : least;
  }

  /** Never throws: the error that ended the range is the one to report. */
  async recordFailure(error: unknown): Promise<void> {
    const { logger } = this.#request.ports;
    const { runId, index, keyspace, table } = this.#item;
    logger.error('counters could not be loaded', { runId, index, keyspace, table, error: describeError(error) });
    const name = error instanceof Error ? error.name : 'Error';
    try {
      await this.#save('failed', this.#completed(), { name, message: describeError(error).slice(0, 2000) });
    } catch (cause) {
      logger.error('and the ledger did not take it', { runId, index, error: describeError(cause) });
    }
  }

  #allCounts(): Record<string, number> {
    const counts: Record<string, number> = { ...this.#earlierCounts };
    for (const [name, value] of Object.entries({ ...this.#counts, ...this.#writer?.counts })) {
      const sum = (this.#earlierCounts[name] ?? 0) + value;
      if (sum > 0) counts[name] = sum;
    }
    return counts;
  }

  async #save(state: RangeRecord['state'], token: bigint, error: RangeRecord['error'] = null): Promise<void> {
    const { clock, ledger } = this.#request.ports;
    const { runId, index, keyspace, table, bytes } = this.#item;
    if (state === 'running') await requireUnderWay(runId, ledger);
    this.#savedAt = clock.nowMillis();
    await ledger.putRange({
      version: 1,
      runId,
      index,
      keyspace,
      table,
      state,
      checkpoint: String(token),
      counts: { ...this.#allCounts(), bytes },
      error,
      updatedAt: new Date(this.#savedAt).toISOString(),
    });
  }
}
