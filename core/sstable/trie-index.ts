import { ByteReader } from '#core/bytes/byte-reader.ts';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';
import type { TokenRange } from '#core/token/token-range.ts';
import { PagedSource } from './paged-source.ts';
import type { DataSpan, PartitionIndex, WidePartition } from './partition-index.ts';
import { RowTrie, readRowsEntry } from './row-trie.ts';
import { corrupt, decodeOf, type SSTableFiles } from './sstable-files.ts';
import { Component } from './sstable-name.ts';
import type { SSTableStats } from './statistics.ts';
import { decodeTrieNode, type TrieNode } from './trie-node.ts';

const FOOTER_BYTES = 24;
/** First byte of every key of the trie: the token follows. */
const NEXT_COMPONENT = 0x40;
const TOKEN_PREFIX_BYTES = 9;

/** A partition as the trie knows it: the shortest prefix that tells it from its neighbours. */
interface Leaf {
  readonly prefix: readonly number[];
  readonly dataPosition: number;
  /** Where the partition has an entry in Rows.db. */
  readonly key?: Uint8Array;
}

/**
 * The BTI format's index: a trie over 0x40, the token (sign bit flipped), 0x40, the escaped key, 0x38; cut where it is
 * unique. Nine bytes are enough to find a token. A leaf whose prefix is shorter may lie on either side of a token: a
 * span then takes in one partition more, and the cursor decides by the real token.
 *
 * @see org.apache.cassandra.io.sstable.format.bti.PartitionIndex
 */
export function trieIndex(files: SSTableFiles, stats: SSTableStats, dataBytes: number): PartitionIndex {
  let opened: Promise<Trie> | undefined;
  const open = (signal?: AbortSignal): Promise<Trie> => {
    if (!opened) {
      opened = openTrie(files, dataBytes, signal);
      opened.catch(() => {
        opened = undefined; // asked for again, not remembered
      });
    }
    return opened;
  };

  async function locate(range: TokenRange, signal?: AbortSignal): Promise<DataSpan> {
    const { start: next, end } = await positionsOf(range, signal);
    if (range.start === MIN_TOKEN) return { start: 0, end };
    const trie = await open(signal);
    const leaf = await trie.lastBefore(range.start, signal);
    const start = leaf?.dataPosition ?? 0;
    if (next < start || (leaf === undefined && next > 0)) {
      throw corrupt(
        trie.name,
        0,
        `partitions are out of order: ${next} follows ${leaf === undefined ? 'none' : start}`,
      );
    }
    if (leaf === undefined) return { start, end };
    const { key, prefix } = leaf;
    const isFirst = (_: Uint8Array, token: bigint) => startsWith(tokenPrefix(token), prefix);
    return { start, end, isFirst, next, before: key && { key, token: tokenOf(key) } };
  }

  /** From the first partition that may be in the range up to what is surely behind. */
  async function positionsOf(range: TokenRange, signal?: AbortSignal): Promise<DataSpan> {
    if (range.start === MIN_TOKEN && range.end === MAX_TOKEN) return { start: 0, end: dataBytes };
    const trie = await open(signal);
    const first = range.start === MIN_TOKEN ? undefined : await trie.find(range.start, true, signal);
    if (range.start !== MIN_TOKEN && !first) return { start: dataBytes, end: dataBytes };
    const behind = range.end === MAX_TOKEN ? undefined : await trie.find(range.end, false, signal);
    const start = first?.dataPosition ?? 0;
    const end = behind?.dataPosition ?? dataBytes;
    if (end < start) throw corrupt(trie.name, 0, `partitions are out of order: ${start} is before ${end}`);
    return { start, end };
  }

  return {
    async tokenBounds() {
      if (!stats.firstKey || !stats.lastKey) throw corrupt(files.name, 0, 'Statistics.db names no first and last key');
      return { first: tokenOf(stats.firstKey), last: tokenOf(stats.lastKey) };
    },
    locate,
    async fractionOf(range, signal) {
      const { start, end } = await positionsOf(range, signal);
      return (end - start) / dataBytes;
    },
    async rowIndexOf({ key, token }, layout, signal) {
      const trie = await open(signal);
      for await (const position of trie.rowsEntries(token, signal)) {
        const pages = await trie.rows();
        const entry = await readRowsEntry(pages, position, signal);
        if (Buffer.compare(entry.key, key) === 0) return new RowTrie(pages, entry, layout, signal);
      }
      return undefined;
    },
    async widePartitions(minBytes, signal) {
      const trie = await open(signal);
      const wide: WidePartition[] = [];
      let before: Leaf | undefined;
      const add = (end: number) => {
        if (before?.key === undefined || end - before.dataPosition < minBytes) return;
        wide.push({ key: before.key, token: tokenOf(before.key), bytes: end - before.dataPosition });
      };
      for await (const leaf of trie.leaves()) {
        add(leaf.dataPosition);
        before = leaf;
      }
      add(dataBytes);
      return wide;
    },
  };
}

interface Trie {
  readonly name: string;
  /**
   * The first leaf that is not before `token`.
   * @param inclusive also one that equals it or may do so, since its prefix is short; else only what is surely behind
   */
  find(token: bigint, inclusive: boolean, signal?: AbortSignal): Promise<Leaf | undefined>;
  /** The last leaf that is surely before `token`. */
  lastBefore(token: bigint, signal?: AbortSignal): Promise<Leaf | undefined>;
  /** Positions in Rows.db of partitions that may have this token. */
  rowsEntries(token: bigint, signal?: AbortSignal): AsyncGenerator<number>;
  /** All of them, in order. */
  leaves(): AsyncGenerator<Leaf>;
  /** Rows.db. */
  rows(): Promise<PagedSource>;
}

/** Footer: i64 position of the first and last key, i64 count of keys, i64 position of the root. */
async function openTrie(files: SSTableFiles, dataBytes: number, signal?: AbortSignal): Promise<Trie> {
  const source = await files.open(Component.Partitions);
  const name = source.name;
  if (source.byteLength < FOOTER_BYTES) throw corrupt(name, 0, 'shorter than its footer');
  const footerStart = source.byteLength - FOOTER_BYTES;
  const footer = new ByteReader(await source.read(footerStart, source.byteLength, signal));
  footer.skip(16);
  const root = decodeOf(name, footerStart, () => footer.readPosition());
  const pages = new PagedSource(source);

  let rows: Promise<PagedSource> | undefined;
  const openRows = (): Promise<PagedSource> => {
    if (!rows) {
      rows = files.open(Component.Rows).then((opened) => new PagedSource(opened));
      rows.catch(() => {
        rows = undefined;
      });
    }
    return rows;
  };

  const nodeAt = async (position: number): Promise<TrieNode> => {
    const { page, at } = await pages.at(position, signal);
    return decodeTrieNode(page, at, position, name);
  };

  const leafOf = async (position: number, node: TrieNode, prefix: readonly number[]): Promise<Leaf> => {
    const { page, at } = await pages.at(position, signal);
    const value = readPayload(page, at + node.payloadOffset, node.payloadFlags);
    const entry = value < 0 ? undefined : await readRowsEntry(await openRows(), value, signal);
    const dataPosition = entry?.dataPosition ?? -1 - value;
    if (dataPosition >= dataBytes) throw corrupt(name, position, `a partition at ${dataPosition} is behind the data`);
    return { prefix, dataPosition, key: entry?.key };
  };

  const firstLeaf = async (start: number, startPrefix: readonly number[]): Promise<Leaf> => {
    let position = start;
    let prefix = startPrefix;
    for (;;) {
      const node = await nodeAt(position);
      if (node.payloadFlags !== 0) return leafOf(position, node, prefix);
      const [child] = node.children;
      if (child === undefined) throw corrupt(name, position, 'a trie node has neither payload nor children');
      prefix = [...prefix, node.labels[0]!];
      position = child;
    }
  };

  const search = async (
    position: number,
    target: readonly number[],
    depth: number,
    inclusive: boolean,
  ): Promise<Leaf | undefined> => {
    const prefix = target.slice(0, depth);
    if (depth === TOKEN_PREFIX_BYTES) return inclusive ? firstLeaf(position, prefix) : undefined;
    const node = await nodeAt(position);
    if (node.payloadFlags !== 0 && inclusive) return leafOf(position, node, prefix);
    const label = target[depth]!;
    const exact = node.labels.indexOf(label);
    if (exact >= 0) {
      const found = await search(node.children[exact]!, target, depth + 1, inclusive);
      if (found) return found;
    }
    const next = node.labels.findIndex((each) => each > label);
    return next < 0 ? undefined : firstLeaf(node.children[next]!, [...prefix, node.labels[next]!]);
  };

  const lastLeaf = async (start: number, startPrefix: readonly number[]): Promise<Leaf> => {
    let position = start;
    let prefix = startPrefix;
    for (;;) {
      const node = await nodeAt(position);
      const child = node.children.at(-1);
      if (child === undefined) {
        if (node.payloadFlags !== 0) return leafOf(position, node, prefix);
        throw corrupt(name, position, 'a trie node has neither payload nor children');
      }
      prefix = [...prefix, node.labels.at(-1)!];
      position = child;
    }
  };

  const searchBefore = async (
    position: number,
    target: readonly number[],
    depth: number,
  ): Promise<Leaf | undefined> => {
    if (depth === TOKEN_PREFIX_BYTES) return undefined;
    const node = await nodeAt(position);
    // A leaf up here may be on either side of the token, and all below it is behind it.
    if (node.payloadFlags !== 0) return undefined;
    const label = target[depth]!;
    const exact = node.labels.indexOf(label);
    if (exact >= 0) {
      const found = await searchBefore(node.children[exact]!, target, depth + 1);
      if (found) return found;
    }
    const smaller = node.labels.findLastIndex((each) => each < label);
    if (smaller < 0) return undefined;
    return lastLeaf(node.children[smaller]!, [...target.slice(0, depth), node.labels[smaller]!]);
  };

  async function* rowsEntries(token: bigint, signal?: AbortSignal): AsyncGenerator<number> {
    const target = tokenPrefix(token);
    const stack = [{ position: root, depth: 0 }];
    for (let place = stack.pop(); place !== undefined; place = stack.pop()) {
      const { position, depth } = place;
      const { page, at } = await pages.at(position, signal);
      const node = decodeTrieNode(page, at, position, name);
      if (node.payloadFlags !== 0) {
        const value = readPayload(page, at + node.payloadOffset, node.payloadFlags);
        if (value >= 0) yield value;
      }
      const label = target[depth];
      // Behind the token stand the keys that share it: one, but for a collision.
      const wanted = label === undefined ? node.children : node.children.filter((_, i) => node.labels[i] === label);
      for (const child of wanted) stack.push({ position: child, depth: depth + 1 });
    }
  }

  return {
    name,
    find: (token, inclusive) => search(root, tokenPrefix(token), 0, inclusive),
    lastBefore: (token) => searchBefore(root, tokenPrefix(token), 0),
    rowsEntries,
    async *leaves() {
      const stack = [root];
      for (let position = stack.pop(); position !== undefined; position = stack.pop()) {
        const node = await nodeAt(position);
        if (node.payloadFlags !== 0) yield leafOf(position, node, []);
        stack.push(...node.children.toReversed());
      }
    },
    rows: openRows,
  };
}

/** Flags from 8 on: u8 hash, then a signed integer of flags − 7 bytes; below: of as many bytes as the flags say. */
function readPayload(page: Uint8Array, start: number, flags: number): number {
  const hasHash = flags >= 8;
  const from = hasHash ? start + 1 : start;
  const length = hasHash ? flags - 7 : flags;
  let value = (page[from]! << 24) >> 24;
  for (let index = 1; index < length; index++) value = value * 256 + page[from + index]!;
  return value;
}

function tokenPrefix(token: bigint): number[] {
  const bytes = [NEXT_COMPONENT];
  const flipped = BigInt.asUintN(64, token) ^ (1n << 63n);
  for (let shift = 56n; shift >= 0n; shift -= 8n) bytes.push(Number((flipped >> shift) & 0xffn));
  return bytes;
}

/** Compares as far as both go. */
function startsWith(bytes: readonly number[], prefix: readonly number[]): boolean {
  const length = Math.min(bytes.length, prefix.length);
  for (let index = 0; index < length; index++) if (bytes[index] !== prefix[index]) return false;
  return true;
}
