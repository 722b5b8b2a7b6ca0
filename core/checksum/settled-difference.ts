import type { CellDifference, PartitionComparison, RowDifference } from './compare-partition.ts';

/**
 * What two readings of a partition, further apart than a write needs to arrive, have in common. A write on its way
 * shows in one of them or looks different in each; a difference that stands in both is real.
 */
export interface SettledDifference {
  /** The differences that stand in both readings. */
  readonly comparison: PartitionComparison;
  /** The later reading holds differences that the earlier one did not: something is still on its way. */
  readonly isMoving: boolean;
}

/** Compares an earlier and a later reading of one partition. */
export function settleDifference(earlier: PartitionComparison, later: PartitionComparison): SettledDifference {
  const known = new Set(earlier.rows.flatMap(marksOf));
  let isMoving = false;
  const rows: RowDifference[] = [];
  for (const row of later.rows) {
    // What is beyond the bound of the earlier reading can't be recognised, and need not: enough of it is known.
    const stands = (mark: string) => known.has(mark) || earlier.isTruncated;
    const cells = row.cells.filter((cell) => stands(cellMark(row, cell)));
    const isKnownRow = row.cells.length > 0 ? cells.length > 0 : stands(rowMark(row));
    isMoving ||= cells.length < row.cells.length || !isKnownRow;
    if (isKnownRow) rows.push({ ...row, cells });
  }
  return {
    comparison: { kind: rows.length === 0 ? undefined : later.kind, rows, isTruncated: later.isTruncated },
    isMoving,
  };
}

function marksOf(row: RowDifference): string[] {
  return row.cells.length === 0 ? [rowMark(row)] : row.cells.map((cell) => cellMark(row, cell));
}

function rowMark(row: RowDifference): string {
  return `${row.isStatic ? 's' : 'r'} ${row.clustering.map(hex).join(' ')} ${row.kind}`;
}

function cellMark(row: RowDifference, cell: CellDifference): string {
  const side = ({ value, writeTimes }: CellDifference['origin']) => `${hex(value)} ${hex(writeTimes)}`;
  return `${rowMark(row)} ${cell.column.name} ${cell.kind} ${side(cell.origin)} ${side(cell.target)}`;
}

function hex(bytes: Uint8Array | null): string {
  return bytes === null ? '-' : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
