/** Cuts partitions that are larger than a range of the plan into slices, so that several items load them side by side. */

import type { ClusteringBound } from '../model/clustering-bound.ts';
import type { WidePartition } from '../sstable/partition-index.ts';
import type { SSTable } from '../sstable/sstable.ts';
import { cutPartition, findWidePartitions } from '../sstable/wide-partitions.ts';
import { contains } from '../token/token-range.ts';
import type { WeightedRange } from './cut-ranges.ts';
import { encodeSlice, isSmallPlace, type SliceText } from './load-place.ts';

export interface PlannedRange extends WeightedRange {
  readonly slice?: SliceText;
}

/** A partition with more ranges' bytes than this in one SSTable is cut. */
const WIDE_RANGES = 2;

interface Giant extends WidePartition {
  /** Where the partition is largest. */
  readonly sstable: SSTable;
  /** Over all SSTables. */
  readonly totalBytes: number;
}

/**
 * Splits ranges around large partitions: the tokens before, the partition's slices, the tokens after. Where the cuts are
 * does not matter for what is loaded: together the slices are the whole token, partitions that share it included.
 * @param rangeBytes what one range is to hold
 */
export async function cutPartitions(
  sstables: readonly SSTable[],
  ranges: readonly WeightedRange[],
  rangeBytes: number,
): Promise<readonly PlannedRange[]> {
  const giants = await findGiants(sstables, WIDE_RANGES * rangeBytes);
  const planned: PlannedRange[] = [];
  for (const range of ranges) {
    const inside = giants.filter(({ token }) => contains(range, token));
    const rest = Math.max(
      0,
      inside.reduce((bytes, { totalBytes }) => bytes - totalBytes, range.bytes),
    );
    const between = (start: bigint, end: bigint) => {
      const part = Number(end - start) / Number(range.end - range.start);
      if (start < end) planned.push({ start, end, bytes: Math.round(rest * part) });
    };
    let { start } = range;
    for (const giant of inside) {
      const slices = await slicesOf(giant, Math.ceil(giant.totalBytes / rangeBytes));
      if (slices.length < 2) continue;
      between(start, giant.token - 1n);
      planned.push(...slices);
      start = giant.token;
    }
    if (start === range.start) planned.push(range);
    else between(start, range.end);
  }
  return planned;
}

/** In token order; of several that share a token the largest. */
async function findGiants(sstables: readonly SSTable[], minBytes: number): Promise<readonly Giant[]> {
  const giants = new Map<bigint, Giant>();
  for (const sstable of sstables) {
    for (const found of await findWidePartitions(sstable, minBytes)) {
      const known = giants.get(found.token);
      if (known === undefined) giants.set(found.token, { ...found, sstable, totalBytes: found.bytes });
      else {
        const isSame = Buffer.compare(known.key, found.key) === 0;
        const totalBytes = isSame ? known.totalBytes + found.bytes : Math.max(known.totalBytes, found.bytes);
        giants.set(found.token, { ...(found.bytes > known.bytes ? { ...found, sstable } : known), totalBytes });
      }
    }
  }
  return [...giants.values()].sort((left, right) => (left.token < right.token ? -1 : 1));
}

async function slicesOf({ sstable, totalBytes, ...partition }: Giant, count: number): Promise<PlannedRange[]> {
  const { key, token } = partition;
  const found = await cutPartition(sstable, partition, count);
  const bounds = found.filter(({ clustering }) => isSmallPlace(key, clustering));
  const bytes = Math.round(totalBytes / (bounds.length + 1));
  return Array.from({ length: bounds.length + 1 }, (_, index) => {
    const [from, to]: (ClusteringBound | undefined)[] = [bounds[index - 1], bounds[index]];
    return { start: token - 1n, end: token, bytes, slice: encodeSlice({ key, from, to }) };
  });
}
