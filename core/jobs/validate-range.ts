import type { PartitionComparison } from '../checksum/compare-partition.ts';
import { type ComparedTable, compareTable } from '../checksum/compared-table.ts';
import { type DifferenceLine, toDifferenceLine } from '../checksum/difference-line.ts';
import { type DifferingPartition, emptyJoinTotals, type JoinTotals, joinDigests } from '../checksum/digest-join.ts';
import { readRange, type TableReader } from '../checksum/read-table.ts';
import { createHash64, createRowDigester, type Hash64, type RowDigest } from '../checksum/row-digest.ts';
import { sampleRanges, seedOf } from '../checksum/sample-ranges.ts';
import { describeError, MigrationError } from '../errors.ts';
import type { TokenRange } from '../token/token-range.ts';
import { parseToken } from '../token/token-range.ts';
import { DifferenceJudge } from './judge-differences.ts';
import { markDifferences } from './mark-differences.ts';
import { emptyCounts, type ValidationCounts } from './range-counts.ts';
import { withinBudget } from './read-budget.ts';
import {
  rangesOfItem,
  readValidationTable,
  runKeys,
  type ValidationItem,
  type ValidationTable,
} from './validation-plan.ts';
import { openReaders, type ValidationOptions, type ValidationPorts } from './validation-ports.ts';

/** How a range ended. The counts are those of the whole range so far. */
export type RangeOutcome =
  | { readonly kind: 'done'; readonly counts: ValidationCounts }
  | { readonly kind: 'checkpoint'; readonly next: string; readonly counts: ValidationCounts };

/** Partitions that are read again together; bounds memory. */
const BATCH_PARTITIONS = 500;
/** Differing partitions that are judged and listed in one range. */
const MAX_LISTED = 10_000;

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

/** One invocation's work on one range. */
class RangeValidation {
  readonly #item: ValidationItem;
  readonly #ports: ValidationPorts;
  readonly #options: ValidationOptions;
  readonly #counts: ValidationCounts;
  readonly #signal: AbortSignal | undefined;
  readonly #lines: string[] = [];
  /** Of the partitions that are listed. */
  readonly #tokens: bigint[] = [];

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
    const places = rangesOfItem(this.#item);
    const startAfter = checkpoint === null ? places[0]!.start : parseToken(checkpoint);
    const seed = seedOf(`${this.#item.runId}/${this.#item.index}`);
    const ranges = places.flatMap((place) => sampleRanges(place, manifest.samplePercent, seed));
    let next: bigint | undefined;
    for (const sampled of ranges) {
      if (sampled.end <= startAfter) continue;
      const range = { start: sampled.start > startAfter ? sampled.start : startAfter, end: sampled.end };
      next = await this.#compareRange(table, manifest, hash, range);
      if (next !== undefined) break;
    }
    await this.#tellOfDifferences(table);
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
    const judge = new DifferenceJudge(table, manifest, this.#ports, this.#options, this.#counts, this.#signal);
    const list = (found: DifferingPartition, comparison: PartitionComparison) => this.#list(table, found, comparison);
    let batch: DifferingPartition[] = [];
    for await (const found of joinDigests(digests(readers.origin), digests(readers.target), totals, { shouldStop })) {
      if (this.#counts.differing >= MAX_LISTED) {
        this.#counts.unlisted++;
        continue;
      }
      batch.push(found);
      if (batch.length < BATCH_PARTITIONS) continue;
      await judge.judge(batch, list);
      batch = [];
    }
    await judge.judge(batch, list);
    this.#addTotals(totals);
    return totals.isComplete ? undefined : totals.throughToken;
  }

  #list(table: ComparedTable, { partition }: DifferingPartition, comparison: PartitionComparison): void {
    this.#counts.differing++;
    if (comparison.kind === 'onlyInOrigin') this.#counts.onlyInOrigin++;
    if (comparison.kind === 'onlyInTarget') this.#counts.onlyInTarget++;
    const line: DifferenceLine = toDifferenceLine(table, partition, comparison);
    this.#lines.push(JSON.stringify(line));
    this.#tokens.push(partition.token);
  }

  #addTotals(totals: JoinTotals): void {
    this.#counts.partitions += totals.partitions;
    this.#counts.originRows += totals.originRows;
    this.#counts.targetRows += totals.targetRows;
  }

  async #tellOfDifferences({ schema }: ComparedTable): Promise<void> {
    const { runId, index } = this.#item;
    const isListed = this.#counts.unlisted === 0;
    if (this.#lines.length > 0 || !isListed) {
      const tokens = isListed ? this.#tokens : null;
      const what = schema.isCounter ? 'counters' : 'rows';
      await markDifferences(this.#item, this.#counts.parts, tokens, what, this.#ports);
    }
    if (this.#lines.length === 0) return;
    const key = runKeys.differences(runId, index, this.#counts.parts);
    await this.#ports.objects.put(key, `${this.#lines.join('\n')}\n`, this.#signal);
    this.#counts.parts++;
  }
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
