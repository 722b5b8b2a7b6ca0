/** Loads one range of one table: SSTables → merge → filter → writes → target. Running it twice is harmless. */

import { describeError, SchemaMismatchError } from '../errors.ts';
import { createFilter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RangeRecord } from '../ledger/records.ts';
import { createRowFilter } from '../merge/filter-rows.ts';
import { createGrouping, type GroupingLoss, tombstonePolicy, unclearListTimes } from '../merge/group-writes.ts';
import { type MergeInput, mergePartitions } from '../merge/merge-partitions.ts';
import { createToStatements } from '../merge/statements.ts';
import { Consistency } from '../model/cql-request.ts';
import type { PartitionCursor } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, CqlSession, Logger, ObjectStore } from '../ports.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '../sstable/sstable.ts';
import type { TokenRange } from '../token/token-range.ts';
import { type LoadItem, loadItemSchema, readTableManifest, type TableManifest } from './load-plan.ts';
import type { SnapshotPlace } from './load-planning.ts';
import { PartitionCopy } from './partition-copy.ts';
import { snapshotFiles } from './snapshot-layout.ts';
import { TargetWriter } from './target-writer.ts';

/** What loading a range needs of the world. */
export interface LoadRangePorts {
  /** Where the plan lies. */
  readonly objects: ObjectStore;
  readonly openSnapshot: (uri: string) => SnapshotPlace;
  /** Its own retries should be off: lists must not be sent twice at one time. */
  readonly target: CqlSession;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

export interface LoadRangeRequest {
  /** A LoadItem, perhaps with a checkpoint. */
  readonly item: unknown;
  readonly ports: LoadRangePorts;
  /** After this instant the range stops at the next partition. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
  readonly signal?: AbortSignal;
}

export type LoadRangeResult =
  | { readonly kind: 'done'; readonly index: number; readonly counts: Readonly<Record<string, number>> }
  /** `item` is what to call again, to go on after the last complete partition. */
  | {
      readonly kind: 'checkpoint';
      readonly index: number;
      readonly checkpoint: string;
      readonly item: LoadItem;
      readonly counts: Readonly<Record<string, number>>;
    };

const PROGRESS_INTERVAL_MS = 3000;
const MIN_WINDOW_BYTES = 256 * 1024;
const MAX_WINDOW_BYTES = 8 * 1024 * 1024;
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
  /** The token up to which everything is finished, by earlier calls. */
  readonly #start: bigint;
  #handedOver: bigint | undefined;
  #writer: TargetWriter | undefined;
  #writerBase: Readonly<Record<string, number>> = {};
  #savedAt = 0;
  /** Losses to tell the ledger of before it is told of any progress, and those it knows. */
  readonly #toMark = new Map<GroupingLoss, string>();
  readonly #marked = new Set<GroupingLoss>();

  constructor(item: LoadItem, known: RangeRecord | undefined, request: LoadRangeRequest) {
    this.#item = item;
    this.#request = request;
    this.#counts = { ...known?.counts };
    const checkpoints = [item.start, item.checkpoint, known?.checkpoint].filter((text) => text !== undefined);
    this.#start = checkpoints
      .filter((text) => text !== null)
      .map(BigInt)
      .reduce((a, b) => (b > a ? b : a));
  }

  async run(): Promise<LoadRangeResult> {
    const { ports, signal } = this.#request;
    const item = this.#item;
    this.#add('calls', 1);
    // Written before anything is sent: the next call must know that lists may have been written.
    await this.#save('running', null);
    const manifest = await readTableManifest(ports.objects, item.tableKey);
    const range: TokenRange = { start: this.#start, end: BigInt(item.end) };
    if (range.start >= range.end) return this.#done();
    const { inputs, schema } = await this.#openInputs(manifest, range);
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

  /** Opens what the range touches. The order of rows is the origin's, which the files know. */
  async #openInputs(
    manifest: TableManifest,
    range: TokenRange,
  ): Promise<{ inputs: MergeInput[]; schema: TableSchema }> {
    const { objects } = this.#request.ports.openSnapshot(manifest.snapshot);
    const touching = manifest.sstables.filter(
      ({ bounds }) => bounds === undefined || (BigInt(bounds.last) > range.start && BigInt(bounds.first) <= range.end),
    );
    const sstables: SSTable[] = [];
    for (const entry of touching) {
      sstables.push(await openSSTable(snapshotFiles(objects, entry), { signal: this.#request.signal }));
    }
    const schema = sstables.reduce(withOriginOrder, manifest.schema);
    const windowBytes = Math.round(
      Math.max(
        MIN_WINDOW_BYTES,
        Math.min(MAX_WINDOW_BYTES, manifest.memoryBudgetBytes / (2 * Math.max(1, sstables.length))),
      ),
    );
    const columns = { static: schema.staticColumns, regular: schema.regularColumns };
    const inputs = sstables.map((sstable, index): MergeInput => {
      const first = touching[index]!.bounds?.first;
      return {
        cursor: openPartitionCursor(sstable, { range, columns, windowBytes }),
        firstToken: first === undefined ? undefined : BigInt(first),
      };
    });
    this.#counts['sstables'] = sstables.length;
    return { inputs, schema };
  }

  /** Resolves to false when the deadline ended it before the range's end. */
  async #copy(
    cursor: PartitionCursor,
    schema: TableSchema,
    manifest: TableManifest,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const { ports, deadlineMillis } = this.#request;
    const { clock } = ports;
    const since = manifest.dualWritesSinceMicros === null ? undefined : BigInt(manifest.dualWritesSinceMicros);
    const settled = manifest.dualWritesSettledMicros === null ? undefined : BigInt(manifest.dualWritesSettledMicros);
    const exactTimes = ports.target.protocolVersion >= 5;
    const group = createGrouping(schema, {
      keepsTombstone: tombstonePolicy(manifest.tombstones, since),
      dualWritesSinceMicros: since,
      isUnclear: unclearListTimes(since, settled),
      exactTimes,
      nowSeconds: () => Math.floor(clock.nowMillis() / 1000),
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
    const writer = new TargetWriter(ports, {
      toStatements: createToStatements(schema),
      consistency: Consistency[manifest.consistency],
      exactTimes,
      bytesPerSecond: manifest.bytesPerSecond,
      listAttempt: this.#item.listAttemptBase * RUN_STEP + ((this.#counts['calls'] ?? 1) - 1) * CALL_STEP,
    });
    this.#writer = writer;
    this.#writerBase = { ...this.#counts };
    const partition = new PartitionCopy(schema, filter, writer, (name, by) => this.#add(name, by));
    for (;;) {
      const event = cursor.next();
      if (event === undefined) {
        await this.#saveSometimes();
        if (!(await cursor.fill(signal))) return true;
        continue;
      }
      if (event.kind === 'partition') {
        signal?.throwIfAborted();
        if (event.token !== partition.token) this.#handedOver = partition.token;
        const isLate = deadlineMillis !== undefined && clock.nowMillis() >= deadlineMillis;
        // Never between two partitions of one token: the checkpoint is a token.
        if (isLate && this.#handedOver !== undefined && event.token !== partition.token) return false;
        partition.start(event.key, event.token, this.#handedOver);
        await this.#saveSometimes();
      }
      await partition.accept(event, group);
    }
  }

  async #done(): Promise<LoadRangeResult> {
    await this.#save('done', BigInt(this.#item.end));
    return { kind: 'done', index: this.#item.index, counts: this.#counts };
  }

  async #checkpoint(): Promise<LoadRangeResult> {
    const token = this.#handedOver ?? this.#start;
    await this.#save('running', token);
    const checkpoint = String(token);
    const item = { ...this.#item, checkpoint };
    return { kind: 'checkpoint', index: item.index, checkpoint, item, counts: this.#counts };
  }

  async #saveSometimes(): Promise<void> {
    if (this.#request.ports.clock.nowMillis() - this.#savedAt < PROGRESS_INTERVAL_MS) return;
    await this.#save('running', this.#writer?.completedToken(this.#handedOver) ?? null);
  }

  /** Never throws: the error that ended the range is the one to report. */
  async recordFailure(error: unknown): Promise<void> {
    const { logger } = this.#request.ports;
    const { runId, index, keyspace, table } = this.#item;
    logger.error('a range could not be loaded', { runId, index, keyspace, table, error: describeError(error) });
    const name = error instanceof Error ? error.name : 'Error';
    try {
      const token = this.#writer?.completedToken(this.#handedOver) ?? null;
      await this.#save('failed', token, { name, message: describeError(error).slice(0, 2000) });
    } catch (cause) {
      logger.error('and the ledger did not take it', { runId, index, error: describeError(cause) });
    }
  }

  async #save(state: RangeRecord['state'], token: bigint | null, error: RangeRecord['error'] = null): Promise<void> {
    const { clock, ledger } = this.#request.ports;
    if (this.#writer !== undefined) {
      for (const [name, value] of Object.entries(this.#writer.counts)) {
        this.#counts[name] = (this.#writerBase[name] ?? 0) + value;
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
      checkpoint: String(token ?? this.#start),
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

/** The schema with the clustering order of the files. */
function withOriginOrder(schema: TableSchema, sstable: SSTable): TableSchema {
  const { clusteringTypes, clusteringReversed, keyTypes } = sstable.header;
  if (clusteringTypes.length !== schema.clustering.length || keyTypes.length !== schema.partitionKey.length) {
    throw new SchemaMismatchError(
      `${sstable.name} has another primary key than ${schema.keyspace}.${schema.table} of the target; compare with ringshift schema diff`,
      { context: { file: sstable.name } },
    );
  }
  if (clusteringReversed.every((reversed, index) => reversed === schema.clustering[index]!.reversed)) return schema;
  return {
    ...schema,
    clustering: schema.clustering.map((column, index) => ({ ...column, reversed: clusteringReversed[index]! })),
  };
}
