import type { ByteSource } from '#core/ports.ts';
import { corrupt } from './sstable-files.ts';

/** Chunk offsets of 128 MiB of data in chunks of 16 KiB; every open SSTable keeps a page. */
const PAGE_WORDS = 8 * 1024;

interface Page {
  readonly number: number;
  readonly words: DataView;
}

/**
 * A table of big-endian integers inside a file (chunk offsets, checksums), read a page at a time with the last page
 * kept: a file of a terabyte has 512 MiB of chunk offsets, which no cursor may hold.
 */
export class WordTable {
  readonly #source: ByteSource;
  readonly #start: number;
  readonly #count: number;
  readonly #width: 4 | 8;
  #page: Page | undefined;

  /** @param start position of the first word; @param count words; @param width bytes of a word */
  constructor(source: ByteSource, start: number, count: number, width: 4 | 8) {
    this.#source = source;
    this.#start = start;
    this.#count = count;
    this.#width = width;
  }

  /** Words [from, to). @throws SSTableCorruptError when one exceeds 2^53 */
  async read(from: number, to: number, signal?: AbortSignal): Promise<number[]> {
    const words: number[] = [];
    let page = this.#page;
    for (let index = from; index < to; index++) {
      const pageNumber = Math.floor(index / PAGE_WORDS);
      if (page?.number !== pageNumber) page = await this.#load(pageNumber, signal);
      const at = (index % PAGE_WORDS) * this.#width;
      const word = this.#width === 4 ? page.words.getUint32(at) : Number(page.words.getBigUint64(at));
      if (!Number.isSafeInteger(word)) {
        throw corrupt(this.#source.name, this.#start + index * this.#width, `${word} is no position`);
      }
      words.push(word);
    }
    return words;
  }

  // Several cursors may read at once: each goes on with the page it asked for.
  async #load(pageNumber: number, signal?: AbortSignal): Promise<Page> {
    const first = pageNumber * PAGE_WORDS;
    const end = Math.min(first + PAGE_WORDS, this.#count);
    const bytes = await this.#source.read(this.#start + first * this.#width, this.#start + end * this.#width, signal);
    const page = { number: pageNumber, words: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
    this.#page = page;
    return page;
  }
}
