import { ByteReader, EndOfBytesError } from '#core/bytes/byte-reader.ts';
import type { ByteSource } from '#core/ports.ts';
import { corrupt, decodeOf } from './sstable-files.ts';

// Trie nodes never straddle 4 KiB pages, so they do not straddle these either; larger ones save requests.
const PAGE_BYTES = 64 * 1024;
const MAX_PAGES = 64;
/** Clusterings have at most 64 KiB a value, so that nothing in an index comes near. */
const MAX_ITEM_BYTES = 64 * 1024 * 1024;

/** Random access to a file through a few pages kept in memory. */
export class PagedSource {
  readonly #source: ByteSource;
  readonly #pageBytes: number;
  readonly #maxPages: number;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(source: ByteSource, pageBytes = PAGE_BYTES, maxPages = MAX_PAGES) {
    this.#source = source;
    this.#pageBytes = pageBytes;
    this.#maxPages = maxPages;
  }

  get name(): string {
    return this.#source.name;
  }

  get byteLength(): number {
    return this.#source.byteLength;
  }

  /** The page that holds a position, and where in it. @throws SSTableCorruptError when the file ends before it */
  async at(position: number, signal?: AbortSignal): Promise<{ readonly page: Uint8Array; readonly at: number }> {
    const { name, byteLength } = this.#source;
    if (!(position >= 0 && position < byteLength)) throw corrupt(name, position, `outside of ${byteLength} bytes`);
    const number = Math.floor(position / this.#pageBytes);
    const start = number * this.#pageBytes;
    let page = this.#pages.get(number);
    if (!page) {
      page = await this.#source.read(start, Math.min(start + this.#pageBytes, byteLength), signal);
      if (this.#pages.size >= this.#maxPages) this.#pages.delete(this.#pages.keys().next().value!);
      this.#pages.set(number, page);
    }
    return { page, at: position - start };
  }

  /**
   * Decodes what begins at a position: from its page, or from more bytes where it goes on behind that.
   * @throws SSTableCorruptError
   */
  async decodeAt<T>(position: number, decode: (reader: ByteReader) => T, signal?: AbortSignal): Promise<T> {
    const { page, at } = await this.at(position, signal);
    let bytes = page.subarray(at);
    for (;;) {
      const end = position + bytes.length;
      const isAll = end >= this.byteLength || bytes.length >= MAX_ITEM_BYTES;
      try {
        return decode(new ByteReader(bytes));
      } catch (error) {
        if (!(error instanceof EndOfBytesError) || isAll) {
          return decodeOf(this.name, position, () => {
            throw error;
          });
        }
      }
      const wanted = Math.max(4 * bytes.length, this.#pageBytes);
      bytes = await this.#source.read(position, Math.min(position + wanted, this.byteLength), signal);
    }
  }
}
