/**
 * Brings counters together while nobody writes them: what the shadow lacks of the primary's counters is added to it, read
 * back, and then the whole table is compared again.
 */

import pLimit from 'p-limit';
import { comparePartition, type RowDifference } from '../checksum/compare-partition.ts';
import { type ComparedTable, compareTable } from '../checksum/compared-table.ts';
import { emptyJoinTotals, joinDigests } from '../checksum/digest-join.ts';
import { readPartition, readRange, type TableReader } from '../checksum/read-table.ts';
import type { Authority } from '../checksum/repair.ts';
import { createHash64, createRowDigester, type RowDigest } from '../checksum/row-digest.ts';
import { type PartitionId, serializeKey } from '../checksum/selected-row.ts';
import type { RangeClaim } from '../ledger/range-claim.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { splitRing, type TokenRange, tokenRangeToJson, WHOLE_RING } from '../token/token-range.ts';
import { clearMarks } from './clear-marks.ts';
import { type CounterRow, type CounterTotals, createCounterStatements, readInt64 } from './counter-statements.ts';
import { CounterWriter, counterConsistency } from './counter-writer.ts';
import { openReaders, type ValidationOptions, type ValidationPorts } from './validation-ports.ts';

export interface ConvergeOptions
  extends Pick<ValidationOptions, 'originConsistency' | 'targetConsistency' | 'filter' | 'pageSize'> {
  /** The cluster whose counters are right; the other one's are changed. */
  readonly authority: Authority;
  readonly runId: string;
  readonly by: string;
}

/** What became of one table. */
export interface ConvergedTable {
  readonly table: string;
  readonly partitions: number;
  /** Rows whose counters differed at first. */
  readonly differing: number;
  /** Rows that got an addition, and have been read back. */
  readonly converged: number;
  /** Counters that only the shadow has: they were deleted on the primary, or never there. They are left. */
  readonly onlyInShadow: number;
  /** Rows that had been deleted on the shadow, where Cassandra takes no addition any more. */
  readonly notTaken: number;
  /** Partitions that still differ at the end. */
  readonly remaining: number;
}

/** Parts of the ring, each with a claim of its own. */
const RANGES = 16;
const ROWS_AT_ONCE = 16;
/** Of one partition in one round; the next round finds the rest. */
const MAX_ROWS = 1000;

/**
 * Converges the counters of one table.
 * @throws GateClosedError when another call is at work on them, or somebody else writes them
 */
export async function convergeCounters(
  schema: TableSchema,
  ports: ValidationPorts,
  options: ConvergeOptions,
  signal?: AbortSignal,
): Promise<ConvergedTable> {
  const table = new CounterTable(schema, ports, options, signal);
  for (const range of splitRing(RANGES)) await table.converge(range);
  const since = new Date(ports.clock.nowMillis());
  const remaining = await table.count(WHOLE_RING);
  if (remaining === 0) await settle(schema, since, ports, options.by);
  return { table: schema.table, ...table.counts, remaining };
}

/** Nothing differs any more: marks of before are done with. */
async function settle(
  { keyspace, table }: TableSchema,
  since: Date,
  { ledger, clock }: ValidationPorts,
  by: string,
): Promise<void> {
  const left = await clearMarks({ keyspace, table, since, equal: [WHOLE_RING] }, ledger.store, clock);
  const now = new Date(clock.nowMillis());
  await ledger.decideTable(keyspace, table, (found) => {
    const facts = { validatedAt: since.toISOString() };
    const isMarkedSince = found?.reasons.some(({ at }) => Date.parse(at) >= since.getTime()) ?? false;
    if (left.length > 0 || isMarkedSince) return { state: found?.state ?? 'pending', now, by, facts };
    return { state: 'validated', reason: 'counters brought together', now, by, facts };
  });
}

class CounterTable {
  readonly counts = { partitions: 0, differing: 0, converged: 0, onlyInShadow: 0, notTaken: 0 };
  readonly #schema: TableSchema;
  readonly #table: ComparedTable;
  readonly #ports: ValidationPorts;
  readonly #options: ConvergeOptions;
  readonly #signal: AbortSignal | undefined;
  readonly #readers: { readonly origin: TableReader; readonly target: TableReader };

  constructor(schema: TableSchema, ports: ValidationPorts, options: ConvergeOptions, signal: AbortSignal | undefined) {
    this.#schema = schema;
    this.#table = compareTable(schema, { elementWriteTimes: false });
    this.#ports = ports;
    this.#options = options;
    this.#signal = signal;
    // A read that misses increments would have them added a second time.
    this.#readers = openReaders(this.#table, ports, {
      ...options,
      originConsistency: counterConsistency(options.originConsistency),
      targetConsistency: counterConsistency(options.targetConsistency),
    });
  }

  async converge(range: TokenRange): Promise<void> {
    const { ledger, clock, sleep } = this.#ports;
    const { keyspace, table } = this.#schema;
    const place = { runId: this.#options.runId, keyspace, table, ...tokenRangeToJson(range) };
    const claim = await ledger.claimRange(place, { clock, sleep });
    const writer = this.#openWriter(claim);
    try {
      for await (const partition of this.#differing(range, true)) {
        await claim.renew();
        await this.#convergePartition(partition, writer);
      }
    } finally {
      writer.stop();
      this.counts.notTaken += writer.counts.rowsNotTaken;
      await claim.release();
    }
  }

  /** How many partitions differ. */
  async count(range: TokenRange): Promise<number> {
    let found = 0;
    for await (const _ of this.#differing(range, false)) found++;
    return found;
  }

  async *#differing(range: TokenRange, isCounted: boolean): AsyncGenerator<PartitionId> {
    const hash = await createHash64();
    const digest = createRowDigester(this.#table, hash, { compareWriteTime: false });
    const digests = (reader: TableReader) => this.#digests(reader, range, digest);
    const totals = emptyJoinTotals();
    for await (const found of joinDigests(digests(this.#readers.origin), digests(this.#readers.target), totals)) {
      yield found.partition;
    }
    if (isCounted) this.counts.partitions += totals.partitions;
  }

  async *#digests(
    reader: TableReader,
    range: TokenRange,
    digest: ReturnType<typeof createRowDigester>,
  ): AsyncGenerator<readonly RowDigest[]> {
    for await (const { rows, readAtSeconds } of readRange(reader, this.#table, range, this.#signal)) {
      yield rows.map((row) => digest(row, readAtSeconds));
    }
  }

  /** Rows beyond the bound of one round are found by the next; those that are left as they are end it. */
  async #convergePartition({ keyValues }: PartitionId, writer: CounterWriter): Promise<void> {
    const pages = (reader: TableReader) => readPartition(reader, this.#table, keyValues, this.#signal);
    for (;;) {
      const { rows, isTruncated } = await comparePartition(
        this.#table,
        pages(this.#readers.origin),
        pages(this.#readers.target),
        { compareWriteTime: false, maxRows: MAX_ROWS },
      );
      const results = await pLimit(ROWS_AT_ONCE).map(rows, (row) => this.#convergeRow(row, keyValues, writer));
      if (!isTruncated || !results.includes(true)) return;
    }
  }

  /** Resolves to true when something was added. */
  async #convergeRow(row: RowDifference, keyValues: readonly Uint8Array[], writer: CounterWriter): Promise<boolean> {
    const wanted = this.#wantedOf(row);
    this.counts.differing++;
    if (wanted.size === 0) return false;
    const place: CounterRow = { isStatic: row.isStatic, place: [...keyValues, ...row.clustering] };
    const isTaken = await writer.settle(place, wanted, serializeKey(keyValues));
    if (isTaken) this.counts.converged++;
    return isTaken;
  }

  #wantedOf(row: RowDifference): CounterTotals {
    const columns = row.isStatic ? this.#schema.staticColumns : this.#schema.regularColumns;
    const wanted = new Map<number, bigint>();
    for (const cell of row.cells) {
      const { value } = cell[this.#options.authority];
      if (value === null) this.counts.onlyInShadow++;
      else
        wanted.set(
          columns.findIndex(({ name }) => name === cell.column.name),
          readInt64(value),
        );
    }
    return wanted;
  }

  #openWriter(claim: RangeClaim): CounterWriter {
    const { authority, originConsistency, targetConsistency } = this.#options;
    const shadow = authority === 'origin' ? 'target' : 'origin';
    const consistency = shadow === 'origin' ? originConsistency : targetConsistency;
    const { logger, sleep } = this.#ports;
    const ports = { target: this.#ports[shadow], logger, sleep: (ms: number) => sleep(ms, this.#signal) };
    return new CounterWriter(ports, createCounterStatements(this.#schema), consistency, claim);
  }
}
