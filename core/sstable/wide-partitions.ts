/** Partitions that are large enough to be cut among several readers. */

import type { ClusteringBound } from '#core/model/clustering-bound.ts';
import { openingMarker } from '#core/model/clustering-bound.ts';
import type { WidePartition } from './partition-index.ts';
import { rowLayout } from './row-index.ts';
import type { SSTable } from './sstable.ts';

/** Bucket bounds of Cassandra's histograms are that far apart. */
const BUCKET_RATIO = 1.2;

/** Those of at least `minBytes`; the whole index is read, unless Statistics.db says that there is none. */
export async function findWidePartitions(
  sstable: SSTable,
  minBytes: number,
  signal?: AbortSignal,
): Promise<readonly WidePartition[]> {
  if (BUCKET_RATIO * sstable.stats.largestPartitionBytes < minBytes) return [];
  return sstable.index.widePartitions(minBytes, signal);
}

/** Bounds that cut a partition into about `count` parts of equal bytes, ascending; fewer where its row index is coarse. */
export async function cutPartition(
  sstable: SSTable,
  partition: WidePartition,
  count: number,
  signal?: AbortSignal,
): Promise<readonly ClusteringBound[]> {
  const { header, version, data, index } = sstable;
  const layout = rowLayout(header, version, data);
  const rows = await index.rowIndexOf(partition, layout, signal);
  const bounds: ClusteringBound[] = [];
  for (let part = 1; part < count && rows !== undefined; part++) {
    const bound = await rows.boundAt((part * partition.bytes) / count, signal);
    const last = bounds.at(-1);
    if (bound === undefined) continue;
    if (last === undefined || layout.compare(openingMarker(last), openingMarker(bound)) < 0) bounds.push(bound);
  }
  return bounds;
}
