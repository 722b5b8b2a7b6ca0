/**
 * How fast one SSTable is decoded, as a line of JSON; the whole of it lies in memory, so that no disk is measured.
 *
 *   node test/bench/decode.ts Data.db SECONDS [floor]     floor: also how fast it is only checked and decompressed
 */
import { pathToFileURL } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import type { PartitionCursor } from '#core/model/row.ts';
import { openPartitionCursor, openSSTable, type SSTable } from '#core/sstable/sstable.ts';
import { MemoryFiles } from '../support/byte-sources.ts';
import { maxRssMiB, measure } from './measure.ts';

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

/** Megabytes are 10^6 bytes; a second is one of CPU time. */
export interface DecodeFigures {
  readonly compressor: string;
  readonly rows: number;
  readonly rowsPerSecond: number;
  readonly plainMBps: number;
  readonly storedMBps: number;
  readonly floorMBps?: number;
  readonly maxRssMiB: number;
}

/** An SSTable whose components lie in memory. */
export async function openInMemory(path: string): Promise<SSTable> {
  return openSSTable(await MemoryFiles.of(sstableFilesAt(path), COMPONENTS));
}

export function openWhole(sstable: SSTable): PartitionCursor {
  return openPartitionCursor(sstable, { windowBytes: WINDOW_BYTES });
}

export async function countRows(cursor: PartitionCursor): Promise<number> {
  let rows = 0;
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) if (event.kind === 'row') rows += 1;
  }
  return rows;
}

async function decompressOnly({ data, dataBytes }: SSTable): Promise<number> {
  for (let start = 0; start < dataBytes; ) {
    const window = await data.fetch(start, Math.min(start + WINDOW_BYTES, dataBytes));
    window.unpack(Buffer.allocUnsafeSlow(window.plainBytes), 0);
    start = window.end;
  }
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [path, seconds, floor] = process.argv.slice(2);
  const sstable = await openInMemory(path!);
  const full = await measure(Number(seconds), () => countRows(openWhole(sstable)));
  const memory = maxRssMiB();
  const perSecond = (bytes: number, { rounds, seconds: taken }: typeof full) => (bytes * rounds) / taken / 1e6;
  const figures: DecodeFigures = {
    compressor: sstable.compression?.compressor ?? 'none',
    rows: full.rows,
    rowsPerSecond: (full.rows * full.rounds) / full.seconds,
    plainMBps: perSecond(sstable.dataBytes, full),
    storedMBps: perSecond(sstable.storedBytes, full),
    floorMBps:
      floor === undefined
        ? undefined
        : perSecond(sstable.dataBytes, await measure(Number(seconds), () => decompressOnly(sstable), 1)),
    maxRssMiB: memory,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}
