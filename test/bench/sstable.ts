/**
 * How fast SSTables are decoded, each in a process of its own: MB/s of plain and stored bytes and rows/s, per second of
 * CPU time. First the tables of bench-data.ts, side by side with Cassandra's own scanner, each on one core; then golden
 * files of other shapes, with the floor, which is reading, checking and decompressing the same chunks without decoding a
 * row. With names of files: only these, with the floor.
 *
 *   npm run bench:sstable, or: node test/bench/sstable.ts [SECONDS_PER_CASE [Data.db …]]
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepareBenchData } from './bench-data.ts';
import type { DecodeFigures } from './decode.ts';
import { scanWithCassandra } from './java-scanner.ts';
import { runAlone, WARM_UP_SECONDS } from './measure.ts';

const DECODE = join(import.meta.dirname, 'decode.ts');
const GOLDEN = fileURLToPath(new URL('../golden/sstables/', import.meta.url));
const GOLDEN_PATHS = [
  '4.1-nb-big/big100k/nb-7-big-Data.db',
  '4.1-nb-big/bigpart/nb-1-big-Data.db',
  '4.1-nb-big/wide/nb-1-big-Data.db',
  '4.1-nb-big/types_all/nb-1-big-Data.db',
  '4.1-nb-big/colls/nb-1-big-Data.db',
  '4.1-nb-big/udts/nb-1-big-Data.db',
  '5.0-da-bti/big100k/da-6-bti-Data.db',
].map((path) => GOLDEN + path);

type Row = readonly (readonly [text: string, width: number])[];

/** The first column to the left, numbers to the right. */
function print(row: Row): void {
  const cells = row.map(([text, width], index) => (index === 0 ? text.padEnd(width) : text.padStart(width)));
  process.stdout.write(`${cells.join(' ')}\n`);
}

const whole = (value: number) => Math.round(value).toString();

/** @throws when Cassandra counts other rows than we do */
async function compareWithCassandra(name: string, path: string, seconds: string): Promise<void> {
  const ours = await runAlone<DecodeFigures>(DECODE, [path, seconds]);
  const java = await scanWithCassandra(path, Number(seconds));
  if (java.rows !== ours.rows) throw new Error(`Cassandra counts ${java.rows} rows in ${path}, not ${ours.rows}`);
  print([
    [name, 15],
    [ours.plainMBps.toFixed(1), 11],
    [whole(ours.rowsPerSecond), 11],
    [ours.maxRssMiB.toString(), 13],
    [java.plainMBps.toFixed(1), 16],
    [whole(java.rowsPerSecond), 11],
    [java.maxRssMiB.toString(), 13],
    [(ours.plainMBps / java.plainMBps).toFixed(2), 6],
  ]);
}

async function compareWithFloor(path: string, seconds: string): Promise<void> {
  const figures = await runAlone<DecodeFigures>(DECODE, [path, seconds, 'floor']);
  print([
    [path.replace(GOLDEN, '').slice(-42), 42],
    [figures.compressor, 14],
    [figures.plainMBps.toFixed(1), 11],
    [figures.storedMBps.toFixed(1), 12],
    [whole(figures.rowsPerSecond), 10],
    [figures.floorMBps!.toFixed(1), 11],
    [(figures.plainMBps / figures.floorMBps!).toFixed(2), 6],
    [figures.maxRssMiB.toString(), 13],
  ]);
}

const [seconds = '3', ...paths] = process.argv.slice(2);
process.stdout.write(
  `Per second of CPU time; each in a process of its own, after ${WARM_UP_SECONDS} s to warm up. Peak memory holds the files too.\n\n`,
);
if (paths.length === 0) {
  const tables = await prepareBenchData((line) => process.stderr.write(`${line}\n`));
  process.stdout.write(
    'LZ4, 16 KiB      plain MB/s      rows/s  peak RSS MiB   Cassandra MB/s      rows/s  peak RSS MiB  ratio\n',
  );
  for (const { name, dataPaths } of Object.values(tables)) {
    const [only, ...others] = dataPaths;
    if (others.length === 0) await compareWithCassandra(name, only!, seconds);
  }
  process.stdout.write('\n');
}
process.stdout.write(
  'file                                       compressor      plain MB/s  stored MB/s     rows/s  floor MB/s  ratio  peak RSS MiB\n',
);
for (const path of paths.length > 0 ? paths : GOLDEN_PATHS) await compareWithFloor(path, seconds);
