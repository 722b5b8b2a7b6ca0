/**
 * How fast SSTables are decoded: MB/s of plain and stored bytes, rows/s, and the ratio to the floor, which is reading,
 * checking and decompressing the same chunks without decoding a row. Repeats golden files, so that nothing has to be
 * generated; the whole file lies in memory, so that no disk is measured.
 *
 *   npm run bench:sstable [-- SECONDS_PER_CASE [Data.db …]]
 */
import { fileURLToPath } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '#core/sstable/sstable.ts';
import { MemoryFiles } from '../support/byte-sources.ts';

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

async function measure(seconds: number, work: () => Promise<number>): Promise<Measurement> {
  for (let warm = performance.now() + seconds * 250; performance.now() < warm; ) await work();
  const start = performance.now();
  let rounds = 0;
  let rows = 0;
  do {
    rows += await work();
    rounds += 1;
  } while (performance.now() - start < seconds * 1000);
  return { seconds: (performance.now() - start) / 1000, rounds, rows };
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
