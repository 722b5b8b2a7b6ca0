/**
 * A load of many SSTables, all open at once, each with every partition, computed where they are read, with the memory
 * budget that a load has by default:
 *   node test/bench/merge-many.ts [SSTables, default 300] [MB of each, default 8] [ranges at once, default 1]
 * Prints one line of JSON with the highest memory of the process.
 */

import { fileURLToPath } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { windowBudgetBytes } from '#core/jobs/memory-budget.ts';
import { WindowShares } from '#core/jobs/window-shares.ts';
import { type MergeInput, mergePartitions } from '#core/merge/merge-partitions.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { tableSchemaOf } from '../support/header-schema.ts';
import { manyPartitions } from '../support/synthetic-sstable.ts';
import { DEFAULT_BUDGET_BYTES, loadIntoNothing } from './discarding-load.ts';

const ROW_BYTES = 1000;
const MIB = 1024 * 1024;
const [count = 300, megabytes = 8, ranges = 1] = process.argv.slice(2).map(Number);
const bigpart = fileURLToPath(new URL('../golden/sstables/4.1-nb-big/bigpart/nb-1-big-Data.db', import.meta.url));
const statistics = await sstableFilesAt(bigpart).open('Statistics.db');

const partitions = Math.ceil((megabytes * MIB) / ROW_BYTES);
const budgetBytes = DEFAULT_BUDGET_BYTES / ranges;

async function loadOne() {
  const windows = new WindowShares(windowBudgetBytes(budgetBytes));
  const inputs: MergeInput[] = [];
  let schema: ReturnType<typeof tableSchemaOf> | undefined;
  for (let index = 0; index < count; index++) {
    const sstable = await openSSTable(manyPartitions(statistics, partitions, ROW_BYTES));
    schema ??= tableSchemaOf(sstable.header);
    const columns = { static: schema.staticColumns, regular: schema.regularColumns };
    const { windowBytes, leave } = windows.join();
    inputs.push({ cursor: openPartitionCursor(sstable, { columns, windowBytes }), onEnd: leave });
  }
  return loadIntoNothing(mergePartitions(inputs, schema!), schema!, budgetBytes);
}

const loaded = await Promise.all(Array.from({ length: ranges }, loadOne));
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  `${JSON.stringify({
    sstables: count,
    plainMiB: count * megabytes * ranges,
    rows: loaded.reduce((sum, { rows }) => sum + rows, 0),
    statements: loaded.reduce((sum, { statements }) => sum + statements, 0),
    expectedRows: partitions * ranges,
    maxRssMiB: Math.round(maxRSS / 1024),
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
  })}\n`,
);
