import { estimateBytes, type SSTable } from '../sstable/sstable.ts';
import { splitRing, type TokenRange, WHOLE_RING } from '../token/token-range.ts';

/** A token range with the SSTable bytes that it holds, estimated. */
export interface WeightedRange extends TokenRange {
  readonly bytes: number;
}

/** Cells of the grid for each range: the ranges' sizes differ by about this part. */
const CELLS_PER_RANGE = 16;
const MAX_CELLS = 16_384;

/**
 * Cuts the ring into at most `count` ranges that hold about the same number of bytes, by the samples of each SSTable's
 * index. Together they are the whole ring; none for no SSTables.
 */
export async function cutRanges(sstables: readonly SSTable[], count: number): Promise<readonly WeightedRange[]> {
  if (sstables.length === 0) return [];
  const total = sstables.reduce((sum, sstable) => sum + sstable.dataBytes, 0);
  if (count <= 1) return [{ ...WHOLE_RING, bytes: total }];
  const cells = splitRing(Math.min(MAX_CELLS, count * CELLS_PER_RANGE));
  const weights: number[] = [];
  for (const cell of cells) {
    let bytes = 0;
    for (const sstable of sstables) bytes += await estimateBytes(sstable, cell);
    weights.push(bytes);
  }
  return joinCells(cells, weights, count);
}

/** Joins neighbouring cells until each range holds its share. */
export function joinCells(
  cells: readonly TokenRange[],
  weights: readonly number[],
  count: number,
): readonly WeightedRange[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const ranges: WeightedRange[] = [];
  let start = cells[0]!.start;
  let bytes = 0;
  let before = 0;
  cells.forEach((cell, index) => {
    bytes += weights[index]!;
    const isLast = index === cells.length - 1;
    const isFull = before + bytes >= (total * (ranges.length + 1)) / count;
    if (!isLast && !(isFull && ranges.length < count - 1)) return;
    ranges.push({ start, end: cell.end, bytes });
    start = cell.end;
    before += bytes;
    bytes = 0;
  });
  return ranges;
}
