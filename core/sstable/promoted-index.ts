import type { ByteReader } from '#core/bytes/byte-reader.ts';
import type { Positioned } from '#core/merge/compare-clustering.ts';
import type { ClusteringBound } from '#core/model/clustering-bound.ts';
import { BoundKind, type Deletion } from '#core/model/row.ts';
import { readClusteringValues } from './clustering.ts';
import type { PagedSource } from './paged-source.ts';
import { boundBefore, type RowBlock, type RowLayout } from './row-index.ts';
import { corrupt } from './sstable-files.ts';

/** ClusteringPrefix.Kind of a row; the kinds of bounds are those of BoundKind. */
const ROW_KIND = 4;
const WIDTH_BASE = 64 * 1024;

/** A block of rows: what stands first in it, and the deletion that is open behind its last. */
interface IndexInfo {
  readonly first: Positioned;
  /** Counted from the partition's head. */
  readonly offset: number;
  readonly openAtEnd?: Deletion;
}

/** Where the promoted index of a partition lies in Index.db. */
export interface PromotedIndexPlace {
  readonly dataPosition: number;
  readonly start: number;
  readonly byteLength: number;
}

/**
 * The row index of a wide partition in the BIG format, inside its entry of Index.db. Only what a search needs is read.
 * ```
 * vint headerLength; deletion of the partition; vint n; n × IndexInfo; n × i32 offset of the IndexInfo
 * IndexInfo: prefix first; prefix last; vint offset; zigzag (width − 65536); u8 open [deletion]
 * prefix: u8 kind; row: the clustering values; bound: u16 n, n values
 * ```
 *
 * @see org.apache.cassandra.io.sstable.format.big.RowIndexEntry.IndexedEntry, .IndexInfo
 */
export class PromotedIndex {
  readonly #pages: PagedSource;
  readonly #place: PromotedIndexPlace;
  readonly #layout: RowLayout;
  #count = 0;
  #infos = 0;

  private constructor(pages: PagedSource, place: PromotedIndexPlace, layout: RowLayout) {
    this.#pages = pages;
    this.#place = place;
    this.#layout = layout;
  }

  static async open(
    pages: PagedSource,
    place: PromotedIndexPlace,
    layout: RowLayout,
    signal?: AbortSignal,
  ): Promise<PromotedIndex> {
    const index = new PromotedIndex(pages, place, layout);
    const { start, byteLength } = place;
    await pages.decodeAt(
      start,
      (reader) => {
        reader.readVint();
        layout.deltas.readPartitionDeletion(reader);
        index.#count = reader.readVint();
        index.#infos = start + reader.offset;
      },
      signal,
    );
    if (index.#count < 1 || index.#offsets < index.#infos) {
      throw corrupt(pages.name, start, `${index.#count} blocks do not fit into a row index of ${byteLength} bytes`);
    }
    return index;
  }

  /** Where the offsets of the IndexInfos stand. */
  get #offsets(): number {
    return this.#place.start + this.#place.byteLength - 4 * this.#count;
  }

  /** The last block that starts up to and including `bound`; undefined: the first one or none. */
  async find(bound: Positioned, signal?: AbortSignal): Promise<RowBlock | undefined> {
    let low = 0;
    let high = this.#count - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const { first } = await this.#infoAt(middle, signal);
      if (this.#layout.compare(first, bound) <= 0) low = middle;
      else high = middle - 1;
    }
    return low === 0 ? undefined : this.#block(low, signal);
  }

  /** By the index alone: anywhere is good enough for a cut. */
  async boundAt(wanted: number, signal?: AbortSignal): Promise<ClusteringBound | undefined> {
    let low = 0;
    let high = this.#count - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const { offset } = await this.#infoAt(middle, signal);
      if (offset <= wanted) low = middle;
      else high = middle - 1;
    }
    return low === 0 ? undefined : boundBefore((await this.#infoAt(low, signal)).first);
  }

  /** Block `number`, counted from 0 and not the first one. */
  async #block(number: number, signal?: AbortSignal): Promise<RowBlock> {
    const { first, offset } = await this.#infoAt(number, signal);
    const partition = this.#place.dataPosition;
    const start = partition + offset;
    // Index.db has no checksums, the data has: an offset that leads elsewhere would leave out rows in silence.
    const found = await this.#layout.readAt(start, signal);
    if (this.#layout.compare(found, first) !== 0) {
      throw corrupt(this.#pages.name, this.#infos, `block ${number} does not begin with the row that the index names`);
    }
    const before = await this.#infoAt(number - 1, signal);
    return { partition, start, open: before.openAtEnd };
  }

  async #infoAt(number: number, signal?: AbortSignal): Promise<IndexInfo> {
    const at = this.#offsets + 4 * number;
    const offset = await this.#pages.decodeAt(at, (reader) => reader.readInt32(), signal);
    const position = this.#infos + offset;
    if (offset < 0 || position >= this.#offsets) {
      throw corrupt(this.#pages.name, at, `block ${number} is outside of the row index`);
    }
    return this.#pages.decodeAt(position, (reader) => this.#readInfo(reader), signal);
  }

  #readInfo(reader: ByteReader): IndexInfo {
    const first = this.#readPrefix(reader);
    this.#readPrefix(reader);
    const offset = reader.readVint();
    const width = reader.readSignedVint() + WIDTH_BASE;
    if (!(width > 0)) throw corrupt(this.#pages.name, this.#infos, `a block of ${width} bytes can not be`);
    const isOpen = reader.readUint8() !== 0;
    return { first, offset, openAtEnd: isOpen ? this.#layout.deltas.readPartitionDeletion(reader) : undefined };
  }

  #readPrefix(reader: ByteReader): Positioned {
    const { clusteringLengths } = this.#layout;
    const kind = reader.readUint8();
    if (kind === ROW_KIND) {
      const clustering = readClusteringValues(reader, clusteringLengths, clusteringLengths.length);
      return { kind: 'row', isStatic: false, clustering, cells: [], multiCells: [] };
    }
    const bound = Object.values(BoundKind).find((each) => each === kind);
    if (bound === undefined) throw corrupt(this.#pages.name, this.#infos, `the bound kind ${kind} is not known`);
    return { kind: 'marker', bound, clustering: readClusteringValues(reader, clusteringLengths, reader.readUint16()) };
  }
}
