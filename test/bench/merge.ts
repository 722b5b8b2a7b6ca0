/**
 * How fast SSTables are merged: ten that overlap, each with a random half of the rows, so that every row comes in about
 * five versions. Printed are MB/s of plain bytes read and rows/s in and out, per second of CPU time and per second of the
 * clock, and the same inputs decoded one after the other, which is what a merge can not do without. The files lie in
 * memory, so that no disk is measured; each table has a process of its own.
 *
 *   npm run bench:sstable, or: node test/bench/merge.ts [SECONDS_PER_CASE]
 */
import { fileURLToPath } from 'node:url';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import { tableSchemaOf } from '../support/header-schema.ts';
import { type BenchTable, prepareBenchData } from './bench-data.ts';
import { countRows, openInMemory, openWhole } from './decode.ts';
import { type Measurement, maxRssMiB, measure, runAlone } from './measure.ts';

interface Figures {
  readonly plainBytes: number;
  readonly decode: Measurement;
  readonly merge: Measurement;
  readonly maxRssMiB: number;
}

/** The process of one table. */
async function measureTable(dataPaths: readonly string[], seconds: number): Promise<Figures> {
  const sstables = await Promise.all(dataPaths.map(openInMemory));
  const schema = tableSchemaOf(sstables[0]!.header);
  const decode = await measure(seconds, async () => {
    let rows = 0;
    for (const sstable of sstables) rows += await countRows(openWhole(sstable));
    return rows;
  });
  const merge = await measure(seconds, () => {
    const inputs = sstables.map((sstable) => ({ cursor: openWhole(sstable) }));
    return countRows(mergePartitions(inputs, schema));
  });
  const plainBytes = sstables.reduce((sum, { dataBytes }) => sum + dataBytes, 0);
  return { plainBytes, decode, merge, maxRssMiB: maxRssMiB() };
}

async function printTable({ name, dataPaths }: BenchTable, seconds: string): Promise<void> {
  const figures = await runAlone<Figures>(fileURLToPath(import.meta.url), [seconds, ...dataPaths]);
  const { plainBytes, decode } = figures;
  for (const what of ['decode', 'merge'] as const) {
    const measured = figures[what];
    const perCpu = (amount: number) => (amount * measured.rounds) / measured.seconds;
    const cells = [
      `${name} ×${dataPaths.length}`.padEnd(22),
      what.padEnd(7),
      (perCpu(plainBytes) / 1e6).toFixed(1).padStart(12),
      ((plainBytes * measured.rounds) / measured.wallSeconds / 1e6).toFixed(1).padStart(10),
      Math.round(perCpu(decode.rows)).toString().padStart(16),
      (what === 'decode' ? '' : Math.round(perCpu(measured.rows)).toString()).padStart(17),
      (1e6 / perCpu(decode.rows)).toFixed(2).padStart(14),
      (what === 'decode' ? '' : figures.maxRssMiB.toString()).padStart(13),
    ];
    process.stdout.write(`${cells.join(' ')}\n`);
  }
}

const [seconds = '3', ...paths] = process.argv.slice(2);
if (paths.length > 0) {
  process.stdout.write(`${JSON.stringify(await measureTable(paths, Number(seconds)))}\n`);
} else {
  const tables = await prepareBenchData((line) => process.stderr.write(`${line}\n`));
  process.stdout.write(
    '\ninputs                 what     MB/CPU s      MB/s   rows in/CPU s   rows out/CPU s  CPU µs/row in  peak RSS MiB\n',
  );
  for (const table of [tables.nb_merge_single, tables.nb_merge_wide]) await printTable(table, seconds);
}
