/** The SSTables that a range touches, ready to be merged. */

import { SchemaMismatchError } from '../errors.ts';
import type { MergeInput } from '../merge/merge-partitions.ts';
import type { PartitionSlice } from '../model/clustering-bound.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { ObjectStore } from '../ports.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '../sstable/sstable.ts';
import type { TokenRange } from '../token/token-range.ts';
import type { TableManifest } from './load-plan.ts';
import { windowBudgetBytes } from './memory-budget.ts';
import { snapshotFiles } from './snapshot-layout.ts';
import { WindowShares } from './window-shares.ts';

interface MergeInputs {
  readonly inputs: readonly MergeInput[];
  /** With the clustering order of the files, which is that of the origin. */
  readonly schema: TableSchema;
}

/**
 * Opens what the range touches: of each SSTable its metadata, and no data before the merge comes to its first token. The
 * windows share the budget among the SSTables that are being read at the time, however many there are.
 * @throws SSTableCorruptError, SSTableUnsupportedError, SchemaMismatchError, ObjectStoreError
 */
export async function openMergeInputs(
  manifest: TableManifest,
  objects: ObjectStore,
  range: TokenRange,
  options: { readonly slice?: PartitionSlice; readonly signal?: AbortSignal } = {},
): Promise<MergeInputs> {
  const { slice, signal } = options;
  const touching = manifest.sstables.filter(
    ({ bounds }) => bounds === undefined || (BigInt(bounds.last) > range.start && BigInt(bounds.first) <= range.end),
  );
  const sstables: SSTable[] = [];
  for (const entry of touching) sstables.push(await openSSTable(snapshotFiles(objects, entry), { signal }));
  const schema = sstables.reduce(withOriginOrder, manifest.schema);
  const columns = { static: schema.staticColumns, regular: schema.regularColumns };
  const windows = new WindowShares(windowBudgetBytes(manifest.memoryBudgetBytes));
  const inputs = sstables.map((sstable, index): MergeInput => {
    const first = touching[index]!.bounds?.first;
    const share = windows.join();
    return {
      cursor: openPartitionCursor(sstable, { range, slice, columns, windowBytes: share.windowBytes }),
      firstToken: first === undefined ? undefined : BigInt(first),
      onEnd: share.leave,
    };
  });
  return { inputs, schema };
}

/** The schema with the clustering order of the files. */
function withOriginOrder(schema: TableSchema, sstable: SSTable): TableSchema {
  const { clusteringTypes, clusteringReversed, keyTypes } = sstable.header;
  if (clusteringTypes.length !== schema.clustering.length || keyTypes.length !== schema.partitionKey.length) {
    throw new SchemaMismatchError(
      `${sstable.name} has another primary key than ${schema.keyspace}.${schema.table} of the target; compare with ringshift schema diff`,
      { context: { file: sstable.name } },
    );
  }
  if (clusteringReversed.every((reversed, index) => reversed === schema.clustering[index]!.reversed)) return schema;
  return {
    ...schema,
    clustering: schema.clustering.map((column, index) => ({ ...column, reversed: clusteringReversed[index]! })),
  };
}
