/**
 * How fast SSTables are merged: ten that overlap, each with a random half of the rows, so that every row comes in about
 * five versions. Printed are MB/s of plain bytes read and rows/s in and out, per second of CPU time and per second of the
 * clock, and the same inputs decoded one after the other, which is what a merge can not do without. The files lie in
 * memory, so that no disk is measured.
 *
 *   npm run bench:sstable, or: node test/bench/merge.ts [SECONDS_PER_CASE]
 */
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import type { PartitionCursor } from '#core/model/row.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '#core/sstable/sstable.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { tableSchemaOf } from '../support/header-schema.ts';
import { type BenchTable, prepareBenchData } from './bench-data.ts';

const COMPONENTS = ['Data.db', 'Statistics.db', 'CompressionInfo.db', 'Index.db', 'Summary.db'];
const WINDOW_BYTES = 1024 * 1024;

interface Measurement {
  readonly cpuSeconds: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly rows: number;
}

async function countRows(cursor: PartitionCursor): Promise<number> {
  let rows = 0;
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) if (event.kind === 'row') rows += 1;
  }
  return rows;
}

async function measure(seconds: number, work: () => Promise<number>): Promise<Measurement> {
  for (let warm = performance.now() + seconds * 500; performance.now() < warm; ) await work();
  const start = performance.now();
  const before = process.cpuUsage();
  let rounds = 0;
  let rows = 0;
  do {
    rows += await work();
    rounds += 1;
  } while (performance.now() - start < seconds * 1000);
  const { user, system } = process.cpuUsage(before);
  return { cpuSeconds: (user + system) / 1e6, seconds: (performance.now() - start) / 1000, rounds, rows };
}

async function run(seconds: number, { name, dataPaths }: BenchTable): Promise<void> {
  const sstables: SSTable[] = [];
  for (const path of dataPaths)
    sstables.push(await openSSTable(await MemoryFiles.of(sstableFilesAt(path), COMPONENTS)));
  const open = (sstable: SSTable) => openPartitionCursor(sstable, { windowBytes: WINDOW_BYTES });
  const schema = tableSchemaOf(sstables[0]!.header);
  const decoded = await measure(seconds, async () => {
    let rows = 0;
    for (const sstable of sstables) rows += await countRows(open(sstable));
    return rows;
  });
  const merged = await measure(seconds, () =>
    countRows(
      mergePartitions(
        sstables.map((sstable) => ({ cursor: open(sstable) })),
        schema,
      ),
    ),
  );
  const plainBytes = sstables.reduce((sum, { dataBytes }) => sum + dataBytes, 0);
  const rowsIn = decoded.rows / decoded.rounds;
  const rowsOut = merged.rows / merged.rounds;
  for (const [what, measured] of [
    ['decode', decoded],
    ['merge', merged],
  ] as const) {
    const perCpu = (amount: number) => (amount * measured.rounds) / measured.cpuSeconds;
    const cells = [
      `${name} ×${sstables.length}`.padEnd(22),
      what.padEnd(7),
      (perCpu(plainBytes) / 1e6).toFixed(1).padStart(12),
      ((plainBytes * measured.rounds) / measured.seconds / 1e6).toFixed(1).padStart(10),
      Math.round(perCpu(rowsIn)).toString().padStart(16),
      (what === 'decode' ? '' : Math.round(perCpu(rowsOut)).toString()).padStart(17),
      (1e6 / perCpu(rowsIn)).toFixed(2).padStart(14),
    ];
    process.stdout.write(`${cells.join(' ')}\n`);
  }
}

const seconds = Number(process.argv[2] ?? 2);
const tables = await prepareBenchData((line) => process.stderr.write(`${line}\n`));
process.stdout.write(
  'inputs                 what     MB/CPU s      MB/s   rows in/CPU s   rows out/CPU s  CPU µs/row in\n',
);
for (const table of [tables.nb_merge_single, tables.nb_merge_wide]) await run(seconds, table);
