/**
 * How fast SSTables are decoded: MB/s of plain and stored bytes, rows/s, and the ratio to the floor, which is reading,
 * checking and decompressing the same chunks without decoding a row. Repeats golden files; the whole file lies in memory,
 * so that no disk is measured. Then, unless files were named, the tables of bench-data.ts side by side with Cassandra's
 * own scanner, each on one core.
 *
 *   npm run bench:sstable [-- SECONDS_PER_CASE [Data.db …]]
 */
import { fileURLToPath } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '#core/sstable/sstable.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { prepareBenchData } from './bench-data.ts';
import { scanWithCassandra } from './java-scanner.ts';

const GOLDEN = fileURLToPath(new URL('../golden/sstables/', import.meta.url));
const DEFAULT_PATHS = [
  '4.1-nb-big/big100k/nb-7-big-Data.db',
  '4.1-nb-big/bigpart/nb-1-big-Data.db',
  '4.1-nb-big/wide/nb-1-big-Data.db',
  '4.1-nb-big/types_all/nb-1-big-Data.db',
  '4.1-nb-big/colls/nb-1-big-Data.db',
  '4.1-nb-big/udts/nb-1-big-Data.db',
  '5.0-da-bti/big100k/da-6-bti-Data.db',
].map((path) => GOLDEN + path);
const COMPONENTS = [
  'Data.db',
  'Statistics.db',
  'CompressionInfo.db',
  'CRC.db',
  'Index.db',
  'Summary.db',
  'Partitions.db',
  'Rows.db',
];
const WINDOW_BYTES = 1024 * 1024;

interface Measurement {
  readonly seconds: number;
  readonly rounds: number;
  readonly rows: number;
}

async function decode(sstable: SSTable): Promise<number> {
  const cursor = openPartitionCursor(sstable, { windowBytes: WINDOW_BYTES });
  let rows = 0;
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) if (event.kind === 'row') rows += 1;
  }
  return rows;
}

async function decompressOnly(sstable: SSTable): Promise<number> {
  const { data, dataBytes } = sstable;
  for (let start = 0; start < dataBytes; ) {
    const window = await data.fetch(start, Math.min(start + WINDOW_BYTES, dataBytes));
    window.unpack(Buffer.allocUnsafeSlow(window.plainBytes), 0);
    start = window.end;
  }
  return 0;
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** In CPU time of the whole process, so that a busy machine slows nothing down and the collector's share is in it. */
async function measure(seconds: number, work: () => Promise<number>): Promise<Measurement> {
  for (const warm = cpuSeconds() + seconds / 4; cpuSeconds() < warm; ) await work();
  const start = cpuSeconds();
  let rounds = 0;
  let rows = 0;
  do {
    rows += await work();
    rounds += 1;
  } while (cpuSeconds() - start < seconds);
  return { seconds: cpuSeconds() - start, rounds, rows };
}

const [secondsText = '2', ...paths] = process.argv.slice(2);
const seconds = Number(secondsText);
process.stdout.write(
  'file                                       compressor         plain MB/s  stored MB/s      rows/s   floor MB/s  ratio\n',
);
for (const path of paths.length > 0 ? paths : DEFAULT_PATHS) {
  const sstable = await openSSTable(await MemoryFiles.of(sstableFilesAt(path), COMPONENTS));
  const full = await measure(seconds, () => decode(sstable));
  const floor = await measure(seconds, () => decompressOnly(sstable));
  const perSecond = (bytes: number, { rounds, seconds: taken }: Measurement) => (bytes * rounds) / taken / 1e6;
  const plain = perSecond(sstable.dataBytes, full);
  const floorPlain = perSecond(sstable.dataBytes, floor);
  const name = sstable.name.replace(GOLDEN, '');
  process.stdout.write(
    `${[
      name.slice(-42).padEnd(42),
      (sstable.compression?.compressor ?? 'none').padEnd(16),
      plain.toFixed(1).padStart(12),
      perSecond(sstable.storedBytes, full).toFixed(1).padStart(12),
      Math.round(full.rows / full.seconds)
        .toString()
        .padStart(11),
      floorPlain.toFixed(1).padStart(12),
      (plain / floorPlain).toFixed(2).padStart(6),
    ].join(' ')}\n`,
  );
}

/** @throws when Cassandra counts other rows than we do */
async function compareWithCassandra(path: string): Promise<string[]> {
  const sstable = await openSSTable(await MemoryFiles.of(sstableFilesAt(path), COMPONENTS));
  const ours = await measure(seconds, () => decode(sstable));
  const java = await scanWithCassandra(path, seconds);
  if (java.rows !== ours.rows / ours.rounds) throw new Error(`Cassandra counts ${java.rows} rows in ${path}`);
  const plain = (sstable.dataBytes * ours.rounds) / ours.seconds / 1e6;
  return [
    plain.toFixed(1).padStart(12),
    Math.round(ours.rows / ours.seconds)
      .toString()
      .padStart(11),
    java.plainMBps.toFixed(1).padStart(17),
    Math.round(java.rowsPerSecond).toString().padStart(11),
    (plain / java.plainMBps).toFixed(2).padStart(6),
  ];
}

if (paths.length === 0) {
  const tables = await prepareBenchData((line) => process.stderr.write(`${line}\n`));
  process.stdout.write(
    `\n${'table, LZ4 in chunks of 16 KiB'.padEnd(42)}   plain MB/s      rows/s   Cassandra MB/s      rows/s  ratio\n`,
  );
  for (const { name, dataPaths } of Object.values(tables)) {
    const [only, ...others] = dataPaths;
    if (others.length === 0)
      process.stdout.write(`${[name.padEnd(42), ...(await compareWithCassandra(only!))].join(' ')}\n`);
  }
}
