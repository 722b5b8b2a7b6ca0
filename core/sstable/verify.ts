import { crc32 } from 'node:zlib';
import { SnapshotIncompleteError } from '#core/errors.ts';
import type { ByteSource } from '#core/ports.ts';
import { RowOrder } from './row-order.ts';
import { openPartitionCursor, openWithoutSchema, type SSTable } from './sstable.ts';
import { corrupt, openOptional, readWhole, type SSTableFiles } from './sstable-files.ts';
import { Component } from './sstable-name.ts';
import { Totals } from './totals.ts';
import { PlaceSample } from './verify-index.ts';

export interface Verification {
  /** Components that TOC.txt names, or that reading needs when there is no TOC.txt. */
  readonly components: readonly string[];
  /** Absent components that TOC.txt names but nobody needs for reading (a filter, say). */
  readonly missingOptional: readonly string[];
  readonly digest: 'matches' | 'absent';
  readonly partitions: number;
  readonly rows: number;
  readonly storedBytes: number;
  readonly dataBytes: number;
}

const DIGEST_WINDOW_BYTES = 8 * 1024 * 1024;
const MAX_TOC_BYTES = 64 * 1024;
const NEEDED: ReadonlySet<string> = new Set(Object.values(Component));

/**
 * Reads an SSTable to its end and compares it with every checksum and count that it carries: TOC.txt, Digest.crc32,
 * the checksums of Statistics.db and of each chunk, the order of tokens and rows, the end of each row, and the number of
 * partitions, rows and cells that Cassandra counted when it wrote the file; and asks the index for a sample of them.
 *
 * @throws SSTableCorruptError, SSTableUnsupportedError, SnapshotIncompleteError
 */
export async function verifySSTable(
  files: SSTableFiles,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Verification> {
  const { signal } = options;
  const { components, missingOptional } = await verifyComponents(files, signal);
  const sstable = await openWithoutSchema(files, options);
  // Chunk by chunk first: that tells where the fault is; the digest only that there is one.
  const { partitions, rows } = await verifyContent(sstable, signal);
  const digest = await verifyDigest(files, signal);
  const { storedBytes, dataBytes } = sstable;
  return { components, missingOptional, digest, partitions, rows, storedBytes, dataBytes };
}

async function verifyComponents(
  files: SSTableFiles,
  signal?: AbortSignal,
): Promise<{ components: string[]; missingOptional: string[] }> {
  const toc = await openOptional(files, Component.Toc);
  if (!toc) return { components: [Component.Data, Component.Statistics], missingOptional: [] };
  const text = Buffer.from(await readWhole(toc, MAX_TOC_BYTES, signal)).toString('utf8');
  const components = text.split('\n').filter((line) => line !== '');
  const absent: string[] = [];
  for (const component of components) {
    // Names of components that this reader knows; others may even contain what can't be a name.
    const isThere = /^[\w.+-]+$/.test(component) && (await openOptional(files, component as Component)) !== undefined;
    if (!isThere) absent.push(component);
  }
  const missing = absent.filter((component) => NEEDED.has(component));
  if (missing.length > 0) {
    throw new SnapshotIncompleteError(
      `${files.name}: ${missing.join(', ')} missing, which TOC.txt names; copy the snapshot again`,
      { context: { file: files.name, missing } },
    );
  }
  return { components, missingOptional: absent };
}

/** Digest.crc32: decimal CRC32 of the whole of Data.db as stored. */
async function verifyDigest(files: SSTableFiles, signal?: AbortSignal): Promise<'matches' | 'absent'> {
  const source = await openOptional(files, Component.Digest);
  if (!source) return 'absent';
  const text = Buffer.from(await readWhole(source, 64, signal))
    .toString('latin1')
    .trim();
  if (!/^\d{1,10}$/.test(text)) throw corrupt(source.name, 0, 'not a decimal checksum');
  const data = await files.open(Component.Data);
  const actual = await checksumOf(data, signal);
  if (actual !== Number(text)) {
    throw corrupt(data.name, 0, `the whole file has checksum ${actual}, but ${source.name} says ${text}`);
  }
  return 'matches';
}

async function checksumOf(source: ByteSource, signal?: AbortSignal): Promise<number> {
  let crc = 0;
  for (let start = 0; start < source.byteLength; start += DIGEST_WINDOW_BYTES) {
    const end = Math.min(start + DIGEST_WINDOW_BYTES, source.byteLength);
    crc = crc32(await source.read(start, end, signal), crc);
  }
  return crc;
}

async function verifyContent(sstable: SSTable, signal?: AbortSignal): Promise<{ partitions: number; rows: number }> {
  const cursor = openPartitionCursor(sstable);
  const totals = new Totals();
  const places = new PlaceSample();
  const order = new RowOrder(sstable.header, sstable.data.name);
  try {
    while (await cursor.fill(signal)) {
      for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
        totals.add(event);
        order.check(event, cursor.position);
        if (event.kind === 'partition') places.add({ token: event.token, position: cursor.position });
      }
    }
  } finally {
    cursor.close();
  }
  totals.check(sstable.stats, sstable.data.name);
  await places.check(sstable, signal);
  const { partitions, rows } = totals;
  return { partitions, rows };
}
