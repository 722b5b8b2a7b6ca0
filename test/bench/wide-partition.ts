/**
 * One partition of many megabytes, computed where it is read, through cursor, merge and grouping:
 *   node test/bench/wide-partition.ts [MB of the partition, default 2048] [SSTables that hold it, default 2]
 * Prints one line of JSON with the highest memory of the process.
 */

import { fileURLToPath } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { createGrouping, tombstonePolicy } from '#core/merge/group-writes.ts';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { tableSchemaOf } from '../support/header-schema.ts';
import { widePartition } from '../support/synthetic-sstable.ts';

const ROW_BYTES = 1000;
const MIB = 1024 * 1024;
const [megabytes = 2048, copies = 2] = process.argv.slice(2).map(Number);
const bigpart = fileURLToPath(new URL('../golden/sstables/4.1-nb-big/bigpart/nb-1-big-Data.db', import.meta.url));
const statistics = await sstableFilesAt(bigpart).open('Statistics.db');

const rows = Math.ceil((megabytes * MIB) / ROW_BYTES);
const sstables = await Promise.all(
  Array.from({ length: copies }, () => openSSTable(widePartition(statistics, rows, ROW_BYTES))),
);
const schema = tableSchemaOf(sstables[0]!.header);
const columns = { static: schema.staticColumns, regular: schema.regularColumns };
const cursor = mergePartitions(
  sstables.map((sstable) => ({ cursor: openPartitionCursor(sstable, { columns }) })),
  schema,
);
const group = createGrouping(schema, {
  keepsTombstone: tombstonePolicy('all', undefined),
  exactTimes: true,
  nowSeconds: () => 1_800_000_000,
});
let seen = 0;
let writes = 0;
while (await cursor.fill()) {
  for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
    if (event.kind === 'row') seen++;
    writes += group(event).length;
  }
}
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  `${JSON.stringify({
    partitionMiB: megabytes,
    sstables: copies,
    rows: seen,
    expectedRows: rows,
    writes,
    maxRssMiB: Math.round(maxRSS / 1024),
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
  })}\n`,
);
