import type { ByteSource } from '#core/ports.ts';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';
import { PagedSource } from './paged-source.ts';
import { corrupt } from './sstable-files.ts';

/** One of the entries of Index.db that Summary.db names. */
export interface Sample {
  readonly key: Uint8Array;
  readonly token: bigint;
  /** Position in Index.db. */
  readonly position: number;
}

/** Tokens of evenly chosen samples, ascending, and their positions in Index.db. */
export interface SummarySketch {
  readonly tokens: BigInt64Array;
  readonly positions: Float64Array;
}

const HEADER_BYTES = 24;
/** A search touches few pages; every open SSTable of a task holds its own. */
const SEARCH_PAGE_BYTES = 16 * 1024;
const SEARCH_PAGES = 8;
const SKETCH_PAGE_BYTES = 1024 * 1024;
const SKETCH_PAGES = 4;
const MAX_SKETCH_SAMPLES = 16 * 1024;

/**
 * Summary.db: every n-th entry of Index.db, and the first and last key. That of a large table has tens of megabytes, so
 * it is read by pages.
 * ```
 * i32 minIndexInterval; i32 n; i64 size; i32 samplingLevel; i32 fullSamplingCount
 * size bytes: n × i32 LE offset in this block, then n × { key; i64 LE position in Index.db }
 * bytes32 firstKey; bytes32 lastKey
 * ```
 * The block is a dump of memory, hence little-endian.
 *
 * @see org.apache.cassandra.io.sstable.indexsummary.IndexSummary.IndexSummarySerializer
 */
export class Summary {
  readonly name: string;
  readonly sampleCount: number;
  readonly firstKey: Uint8Array;
  readonly lastKey: Uint8Array;
  readonly #source: ByteSource;
  readonly #pages: PagedSource;
  readonly #size: number;
  #sketch: Promise<SummarySketch> | undefined;

  private constructor(
    source: ByteSource,
    pages: PagedSource,
    head: { readonly sampleCount: number; readonly size: number },
    keys: { readonly firstKey: Uint8Array; readonly lastKey: Uint8Array },
  ) {
    this.name = source.name;
    this.#source = source;
    this.#pages = pages;
    this.#size = head.size;
    this.sampleCount = head.sampleCount;
    this.firstKey = keys.firstKey;
    this.lastKey = keys.lastKey;
  }

  /** @throws SSTableCorruptError */
  static async open(source: ByteSource, signal?: AbortSignal): Promise<Summary> {
    const pages = new PagedSource(source, SEARCH_PAGE_BYTES, SEARCH_PAGES);
    const head = await pages.decodeAt(
      0,
      (reader) => {
        reader.skip(4);
        const sampleCount = reader.readInt32();
        const size = reader.readPosition();
        if (sampleCount < 1 || sampleCount * 12 > size || HEADER_BYTES + size > source.byteLength) {
          throw corrupt(source.name, 4, `${sampleCount} samples in ${size} bytes can not be`);
        }
        return { sampleCount, size };
      },
      signal,
    );
    const keysStart = HEADER_BYTES + head.size;
    const keys = await pages.decodeAt(
      keysStart,
      (reader) => {
        const [firstKey, lastKey] = [reader.readBytes32(), reader.readBytes32()];
        if (!firstKey || !lastKey) throw corrupt(source.name, keysStart, 'there is no first or no last key');
        return { firstKey: firstKey.slice(), lastKey: lastKey.slice() };
      },
      signal,
    );
    return new Summary(source, pages, head, keys);
  }

  sampleAt(number: number, signal?: AbortSignal): Promise<Sample> {
    return this.#read(this.#pages, number, signal);
  }

  /**
   * The last sample with a token up to and including `token`, or −1. Tokens are spread evenly, so a guess is near; every
   * second step halves, whatever they are.
   */
  async lastUpTo(token: bigint, signal?: AbortSignal): Promise<number> {
    let low = -1;
    let high = this.sampleCount - 1;
    let lowToken = MIN_TOKEN;
    let highToken = MAX_TOKEN;
    for (let step = 0; low < high; step++) {
      let middle = Math.ceil((low + high) / 2);
      if (step % 2 === 0 && highToken > lowToken) {
        const part = Number(token - lowToken) / Number(highToken - lowToken);
        middle = Math.min(high, Math.max(low + 1, low + Math.round(part * (high - low))));
      }
      const found = await this.sampleAt(middle, signal);
      if (found.token <= token) {
        low = middle;
        lowToken = found.token;
      } else {
        high = middle - 1;
        highToken = found.token;
      }
    }
    return low;
  }

  /** Read once, then kept. */
  sketch(signal?: AbortSignal): Promise<SummarySketch> {
    if (!this.#sketch) {
      this.#sketch = this.#makeSketch(signal);
      this.#sketch.catch(() => {
        this.#sketch = undefined;
      });
    }
    return this.#sketch;
  }

  async #makeSketch(signal?: AbortSignal): Promise<SummarySketch> {
    const pages = new PagedSource(this.#source, SKETCH_PAGE_BYTES, SKETCH_PAGES);
    const count = Math.min(this.sampleCount, MAX_SKETCH_SAMPLES);
    const tokens = new BigInt64Array(count);
    const positions = new Float64Array(count);
    for (let index = 0; index < count; index++) {
      const sample = await this.#read(pages, Math.floor((index * this.sampleCount) / count), signal);
      tokens[index] = sample.token;
      positions[index] = sample.position;
    }
    return { tokens, positions };
  }

  async #read(pages: PagedSource, number: number, signal?: AbortSignal): Promise<Sample> {
    const at = HEADER_BYTES + 4 * number;
    const isLast = number + 1 === this.sampleCount;
    const [start, end] = await pages.decodeAt(
      at,
      (reader) => [littleEndian32(reader.readInt32()), isLast ? this.#size : littleEndian32(reader.readInt32())],
      signal,
    );
    if (!(start! >= 4 * this.sampleCount && end! - start! >= 8 && end! <= this.#size)) {
      throw corrupt(this.name, at, `sample ${number} is outside of the summary`);
    }
    const keyStart = HEADER_BYTES + start!;
    return pages.decodeAt(
      keyStart,
      (reader) => {
        const key = reader.readBytes(end! - start! - 8);
        const stored = reader.readBytes(8);
        const position = Number(new DataView(stored.buffer, stored.byteOffset, 8).getBigInt64(0, true));
        if (!Number.isSafeInteger(position) || position < 0) {
          throw corrupt(this.name, HEADER_BYTES + end! - 8, `${position} is no position in Index.db`);
        }
        return { key, token: tokenOf(key), position };
      },
      signal,
    );
  }
}

function littleEndian32(bigEndian: number): number {
  return (
    ((bigEndian & 0xff) << 24) |
    ((bigEndian & 0xff00) << 8) |
    ((bigEndian >>> 8) & 0xff00) |
    ((bigEndian >>> 24) & 0xff)
  );
}

/** About which part of the samples has tokens up to `token`: an index into the sketch, −1 to its length − 1. */
export function lastOfSketch({ tokens }: SummarySketch, token: bigint): number {
  let low = -1;
  let high = tokens.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (tokens[middle]! <= token) low = middle;
    else high = middle - 1;
  }
  return low;
}
