/** Opens a table's SSTables and cuts the ring into ranges of about equal bytes. */

import { describeError, SSTableCorruptError, SSTableUnsupportedError } from '../errors.ts';
import type { Logger, ObjectStore } from '../ports.ts';
import { openSSTable, type SSTable, tokenBounds } from '../sstable/sstable.ts';
import { WHOLE_RING } from '../token/token-range.ts';
import { cutPartitions, type PlannedRange } from './cut-partitions.ts';
import { cutRanges, type WeightedRange } from './cut-ranges.ts';
import type { TableManifest } from './load-plan.ts';
import type { PlanLoadOptions } from './load-planning.ts';
import { type SnapshotSSTable, type SnapshotTable, snapshotFiles } from './snapshot-layout.ts';

const MIB = 1024 * 1024;
/** Below this a range is not worth a call of its own. Bytes. */
const MIN_RANGE_BYTES = 2 * MIB;
const OPEN_AT_ONCE = 16;

type Entries = TableManifest['sstables'];

export type OpenedTable =
  | { readonly kind: 'good'; readonly sstables: readonly SSTable[]; readonly entries: Entries }
  /** An SSTable could not be read: one range, which will fail with the fault's file and offset. */
  | { readonly kind: 'bad'; readonly range: WeightedRange; readonly entries: Entries };

/** An SSTable that can not be read makes its table a single range, whose failure reports it. */
export async function openTable(objects: ObjectStore, table: SnapshotTable, logger: Logger): Promise<OpenedTable> {
  const sstables: SSTable[] = [];
  const entries: Entries = [];
  let isBad = false;
  for (let start = 0; start < table.sstables.length; start += OPEN_AT_ONCE) {
    const found = await Promise.all(
      table.sstables.slice(start, start + OPEN_AT_ONCE).map((entry) => openOne(objects, entry)),
    );
    for (const { entry, sstable, bounds, error } of found) {
      entries.push({ ...entry, components: { ...entry.components }, bounds });
      if (sstable !== undefined) sstables.push(sstable);
      if (error === undefined) continue;
      isBad = true;
      logger.error('an SSTable can not be read; its table will not be loaded', {
        keyspace: table.keyspace,
        table: table.table,
        error: describeError(error),
      });
    }
  }
  if (!isBad) return { kind: 'good', sstables, entries };
  const bytes = table.sstables.reduce((sum, entry) => sum + (entry.components['Data.db'] ?? 0), 0);
  return { kind: 'bad', range: { ...WHOLE_RING, bytes }, entries };
}

async function openOne(objects: ObjectStore, entry: SnapshotSSTable) {
  try {
    const sstable = await openSSTable(snapshotFiles(objects, entry));
    const { first, last } = await tokenBounds(sstable);
    return { entry, sstable, bounds: { first: String(first), last: String(last) } };
  } catch (error) {
    if (error instanceof SSTableCorruptError || error instanceof SSTableUnsupportedError) return { entry, error };
    throw error;
  }
}

/** @param canSlice whether a large partition may be cut among several items */
export async function cutTable(
  sstables: readonly SSTable[],
  options: PlanLoadOptions,
  canSlice: boolean,
): Promise<readonly PlannedRange[]> {
  const total = sstables.reduce((sum, sstable) => sum + sstable.dataBytes, 0);
  const bySize = Math.ceil(total / (options.rangeMB * MIB));
  // A small table is cut too, so that all functions help; but not into crumbs.
  const forAll = Math.min(options.maxConcurrency, Math.floor(total / MIN_RANGE_BYTES));
  const count = Math.max(1, bySize, forAll);
  const ranges = await cutRanges(sstables, count);
  return canSlice ? cutPartitions(sstables, ranges, total / count) : ranges;
}
