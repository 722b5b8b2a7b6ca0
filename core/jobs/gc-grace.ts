import type { FailedWrite } from '../model/failed-write.ts';
import type { TableSchema } from '../model/table-schema.ts';

/**
 * How old a write to the table may be when it is replayed: a tombstone that would stop it is kept for `gc_grace_seconds`
 * from when it was written, which is no earlier than the write. The margin is for clocks that differ and for a replay that
 * takes its time; of a short `gc_grace_seconds` it is half at most, so that such a table's writes are replayed at all.
 * Seconds.
 */
export function replayableForSeconds({ gcGraceSeconds }: TableSchema, marginSeconds: number): number {
  return gcGraceSeconds - Math.min(marginSeconds, Math.floor(gcGraceSeconds / 2));
}

/** Whether tombstones newer than the write may be gone from its destination. @see docs/correctness.md traps 5 and 25 */
export function isTooOld(
  write: Pick<FailedWrite, 'writtenAtSeconds'>,
  tables: readonly TableSchema[],
  marginSeconds: number,
  nowMillis: number,
): boolean {
  const ageSeconds = Math.floor(nowMillis / 1000) - write.writtenAtSeconds;
  return tables.some((table) => ageSeconds > replayableForSeconds(table, marginSeconds));
}
