/** Dumps of SSTables, Cassandra's own and ours, ready to be compared. */
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { dumpPartitions } from '#core/sstable/dump.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { type DumpValue, parseDump } from '../../golden/parse-dump.ts';

/** What our reader makes of a file, in the shape of sstabledump's raw form. */
export async function ourDump(dataFile: string): Promise<DumpValue> {
  const sstable = await openSSTable(sstableFilesAt(dataFile));
  let dump = '';
  const options = { form: 'document', release: '4.1', nowSeconds: 0, rawTimestamps: true } as const;
  for await (const text of dumpPartitions(openPartitionCursor(sstable), sstable.header, options)) dump += text;
  return parseDump(dump);
}

type Fields = { [key: string]: DumpValue };

/**
 * A dump without what two clusters can't have in common: the cells of non-frozen lists, whose ids and times a server
 * makes, and the partition deletion that made the compaction look at every row.
 * @param lists the names of those columns, as the dump has them
 */
export function comparableDump(text: string, lists: readonly string[], deletedAtMicros: number): DumpValue[] {
  return (parseDump(text) as Fields[])
    .map(({ partition, rows }) => {
      const { deletion_info: deletion, ...start } = partition as Fields;
      const isOurs = (deletion as Fields | undefined)?.['marked_deleted'] === String(deletedAtMicros);
      const kept = (rows as Fields[]).map((row) => withoutColumns(row, lists)).filter((row) => !isEmpty(row));
      return {
        partition: isOurs || deletion === undefined ? start : { ...start, deletion_info: deletion },
        rows: kept,
      };
    })
    .filter(({ partition, rows }) => rows.length > 0 || 'deletion_info' in partition);
}

function withoutColumns(row: Fields, names: readonly string[]): Fields {
  const { cells } = row;
  if (cells === undefined) return row;
  return { ...row, cells: (cells as Fields[]).filter((cell) => !names.includes(cell['name'] as string)) };
}

/** Of a row that held nothing but list cells. */
function isEmpty(row: Fields): boolean {
  const { cells } = row;
  return (cells as DumpValue[] | undefined)?.length === 0 && !('liveness_info' in row) && !('deletion_info' in row);
}
