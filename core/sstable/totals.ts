import type { PartitionEvent } from '#core/model/row.ts';
import type { PositionedCursor } from './partition-cursor.ts';
import { corrupt } from './sstable-files.ts';
import type { SSTableStats } from './statistics.ts';

/** What a whole SSTable holds; counted while it is read, compared with what Cassandra counted while it wrote it. */
export class Totals {
  partitions = 0;
  rows = 0;
  /** Simple cells, and multi-cell columns with at least one cell (once each). */
  columnsSet = 0;

  add(event: PartitionEvent): void {
    if (event.kind === 'partition') this.partitions += 1;
    if (event.kind !== 'row') return;
    this.rows += 1;
    this.columnsSet += event.cells.length;
    for (const { cells } of event.multiCells) if (cells.length > 0) this.columnsSet += 1;
  }

  /**
   * @param file for messages: Data.db
   * @throws SSTableCorruptError when they differ
   */
  check(stats: SSTableStats, file: string): void {
    const { partitions, rows, columnsSet } = this;
    const { partitionCount, totalRows, totalColumnsSet } = stats;
    if (partitions === partitionCount && rows === totalRows && columnsSet === totalColumnsSet) return;
    throw corrupt(
      file,
      0,
      `${partitions} partitions, ${rows} rows with ${columnsSet} columns set, but Statistics.db says ${partitionCount}, ${totalRows} with ${totalColumnsSet}`,
    );
  }
}

/** The same events of a whole SSTable; at its end the totals are checked. */
export function withTotals(cursor: PositionedCursor, stats: SSTableStats, file: string): PositionedCursor {
  const totals = new Totals();
  return {
    get position() {
      return cursor.position;
    },
    next() {
      const event = cursor.next();
      if (event) totals.add(event);
      return event;
    },
    async fill(signal) {
      if (await cursor.fill(signal)) return true;
      totals.check(stats, file);
      return false;
    },
    close: () => cursor.close(),
  };
}
