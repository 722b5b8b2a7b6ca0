/** Tells differences from writes that are on their way, by reading again. */

import pLimit from 'p-limit';
import { comparePartition, type PartitionComparison } from '../checksum/compare-partition.ts';
import type { ComparedTable } from '../checksum/compared-table.ts';
import type { DifferingPartition } from '../checksum/digest-join.ts';
import { readPartition, type TableReader } from '../checksum/read-table.ts';
import { settleDifference } from '../checksum/settled-difference.ts';
import type { ValidationCounts } from './range-counts.ts';
import type { ValidationTable } from './validation-plan.ts';
import { openReaders, type ValidationOptions, type ValidationPorts } from './validation-ports.ts';

interface Reading {
  readonly found: DifferingPartition;
  readonly comparison: PartitionComparison;
}

const MAX_ROWS_LISTED = 100;
const READINGS = 4;
const REREAD_CONCURRENCY = 8;

/** One table as one call compares it. */
export class DifferenceJudge {
  readonly #table: ComparedTable;
  readonly #manifest: ValidationTable;
  readonly #ports: ValidationPorts;
  readonly #options: ValidationOptions;
  readonly #counts: ValidationCounts;
  readonly #signal: AbortSignal | undefined;

  /** @param counts of what it finds in flight or unsettled */
  constructor(
    table: ComparedTable,
    manifest: ValidationTable,
    ports: ValidationPorts,
    options: ValidationOptions,
    counts: ValidationCounts,
    signal: AbortSignal | undefined,
  ) {
    this.#table = table;
    this.#manifest = manifest;
    this.#ports = ports;
    this.#options = options;
    this.#counts = counts;
    this.#signal = signal;
  }

  /** Reads partitions again until two readings agree, the settle time apart; `list` is told of those that differ. */
  async judge(
    batch: readonly DifferingPartition[],
    list: (found: DifferingPartition, comparison: PartitionComparison) => void,
  ): Promise<void> {
    let open = await this.#readAgain(batch);
    for (let reading = 2; reading <= READINGS && open.length > 0; reading++) {
      await this.#ports.sleep(this.#options.settleMs, this.#signal);
      const again = await this.#readAgain(open.map(({ found }) => found));
      const moving: Reading[] = [];
      for (const later of again) {
        const earlier = open.find(({ found }) => found === later.found);
        const settled = settleDifference(earlier!.comparison, later.comparison);
        if (settled.isMoving && reading < READINGS) moving.push(later);
        else if (settled.comparison.kind) list(later.found, settled.comparison);
        else this.#counts.unsettled++;
      }
      open = moving;
    }
  }

  /** The partitions of the batch that still differ. */
  async #readAgain(batch: readonly DifferingPartition[]): Promise<Reading[]> {
    const readers = openReaders(this.#table, this.#ports, this.#options);
    const readings = await pLimit(REREAD_CONCURRENCY).map(batch, async (found): Promise<Reading> => {
      const pages = (reader: TableReader) =>
        readPartition(reader, this.#table, found.partition.keyValues, this.#signal);
      const comparison = await comparePartition(this.#table, pages(readers.origin), pages(readers.target), {
        compareWriteTime: this.#manifest.compareWriteTime,
        maxRows: MAX_ROWS_LISTED,
      });
      return { found, comparison };
    });
    const differing = readings.filter(({ comparison }) => comparison.kind !== undefined);
    this.#counts.inFlight += readings.length - differing.length;
    return differing;
  }
}
