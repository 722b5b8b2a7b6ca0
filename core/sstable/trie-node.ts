import { corrupt } from './sstable-files.ts';

/** One node of an on-disk trie. */
export interface TrieNode {
  /** Ascending. */
  readonly labels: readonly number[];
  /** Positions of the children, one for each label. */
  readonly children: readonly number[];
  /** 0: no payload. */
  readonly payloadFlags: number;
  /** Where the payload starts, relative to the node. */
  readonly payloadOffset: number;
}

/** Bytes of a child's distance, by node type; 12 bits are written as 1.5. */
const SPARSE_WIDTH: Readonly<Record<number, number>> = { 5: 1, 6: 1.5, 7: 2, 8: 3, 9: 5 };
const DENSE_WIDTH: Readonly<Record<number, number>> = { 10: 1.5, 11: 2, 12: 3, 13: 4, 14: 5, 15: 8 };

/**
 * Decodes the node at `at` of `page`, which is at `position` of the file. High nibble of the first byte: type; low
 * nibble: payload flags, or for types 1 and 3 bits of the distance. Children are at `position − distance`.
 * ```
 * 0 payload only        1 single, 4 bits: u8 label         2 single: u8 label, u8 distance
 * 3 single, 12 bits: u16 & 0xfff, u8 label at +2           4 single: u8 label, u16 distance
 * 5 to 9 sparse: u8 n, n labels, n distances               10 to 15 dense: u8 first label, u8 n − 1, n distances (0: none)
 * ```
 *
 * @see org.apache.cassandra.io.tries.TrieNode
 */
export function decodeTrieNode(page: Uint8Array, at: number, position: number, file: string): TrieNode {
  const first = page[at];
  if (first === undefined) throw corrupt(file, position, 'a trie node is outside of the file');
  const type = first >> 4;
  const flags = first & 0x0f;
  const single = (label: number, distance: number, size: number, payloadFlags: number): TrieNode => ({
    labels: [label],
    children: [childAt(position, distance, file)],
    payloadFlags,
    payloadOffset: size,
  });
  switch (type) {
    case 0:
      return { labels: [], children: [], payloadFlags: flags, payloadOffset: 1 };
    case 1:
      return single(page[at + 1]!, flags, 2, 0);
    case 2:
      return single(page[at + 1]!, page[at + 2]!, 3, flags);
    case 3:
      return single(page[at + 2]!, (flags << 8) | page[at + 1]!, 3, 0);
    case 4:
      return single(page[at + 1]!, (page[at + 2]! << 8) | page[at + 3]!, 4, flags);
    default:
      return type <= 9
        ? sparseNode(page, at, position, SPARSE_WIDTH[type]!, flags, file)
        : denseNode(page, at, position, DENSE_WIDTH[type]!, flags, file);
  }
}

function sparseNode(
  page: Uint8Array,
  at: number,
  position: number,
  width: number,
  flags: number,
  file: string,
): TrieNode {
  const count = page[at + 1]!;
  const distances = at + 2 + count;
  return {
    labels: Array.from(page.subarray(at + 2, distances)),
    children: Array.from({ length: count }, (_, index) =>
      childAt(position, readDistance(page, distances, index, width), file),
    ),
    payloadFlags: flags,
    payloadOffset: 2 + count + Math.ceil(count * width),
  };
}

function denseNode(
  page: Uint8Array,
  at: number,
  position: number,
  width: number,
  flags: number,
  file: string,
): TrieNode {
  const firstLabel = page[at + 1]!;
  const count = page[at + 2]! + 1;
  const labels: number[] = [];
  const children: number[] = [];
  for (let index = 0; index < count; index++) {
    const distance = readDistance(page, at + 3, index, width);
    if (distance === 0) continue;
    labels.push(firstLabel + index);
    children.push(childAt(position, distance, file));
  }
  return { labels, children, payloadFlags: flags, payloadOffset: 3 + Math.ceil(count * width) };
}

function readDistance(page: Uint8Array, start: number, index: number, width: number): number {
  if (width === 1.5) {
    // Two of 12 bits in three bytes.
    const at = start + Math.floor(index * 1.5);
    return index % 2 === 0 ? (page[at]! << 4) | (page[at + 1]! >> 4) : ((page[at]! & 0x0f) << 8) | page[at + 1]!;
  }
  let distance = 0;
  for (let byte = 0; byte < width; byte++) distance = distance * 256 + page[start + index * width + byte]!;
  return distance;
}

function childAt(position: number, distance: number, file: string): number {
  const child = position - distance;
  // Children are written before their parents: anything else would lead in circles.
  if (!(child >= 0 && child < position)) throw corrupt(file, position, `a trie node has a child at ${child}`);
  return child;
}
