import { ByteReader } from '#core/bytes/byte-reader.ts';
import type { ByteSource } from '#core/ports.ts';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';
import type { TokenRange } from '#core/token/token-range.ts';
import { PagedSource } from './paged-source.ts';
import type { DataSpan, PartitionIndex } from './partition-index.ts';
import { RowTrie, readRowsEntry } from './row-trie.ts';
import { corrupt, decodeOf, type SSTableFiles } from './sstable-files.ts';
import { Component } from './sstable-name.ts';
import type { SSTableStats } from './statistics.ts';
import { decodeTrieNode, type TrieNode } from './trie-node.ts';

const FOOTER_BYTES = 24;
/** Longest head of an entry of Rows.db: a key and a vint. */
const ROWS_HEAD_BYTES = 2 + 0xffff + 9;
/** First byte of every key of the trie: the token follows. */
const NEXT_COMPONENT = 0x40;
const TOKEN_PREFIX_BYTES = 9;

/** A partition as the trie knows it: the shortest prefix that tells it from its neighbours. */
interface Leaf {
  readonly prefix: readonly number[];
  readonly dataPosition: number;
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
    if (range.start === MIN_TOKEN && range.end === MAX_TOKEN) return { start: 0, end: dataBytes };
    const trie = await open(signal);
    const first = range.start === MIN_TOKEN ? undefined : await trie.find(range.start, true, signal);
    if (range.start !== MIN_TOKEN && !first) return { start: dataBytes, end: dataBytes };
    const behind = range.end === MAX_TOKEN ? undefined : await trie.find(range.end, false, signal);
    const start = first?.dataPosition ?? 0;
    const end = behind?.dataPosition ?? dataBytes;
    if (end < start) throw corrupt(trie.name, 0, `partitions are out of order: ${start} is before ${end}`);
    const isFirst = first && ((_: Uint8Array, token: bigint) => startsWith(tokenPrefix(token), first.prefix));
    return { start, end, isFirst };
  }

  return {
    async tokenBounds() {
      if (!stats.firstKey || !stats.lastKey) throw corrupt(files.name, 0, 'Statistics.db names no first and last key');
      return { first: tokenOf(stats.firstKey), last: tokenOf(stats.lastKey) };
    },
    locate,
    async fractionOf(range, signal) {
      const { start, end } = await locate(range, signal);
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
  };
}

interface Trie {
  readonly name: string;
  /**
   * The first leaf that is not before `token`.
   * @param inclusive also one that equals it or may do so, since its prefix is short; else only what is surely behind
   */
  find(token: bigint, inclusive: boolean, signal?: AbortSignal): Promise<Leaf | undefined>;
  /** Positions in Rows.db of partitions that may have this token. */
  rowsEntries(token: bigint, signal?: AbortSignal): AsyncGenerator<number>;
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

  const nodeAt = async (position: number): Promise<TrieNode> => {
    const { page, at } = await pages.at(position, signal);
    return decodeTrieNode(page, at, position, name);
  };

  const leafOf = async (position: number, node: TrieNode, prefix: readonly number[]): Promise<Leaf> => {
    const { page, at } = await pages.at(position, signal);
    const value = readPayload(page, at + node.payloadOffset, node.payloadFlags);
    const dataPosition = value < 0 ? -1 - value : await dataPositionInRows(files, value, signal);
    if (dataPosition >= dataBytes) throw corrupt(name, position, `a partition at ${dataPosition} is behind the data`);
    return { prefix, dataPosition };
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

  let rows: Promise<PagedSource> | undefined;
  return {
    name,
    find: (token, inclusive) => search(root, tokenPrefix(token), 0, inclusive),
    rowsEntries,
    rows() {
      rows ??= files.open(Component.Rows).then((opened) => new PagedSource(opened));
      return rows;
    },
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

/** Rows.db: bytes16 key; vint data position; … */
async function dataPositionInRows(files: SSTableFiles, position: number, signal?: AbortSignal): Promise<number> {
  const rows: ByteSource = await files.open(Component.Rows);
  if (position >= rows.byteLength) throw corrupt(rows.name, position, 'the partition index points behind the end');
  const bytes = await rows.read(position, Math.min(position + ROWS_HEAD_BYTES, rows.byteLength), signal);
  return decodeOf(rows.name, position, () => {
    const reader = new ByteReader(bytes);
    reader.readBytes16();
    return reader.readVint();
  });
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
