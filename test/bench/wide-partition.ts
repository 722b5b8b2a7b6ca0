/**
 * One partition of many megabytes, computed where it is read, from the files to the requests, with the memory
 * budget that a load has by default:
 *   node test/bench/wide-partition.ts [MB of the partition, default 2048] [SSTables that hold it, default 2]
 * Prints one line of JSON with the highest memory of the process.
 */

import { fileURLToPath } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { windowBudgetBytes } from '#core/jobs/memory-budget.ts';
import { WindowShares } from '#core/jobs/window-shares.ts';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { tableSchemaOf } from '../support/header-schema.ts';
import { widePartition } from '../support/synthetic-sstable.ts';
import { DEFAULT_BUDGET_BYTES, loadIntoNothing } from './discarding-load.ts';

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
const windows = new WindowShares(windowBudgetBytes(DEFAULT_BUDGET_BYTES));
const cursor = mergePartitions(
  sstables.map((sstable) => {
    const { windowBytes, leave } = windows.join();
    return { cursor: openPartitionCursor(sstable, { columns, windowBytes }), onEnd: leave };
  }),
  schema,
);
const { rows: seen, statements } = await loadIntoNothing(cursor, schema);
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  `${JSON.stringify({
    partitionMiB: megabytes,
    sstables: copies,
    rows: seen,
    expectedRows: rows,
    statements,
    maxRssMiB: Math.round(maxRSS / 1024),
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
  })}\n`,
);
