import pLimit from 'p-limit';
import { comparePartition, type PartitionComparison } from '../checksum/compare-partition.ts';
import { type ComparedTable, compareTable } from '../checksum/compared-table.ts';
import { type DifferenceLine, toDifferenceLine } from '../checksum/difference-line.ts';
import { type DifferingPartition, emptyJoinTotals, type JoinTotals, joinDigests } from '../checksum/digest-join.ts';
import { excludedRows } from '../checksum/excluded-rows.ts';
import { readPartition, readRange, type TableReader } from '../checksum/read-table.ts';
import { createHash64, createRowDigester, type Hash64, type RowDigest } from '../checksum/row-digest.ts';
import { sampleRanges, seedOf } from '../checksum/sample-ranges.ts';
import { settleDifference } from '../checksum/settled-difference.ts';
import { describeError, MigrationError } from '../errors.ts';
import type { Filter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Consistency, ResultPage } from '../model/cql-request.ts';
import type { Clock, CqlSession, Logger, ObjectStore } from '../ports.ts';
import type { TokenRange } from '../token/token-range.ts';
import { parseToken } from '../token/token-range.ts';
import { ByteBudget } from './byte-budget.ts';
import {
  rangeOfItem,
  readValidationTable,
  runKeys,
  type ValidationItem,
  type ValidationTable,
} from './validation-plan.ts';

/** What a validation job needs of the world. */
export interface ValidationPorts {
  readonly origin: CqlSession;
  readonly target: CqlSession;
  readonly objects: ObjectStore;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Resolves after so many milliseconds, or rejects when the signal fires. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface ValidationOptions {
  readonly originConsistency: Consistency;
  readonly targetConsistency: Consistency;
  readonly filter: Filter;
  /** How long a write needs to reach both clusters, at most. */
  readonly settleMs: number;
  readonly pageSize?: number;
  /** What this range may read of the origin; see `originBytesPerSecond`. undefined: as much as it can. */
  readonly originBytesPerSecond?: number;
  /** When to stop at the next partition and return a checkpoint. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
}

/** The budget of one range: `validation.originReadMBps` is shared by all that run at once. */
export function originBytesPerSecond(validation: {
  readonly originReadMBps: number;
  readonly maxConcurrency: number;
}): number {
  return (validation.originReadMBps * 1_000_000) / validation.maxConcurrency;
}

/** How a range ended. The counts are those of the whole range so far. */
export type RangeOutcome =
  | { readonly kind: 'done'; readonly counts: ValidationCounts }
  | { readonly kind: 'checkpoint'; readonly next: string; readonly counts: ValidationCounts };

/** Counts of a range, as the ledger's record holds them. */
export interface ValidationCounts extends Record<string, number> {
  partitions: number;
  originRows: number;
  targetRows: number;
  /** Partitions that differ, judged by two readings. */
  differing: number;
  onlyInOrigin: number;
  onlyInTarget: number;
  /** Looked different at first and the same later: a write was on its way. */
  inFlight: number;
  /** Changed between every two readings; what is older than the settle time agrees. */
  unsettled: number;
  /** Differing partitions beyond the bound: counted, neither judged by a second reading nor listed. */
  unlisted: number;
  /** Differences files written. */
  parts: number;
}

const DEFAULT_PAGE_SIZE = 1000;
/** Partitions that are read again together; bounds memory. */
const BATCH_PARTITIONS = 500;
/** Differing partitions that are judged and listed in one range. */
const MAX_LISTED = 10_000;
const MAX_ROWS_LISTED = 100;
const READINGS = 4;
const REREAD_CONCURRENCY = 8;

/**
 * Compares one range of one table on both clusters, judges what differs by reading it again, writes the differences
 * file and the ledger's record. A range that was continued starts behind the checkpoint's token.
 * @throws whatever a port throws, after the ledger's record says that the range failed
 */
export async function validateRange(
  item: ValidationItem,
  checkpoint: string | null,
  ports: ValidationPorts,
  options: ValidationOptions,
  signal?: AbortSignal,
): Promise<RangeOutcome> {
  const before = checkpoint === null ? undefined : await ports.ledger.readRange(item.runId, item.index);
  const counts: ValidationCounts = { ...emptyCounts(), ...before?.counts };
  try {
    const outcome = await new RangeValidation(item, ports, options, counts, signal).run(checkpoint);
    await putRecord(item, ports, outcome.kind === 'done' ? 'done' : 'running', counts, nextOf(outcome), null);
    return outcome;
  } catch (error) {
    await putRecord(item, ports, 'failed', counts, checkpoint, error);
    throw error;
  }
}

function nextOf(outcome: RangeOutcome): string | null {
  return outcome.kind === 'checkpoint' ? outcome.next : null;
}

function emptyCounts(): ValidationCounts {
  return {
    partitions: 0,
    originRows: 0,
    targetRows: 0,
    differing: 0,
    onlyInOrigin: 0,
    onlyInTarget: 0,
    inFlight: 0,
    unsettled: 0,
    unlisted: 0,
    parts: 0,
  };
}

/** The tables' readers of both clusters, as validation and reconciliation need them. */
export function openReaders(
  table: ComparedTable,
  ports: Pick<ValidationPorts, ClusterName | 'clock'>,
  options: Pick<ValidationOptions, 'originConsistency' | 'targetConsistency' | 'filter' | 'pageSize'>,
): { readonly origin: TableReader; readonly target: TableReader } {
  const isExcluded = excludedRows(table, options.filter);
  const common = {
    pageSize: options.pageSize ?? DEFAULT_PAGE_SIZE,
    clock: ports.clock,
    ...(isExcluded ? { isExcluded } : {}),
  };
  return {
    origin: { session: ports.origin, consistency: options.originConsistency, ...common },
    target: { session: ports.target, consistency: options.targetConsistency, ...common },
  };
}

interface Reading {
  readonly found: DifferingPartition;
  readonly comparison: PartitionComparison;
}

/** One invocation's work on one range. */
class RangeValidation {
  readonly #item: ValidationItem;
  readonly #ports: ValidationPorts;
  readonly #options: ValidationOptions;
  readonly #counts: ValidationCounts;
  readonly #signal: AbortSignal | undefined;
  readonly #lines: string[] = [];

  constructor(
    item: ValidationItem,
    ports: ValidationPorts,
    options: ValidationOptions,
    counts: ValidationCounts,
    signal: AbortSignal | undefined,
  ) {
    this.#item = item;
    this.#ports = withinBudget(ports, options.originBytesPerSecond, signal);
    this.#options = options;
    this.#counts = counts;
    this.#signal = signal;
  }

  async run(checkpoint: string | null): Promise<RangeOutcome> {
    const manifest = await readValidationTable(this.#ports.objects, this.#item.tableKey);
    const table = compareTable(manifest.schema, manifest);
    const hash = await createHash64();
    const whole = rangeOfItem(this.#item);
    const startAfter = checkpoint === null ? whole.start : parseToken(checkpoint);
    const ranges = sampleRanges(whole, manifest.samplePercent, seedOf(`${this.#item.runId}/${this.#item.index}`));
    let next: bigint | undefined;
    for (const sampled of ranges) {
      if (sampled.end <= startAfter) continue;
      const range = { start: sampled.start > startAfter ? sampled.start : startAfter, end: sampled.end };
      next = await this.#compareRange(table, manifest, hash, range);
      if (next !== undefined) break;
    }
    await this.#writeDifferences();
    return next === undefined
      ? { kind: 'done', counts: this.#counts }
      : { kind: 'checkpoint', next: next.toString(), counts: this.#counts };
  }

  /** Resolves to the token up to which it came when the deadline ended it. */
  async #compareRange(
    table: ComparedTable,
    manifest: ValidationTable,
    hash: Hash64,
    range: TokenRange,
  ): Promise<bigint | undefined> {
    const readers = openReaders(table, this.#ports, this.#options);
    const digests = (reader: TableReader) => digestPages(table, manifest, hash, reader, range, this.#signal);
    const totals = emptyJoinTotals();
    const { deadlineMillis } = this.#options;
    const shouldStop = () => deadlineMillis !== undefined && this.#ports.clock.nowMillis() >= deadlineMillis;
    let batch: DifferingPartition[] = [];
    for await (const found of joinDigests(digests(readers.origin), digests(readers.target), totals, { shouldStop })) {
      if (this.#counts.differing >= MAX_LISTED) {
        this.#counts.unlisted++;
        continue;
      }
      batch.push(found);
      if (batch.length < BATCH_PARTITIONS) continue;
      await this.#judge(table, manifest, batch);
      batch = [];
    }
    await this.#judge(table, manifest, batch);
    this.#addTotals(totals);
    return totals.isComplete ? undefined : totals.throughToken;
  }

  /** Reads partitions again until two readings agree, the settle time apart. */
  async #judge(table: ComparedTable, manifest: ValidationTable, batch: readonly DifferingPartition[]): Promise<void> {
    let open = await this.#readAgain(table, manifest, batch);
    for (let reading = 2; reading <= READINGS && open.length > 0; reading++) {
      await this.#ports.sleep(this.#options.settleMs, this.#signal);
      const again = await this.#readAgain(
        table,
        manifest,
        open.map(({ found }) => found),
      );
      const moving: Reading[] = [];
      for (const later of again) {
        const earlier = open.find(({ found }) => found === later.found);
        const settled = settleDifference(earlier!.comparison, later.comparison);
        if (settled.isMoving && reading < READINGS) moving.push(later);
        else if (settled.comparison.kind) this.#list(table, later.found, settled.comparison);
        else this.#counts.unsettled++;
      }
      open = moving;
    }
  }

  /** The partitions of the batch that still differ. */
  async #readAgain(
    table: ComparedTable,
    manifest: ValidationTable,
    batch: readonly DifferingPartition[],
  ): Promise<Reading[]> {
    const readers = openReaders(table, this.#ports, this.#options);
    const readings = await pLimit(REREAD_CONCURRENCY).map(batch, async (found): Promise<Reading> => {
      const pages = (reader: TableReader) => readPartition(reader, table, found.partition.keyValues, this.#signal);
      const comparison = await comparePartition(table, pages(readers.origin), pages(readers.target), {
        compareWriteTime: manifest.compareWriteTime,
        maxRows: MAX_ROWS_LISTED,
      });
      return { found, comparison };
    });
    const differing = readings.filter(({ comparison }) => comparison.kind !== undefined);
    this.#counts.inFlight += readings.length - differing.length;
    return differing;
  }

  #list(table: ComparedTable, { partition }: DifferingPartition, comparison: PartitionComparison): void {
    this.#counts.differing++;
    if (comparison.kind === 'onlyInOrigin') this.#counts.onlyInOrigin++;
    if (comparison.kind === 'onlyInTarget') this.#counts.onlyInTarget++;
    const line: DifferenceLine = toDifferenceLine(table, partition, comparison);
    this.#lines.push(JSON.stringify(line));
  }

  #addTotals(totals: JoinTotals): void {
    this.#counts.partitions += totals.partitions;
    this.#counts.originRows += totals.originRows;
    this.#counts.targetRows += totals.targetRows;
  }

  async #writeDifferences(): Promise<void> {
    const { runId, index } = this.#item;
    if (this.#lines.length === 0) return;
    const key = runKeys.differences(runId, index, this.#counts.parts);
    await this.#ports.objects.put(key, `${this.#lines.join('\n')}\n`, this.#signal);
    this.#counts.parts++;
  }
}

/** Every page that is read of the origin is paid for, also those of partitions that are read again. */
function withinBudget(
  ports: ValidationPorts,
  bytesPerSecond: number | undefined,
  signal: AbortSignal | undefined,
): ValidationPorts {
  if (bytesPerSecond === undefined) return ports;
  const { origin } = ports;
  const budget = new ByteBudget(bytesPerSecond, ports.clock, ports.sleep);
  return {
    ...ports,
    origin: {
      protocolVersion: origin.protocolVersion,
      query: (text, values, options) => origin.query(text, values, options),
      prepare: (text) => origin.prepare(text),
      async execute(statement, values, options) {
        const page = await origin.execute(statement, values, options);
        await budget.pay(bytesOf(page), signal);
        return page;
      },
      batch: (kind, entries, options) => origin.batch(kind, entries, options),
      close: () => origin.close(),
    },
  };
}

function bytesOf({ rows }: ResultPage): number {
  let bytes = 0;
  // A value's length takes four bytes on the wire.
  for (const row of rows) for (const value of row) bytes += 4 + (value?.length ?? 0);
  return bytes;
}

async function* digestPages(
  table: ComparedTable,
  manifest: ValidationTable,
  hash: Hash64,
  reader: TableReader,
  range: TokenRange,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly RowDigest[]> {
  const digest = createRowDigester(table, hash, manifest);
  for await (const { rows, readAtSeconds } of readRange(reader, table, range, signal)) {
    yield rows.map((row) => digest(row, readAtSeconds));
  }
}

async function putRecord(
  item: ValidationItem,
  ports: ValidationPorts,
  state: 'running' | 'done' | 'failed',
  counts: ValidationCounts,
  checkpoint: string | null,
  error: unknown,
): Promise<void> {
  await ports.ledger.putRange({
    version: 1,
    runId: item.runId,
    index: item.index,
    keyspace: item.keyspace,
    table: item.table,
    state,
    checkpoint,
    counts,
    error:
      error === null
        ? null
        : { name: error instanceof MigrationError ? error.name : 'Error', message: describeError(error) },
    updatedAt: new Date(ports.clock.nowMillis()).toISOString(),
  });
}
