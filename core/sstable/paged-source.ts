import type { ByteSource } from '#core/ports.ts';
import { corrupt } from './sstable-files.ts';

// Trie nodes never straddle 4 KiB pages, so they do not straddle these either; larger ones save requests.
const PAGE_BYTES = 64 * 1024;
const MAX_PAGES = 64;

/** Random access to a file through a few pages kept in memory. */
export class PagedSource {
  readonly #source: ByteSource;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** The page that holds a position, and where in it. @throws SSTableCorruptError when the file ends before it */
  async at(position: number, signal?: AbortSignal): Promise<{ readonly page: Uint8Array; readonly at: number }> {
    const { name, byteLength } = this.#source;
    if (!(position >= 0 && position < byteLength)) throw corrupt(name, position, `outside of ${byteLength} bytes`);
    const number = Math.floor(position / PAGE_BYTES);
    const start = number * PAGE_BYTES;
    let page = this.#pages.get(number);
    if (!page) {
      page = await this.#source.read(start, Math.min(start + PAGE_BYTES, byteLength), signal);
      if (this.#pages.size >= MAX_PAGES) this.#pages.delete(this.#pages.keys().next().value!);
      this.#pages.set(number, page);
    }
    return { page, at: position - start };
  }
}
