import { compareBytes } from '../model/compare-value.ts';
import { BatchCursor } from './batch-cursor.ts';
import { equalDigests, type RowDigest } from './row-digest.ts';
import type { PartitionId } from './selected-row.ts';

/** How the two clusters disagree on a partition. */
export type DifferenceKind = 'onlyInOrigin' | 'onlyInTarget' | 'differs';

/** A partition that does not look the same at first sight; whether it truly differs a second reading tells. */
export interface DifferingPartition {
  readonly kind: DifferenceKind;
  readonly partition: PartitionId;
}

/** Counts of a join so far; grows while it runs. */
export interface JoinTotals {
  partitions: number;
  originRows: number;
  targetRows: number;
  /** Everything up to and including this token has been compared; undefined before the first partition. */
  throughToken?: bigint;
  /** False when `shouldStop` ended it. */
  isComplete: boolean;
}

export interface JoinOptions {
  /** Asked between two tokens, never between two partitions of one; true ends the join. */
  readonly shouldStop?: () => boolean;
}

/** Fresh counts for `joinDigests`. */
export function emptyJoinTotals(): JoinTotals {
  return { partitions: 0, originRows: 0, targetRows: 0, isComplete: false };
}

/**
 * Walks two streams, each ascending by (token, partition key bytes) with rows in clustering order, and yields the
 * partitions that are not the same. Memory does not grow with a partition's width.
 */
export async function* joinDigests(
  originRows: AsyncIterable<readonly RowDigest[]>,
  targetRows: AsyncIterable<readonly RowDigest[]>,
  totals: JoinTotals,
  options: JoinOptions = {},
): AsyncGenerator<DifferingPartition, void> {
  const origin = new BatchCursor(originRows);
  const target = new BatchCursor(targetRows);
  try {
    for (;;) {
      const o = origin.current ?? (await origin.fill());
      const t = target.current ?? (await target.fill());
      if (!o && !t) break;
      const order = !t ? -1 : !o ? 1 : comparePlaces(o, t);
      const first = order <= 0 ? o! : t!;
      if (totals.throughToken !== undefined && first.partition.token > totals.throughToken && options.shouldStop?.()) {
        return;
      }
      const kind = await joinPartition(first, order, origin, target, totals);
      totals.partitions++;
      totals.throughToken = first.partition.token;
      if (kind) yield { kind, partition: first.partition };
    }
    totals.isComplete = true;
  } finally {
    await Promise.all([origin.close(), target.close()]);
  }
}

async function joinPartition(
  first: RowDigest,
  order: number,
  origin: BatchCursor<RowDigest>,
  target: BatchCursor<RowDigest>,
  totals: JoinTotals,
): Promise<DifferenceKind | undefined> {
  let isSame = order === 0;
  for (;;) {
    const oNext = order > 0 ? undefined : (origin.current ?? (await origin.fill()));
    const tNext = order < 0 ? undefined : (target.current ?? (await target.fill()));
    const o = oNext && comparePlaces(first, oNext) === 0 ? oNext : undefined;
    const t = tNext && comparePlaces(first, tNext) === 0 ? tNext : undefined;
    if (!o && !t) break;
    isSame &&= o !== undefined && t !== undefined && equalDigests(o, t);
    if (o) {
      totals.originRows++;
      origin.advance();
    }
    if (t) {
      totals.targetRows++;
      target.advance();
    }
  }
  if (order !== 0) return order < 0 ? 'onlyInOrigin' : 'onlyInTarget';
  return isSame ? undefined : 'differs';
}

function comparePlaces(a: RowDigest, b: RowDigest): number {
  if (a.partition.token !== b.partition.token) return a.partition.token < b.partition.token ? -1 : 1;
  return a.key === b.key ? 0 : compareBytes(a.key, b.key);
}
