import { ByteReader, EndOfBytesError } from '#core/bytes/byte-reader.ts';
import type { ByteSource } from '#core/ports.ts';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';
import { PagedSource } from './paged-source.ts';
import type { DataSpan, PartitionIndex, WidePartition } from './partition-index.ts';
import { PromotedIndex } from './promoted-index.ts';
import { corrupt, decodeOf, openOptional, type SSTableFiles } from './sstable-files.ts';
import { Component } from './sstable-name.ts';
import { lastOfSketch, Summary } from './summary.ts';

const SCAN_BYTES = 16 * 1024;
const WHOLE_SCAN_BYTES = 1024 * 1024;
/** A search of a row index reads a few IndexInfos, far apart. */
const PROMOTED_PAGE_BYTES = 16 * 1024;

interface IndexEntry {
  readonly key: Uint8Array;
  readonly token: bigint;
  readonly dataPosition: number;
  /** Where its row index lies in Index.db; of 0 bytes when it has none. */
  readonly promoted: { readonly start: number; readonly byteLength: number };
}

interface Neighbours {
  readonly before?: IndexEntry;
  readonly found?: IndexEntry;
}

const NO_NEIGHBOURS: Neighbours = {};

/**
 * The BIG format's index: Summary.db leads to a place in Index.db, from where at most one sampling interval is scanned.
 * Neither file has checksums, so what they say is checked against each other and against the order of tokens.
 *
 * @param dataBytes plain bytes of Data.db
 */
export function bigIndex(files: SSTableFiles, dataBytes: number): PartitionIndex {
  let summary: Promise<Summary | undefined> | undefined;
  let index: Promise<ByteSource> | undefined;
  const keep = <T>(promise: Promise<T>, forget: () => void): Promise<T> => {
    promise.catch(forget); // a failed read is asked for again, not remembered
    return promise;
  };
  const openSummary = (signal?: AbortSignal) => {
    summary ??= keep(readSummary(files, signal), () => {
      summary = undefined;
    });
    return summary;
  };
  const openIndex = () => {
    index ??= keep(files.open(Component.Index), () => {
      index = undefined;
    });
    return index;
  };

  /** The last entry with a token up to and including `token`, and the first above; undefined where there is none. */
  async function entriesAround(token: bigint, signal?: AbortSignal): Promise<Neighbours> {
    const [samples, source] = [await openSummary(signal), await openIndex()];
    const sample = samples && (await samples.sampleAt(Math.max(await samples.lastUpTo(token, signal), 0), signal));
    const start = sample?.position ?? 0;
    let before: IndexEntry | undefined;
    let found: IndexEntry | undefined;
    let last: IndexEntry | undefined;
    let hasMore = false;
    let isFirst = true;
    await scanIndex(source, start, signal, (entry, offset) => {
      if (isFirst && sample && !equalKeys(entry.key, sample.key)) {
        throw corrupt(source.name, offset, 'Summary.db names another partition for this position');
      }
      isFirst = false;
      last = entry;
      // One entry more, for its order: a damaged key that seems to be far behind would hide all that follows it.
      hasMore = found !== undefined;
      if (hasMore) return false;
      if (entry.token > token) found = entry;
      else before = entry;
      return true;
    });
    if (before === undefined && start > 0) {
      throw corrupt(source.name, start, 'Summary.db leads behind the partitions that are looked for');
    }
    if (samples && last && !hasMore && !equalKeys(last.key, samples.lastKey)) {
      throw corrupt(source.name, start, 'the last partition is not the one that Summary.db names');
    }
    if (found && found.dataPosition >= dataBytes) {
      throw corrupt(source.name, start, `a partition at ${found.dataPosition} is behind the end of Data.db`);
    }
    return { before, found };
  }

  /** The entry of a partition, found among those of its token. */
  async function findEntry(key: Uint8Array, token: bigint, signal?: AbortSignal): Promise<IndexEntry | undefined> {
    const [samples, source] = [await openSummary(signal), await openIndex()];
    // From before the token: two partitions that share it may stand on both sides of a sample.
    const number = samples && (await samples.lastUpTo(token - 1n, signal));
    const start = samples && number! > 0 ? (await samples.sampleAt(number!, signal)).position : 0;
    let found: IndexEntry | undefined;
    await scanIndex(source, start, signal, (entry) => {
      if (equalKeys(entry.key, key)) found = entry;
      return found === undefined && entry.token <= token;
    });
    return found;
  }

  return {
    async tokenBounds(signal) {
      const samples = await openSummary(signal);
      const source = await openIndex();
      let first: IndexEntry | undefined;
      let last: IndexEntry | undefined;
      await scanIndex(source, 0, signal, (entry) => {
        first ??= entry;
        last = entry;
        return samples === undefined;
      });
      if (samples) {
        const { position } = await samples.sampleAt(samples.sampleCount - 1, signal);
        await scanIndex(source, position, signal, (entry) => {
          last = entry;
          return true;
        });
      }
      if (first === undefined || last === undefined) throw corrupt(source.name, 0, 'there is no partition');
      // Whole SSTables are left out by these bounds, and nobody would look into them again.
      if (samples && (!equalKeys(first.key, samples.firstKey) || !equalKeys(last.key, samples.lastKey))) {
        throw corrupt(source.name, 0, 'the first or the last partition is not the one that Summary.db names');
      }
      return { first: first.token, last: last.token };
    },

    async locate(range, signal): Promise<DataSpan> {
      const { before, found } = range.start === MIN_TOKEN ? NO_NEIGHBOURS : await entriesAround(range.start, signal);
      const first = before ?? found;
      const isFirst = first && ((key: Uint8Array) => equalKeys(key, first.key));
      const start = first?.dataPosition ?? 0;
      const next = before && (found?.dataPosition ?? dataBytes);
      const isBehind = found !== undefined && found.token > range.end;
      const hasNone = range.start !== MIN_TOKEN && found === undefined;
      const behind = isBehind
        ? found
        : hasNone || range.end === MAX_TOKEN
          ? undefined
          : (await entriesAround(range.end, signal)).found;
      return { start, end: behind?.dataPosition ?? dataBytes, isFirst, next, before, isExact: true };
    },

    async fractionOf(range, signal) {
      const samples = await openSummary(signal);
      const { byteLength } = await openIndex();
      if (!samples) return 1;
      if (tokenOf(samples.lastKey) <= range.start || tokenOf(samples.firstKey) > range.end) return 0;
      const sketch = await samples.sketch(signal);
      const positionOf = (token: bigint) => sketch.positions[lastOfSketch(sketch, token)] ?? 0;
      const start = positionOf(range.start);
      const end = range.end >= tokenOf(samples.lastKey) ? byteLength : positionOf(range.end);
      // Between two samples nothing is known: half a sample at least, for what is not nothing.
      const least = 0.5 / sketch.tokens.length;
      return Math.min(1, Math.max(least, (end - start) / byteLength));
    },

    async rowIndexOf({ key, token }, layout, signal) {
      const entry = await findEntry(key, token, signal);
      if (entry === undefined || entry.promoted.byteLength === 0) return undefined;
      const pages = new PagedSource(await openIndex(), PROMOTED_PAGE_BYTES);
      const place = { dataPosition: entry.dataPosition, ...entry.promoted };
      return PromotedIndex.open(pages, place, layout, signal);
    },

    async widePartitions(minBytes, signal) {
      const wide: WidePartition[] = [];
      let before: IndexEntry | undefined;
      const add = (end: number) => {
        if (before === undefined || before.promoted.byteLength === 0) return;
        const bytes = end - before.dataPosition;
        if (bytes >= minBytes) wide.push({ key: before.key, token: before.token, bytes });
      };
      const visit = (entry: IndexEntry) => {
        add(entry.dataPosition);
        before = entry;
        return true;
      };
      await scanIndex(await openIndex(), 0, signal, visit, WHOLE_SCAN_BYTES);
      add(dataBytes);
      return wide;
    },
  };
}

function equalKeys(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

async function readSummary(files: SSTableFiles, signal?: AbortSignal): Promise<Summary | undefined> {
  const source = await openOptional(files, Component.Summary);
  return source && Summary.open(source, signal);
}

/**
 * Index.db from an entry on: { bytes16 key; vint data position; vint promoted size; promoted bytes }. Promoted indexes
 * are jumped over without being read.
 *
 * @param visit returns whether to go on
 * @throws SSTableCorruptError when tokens do not ascend
 */
async function scanIndex(
  source: ByteSource,
  start: number,
  signal: AbortSignal | undefined,
  visit: (entry: IndexEntry, offset: number) => boolean,
  windowBytes = SCAN_BYTES,
): Promise<void> {
  let position = start;
  let bytesWanted = windowBytes;
  let lastToken = MIN_TOKEN;
  let lastDataPosition = -1;
  if (start > source.byteLength) throw corrupt(source.name, start, 'Summary.db points behind the end of the index');
  while (position < source.byteLength) {
    const windowStart = position;
    const end = Math.min(windowStart + bytesWanted, source.byteLength);
    const reader = new ByteReader(await source.read(windowStart, end, signal));
    while (reader.remaining > 0) {
      const entryStart = reader.offset;
      let entry: IndexEntry;
      try {
        const key = reader.readBytes16();
        const dataPosition = reader.readVint();
        const promotedBytes = reader.readVint();
        const promoted = { start: windowStart + reader.offset, byteLength: promotedBytes };
        entry = { key, token: tokenOf(key), dataPosition, promoted };
      } catch (error) {
        if (error instanceof EndOfBytesError && end < source.byteLength) break;
        throw decodeOf(source.name, windowStart, () => {
          throw error;
        });
      }
      const offset = windowStart + entryStart;
      if (offset === 0 && entry.dataPosition !== 0) {
        throw corrupt(source.name, 0, 'the first partition is not at the start of the data');
      }
      if (entry.token < lastToken || entry.dataPosition <= lastDataPosition) {
        throw corrupt(source.name, offset, 'partitions are out of order');
      }
      lastToken = entry.token;
      lastDataPosition = entry.dataPosition;
      if (!visit(entry, offset)) return;
      position = entry.promoted.start + entry.promoted.byteLength;
      if (position > source.byteLength) throw corrupt(source.name, offset, 'an entry goes beyond the end of the index');
      if (position >= end) break;
      reader.offset = position - windowStart;
    }
    // A key of 64 KiB does not fit into one window.
    bytesWanted = position === windowStart ? bytesWanted * 8 : windowBytes;
  }
}
