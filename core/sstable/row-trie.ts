import type { Positioned } from '#core/merge/compare-clustering.ts';
import type { ClusteringBound } from '#core/model/clustering-bound.ts';
import type { Deletion } from '#core/model/row.ts';
import type { PagedSource } from './paged-source.ts';
import { boundBefore, type RowBlock, type RowLayout } from './row-index.ts';
import { corrupt } from './sstable-files.ts';
import { decodeTrieNode, type TrieNode } from './trie-node.ts';

const OFFSET_BYTES_MASK = 0x07;
const HAS_OPEN_DELETION = 0x08;

/** A partition's entry in Rows.db. */
export interface RowsEntry {
  readonly key: Uint8Array;
  readonly dataPosition: number;
  readonly root: number;
}

/** bytes16 key; vint data position; zigzag root − position behind the key; vint blocks; deletion of the partition. */
export function readRowsEntry(pages: PagedSource, position: number, signal?: AbortSignal): Promise<RowsEntry> {
  return pages.decodeAt(
    position,
    (reader) => {
      const key = reader.readBytes16();
      const base = position + reader.offset;
      return { key, dataPosition: reader.readVint(), root: base + reader.readSignedVint() };
    },
    signal,
  );
}

/** A leaf of the row trie; offsets count from the partition's head. */
interface BlockLeaf {
  readonly offset: number;
  readonly open?: Deletion;
}

/**
 * The row index of a wide partition in the BTI format: a trie over separators between the blocks, in a byte-comparable
 * form of each type. Here the separators are not understood: a search compares the rows that begin the blocks, which
 * the data's checksums vouch for, and takes a few reads of a chunk more.
 *
 * Payload: offset of the block, in as many bytes as the flags' low three bits say; with flag 8 the deletion that is
 * open there. The last leaf is the end of the partition.
 *
 * @see org.apache.cassandra.io.sstable.format.bti.RowIndexReader, RowIndexWriter
 */
export class RowTrie {
  readonly #pages: PagedSource;
  readonly #entry: RowsEntry;
  readonly #layout: RowLayout;
  readonly #signal: AbortSignal | undefined;

  constructor(pages: PagedSource, entry: RowsEntry, layout: RowLayout, signal?: AbortSignal) {
    this.#pages = pages;
    this.#entry = entry;
    this.#layout = layout;
    this.#signal = signal;
  }

  /** The last block that starts up to and including `bound`; undefined: there is none. */
  async find(bound: Positioned): Promise<RowBlock | undefined> {
    const end = await this.#endOffset();
    const isUpTo = async (position: number): Promise<boolean> => {
      const { offset } = await this.#firstLeaf(position);
      return offset < end && this.#layout.compare(await this.#firstOf(offset), bound) <= 0;
    };
    let position = this.#entry.root;
    for (;;) {
      const node = await this.#nodeAt(position);
      let low = -1;
      let high = node.children.length - 1;
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (await isUpTo(node.children[middle]!)) low = middle;
        else high = middle - 1;
      }
      if (low < 0) return this.#ownBlock(position, node, bound);
      position = node.children[low]!;
    }
  }

  async boundAt(wanted: number): Promise<ClusteringBound | undefined> {
    const end = await this.#endOffset();
    let position = this.#entry.root;
    let found: number | undefined;
    for (;;) {
      const node = await this.#nodeAt(position);
      if (node.payloadFlags !== 0) found = (await this.#leafAt(position, node)).offset;
      let low = -1;
      let high = node.children.length - 1;
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        const { offset } = await this.#firstLeaf(node.children[middle]!);
        if (offset <= wanted && offset < end) low = middle;
        else high = middle - 1;
      }
      if (low < 0) break;
      position = node.children[low]!;
    }
    return found === undefined || found >= end ? undefined : boundBefore(await this.#firstOf(found));
  }

  async #ownBlock(position: number, node: TrieNode, bound: Positioned): Promise<RowBlock | undefined> {
    if (node.payloadFlags === 0) return undefined;
    const leaf = await this.#leafAt(position, node);
    return this.#layout.compare(await this.#firstOf(leaf.offset), bound) <= 0 ? this.#blockOf(leaf) : undefined;
  }

  #firstOf(offset: number): Promise<Positioned> {
    return this.#layout.readAt(this.#entry.dataPosition + offset, this.#signal);
  }

  #blockOf({ offset, open }: BlockLeaf): RowBlock {
    const { dataPosition } = this.#entry;
    return { partition: dataPosition, start: dataPosition + offset, open };
  }

  async #firstLeaf(start: number): Promise<BlockLeaf> {
    for (let position = start; ; ) {
      const node = await this.#nodeAt(position);
      if (node.payloadFlags !== 0) return this.#leafAt(position, node);
      position = this.#childOf(position, node.children[0]);
    }
  }

  async #endOffset(): Promise<number> {
    for (let position = this.#entry.root; ; ) {
      const node = await this.#nodeAt(position);
      const last = node.children.at(-1);
      if (last === undefined) return (await this.#leafAt(position, node)).offset;
      position = last;
    }
  }

  #childOf(position: number, child: number | undefined): number {
    if (child === undefined) throw corrupt(this.#pages.name, position, 'a trie node has neither payload nor children');
    return child;
  }

  async #nodeAt(position: number): Promise<TrieNode> {
    const { page, at } = await this.#pages.at(position, this.#signal);
    return decodeTrieNode(page, at, position, this.#pages.name);
  }

  #leafAt(position: number, node: TrieNode): Promise<BlockLeaf> {
    const { payloadFlags, payloadOffset } = node;
    const length = payloadFlags & OFFSET_BYTES_MASK;
    return this.#pages.decodeAt(
      position + payloadOffset,
      (reader) => {
        let offset = 0;
        for (let left = length; left > 0; left--) offset = offset * 256 + reader.readUint8();
        const isOpen = (payloadFlags & HAS_OPEN_DELETION) !== 0;
        return { offset, open: isOpen ? this.#layout.deltas.readPartitionDeletion(reader) : undefined };
      },
      this.#signal,
    );
  }
}
