import { crc32 } from 'node:zlib';
import { HEADER_BYTES } from '#core/cql/frame.ts';
import { ResultKind } from '#core/cql/protocol.ts';
import type { Edit } from '#core/cql/request-edit.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';

/**
 * A paging state belongs to the cluster that made it, so the proxy puts that cluster's name behind it:
 *
 *   <state><crc32 of the state [int]><0xa7><cluster [byte]>
 *
 * The checksum keeps a state that merely ends like that from being cut. A state without a mark was made before the proxy
 * was there, when the application knew the origin only; it is passed on as it is.
 */
const MARK = 0xa7;
const SUFFIX_BYTES = 6;
const CODES: Readonly<Record<ClusterName, number>> = { origin: 0x01, target: 0x02 };
const HAS_MORE_PAGES = 0x02;

/** Whose page this is, and how long the state is without the mark; undefined: no page is asked for. */
export function readPagingMark(state: Buffer): { cluster: ClusterName; stateBytes: number } | undefined {
  if (state.length === 0) return undefined;
  const stateBytes = state.length - SUFFIX_BYTES;
  const unmarked = { cluster: 'origin', stateBytes: state.length } as const;
  if (stateBytes < 0 || state[stateBytes + 4] !== MARK) return unmarked;
  const code = state[stateBytes + 5];
  if (code !== CODES.origin && code !== CODES.target) return unmarked;
  if (state.readUInt32BE(stateBytes) !== crc32(state.subarray(0, stateBytes))) return unmarked;
  return { cluster: code === CODES.origin ? 'origin' : 'target', stateBytes };
}

/** What takes the mark off a state that lies in a request behind its length; undefined: it has none. */
export function unmarkedPage(
  { stateBytes }: { readonly stateBytes: number },
  state: Buffer,
  lengthOffset: number,
): Edit | undefined {
  if (stateBytes === state.length) return undefined;
  const bytes = Buffer.allocUnsafe(4 + stateBytes);
  bytes.writeInt32BE(stateBytes, 0);
  state.copy(bytes, 4, 0, stateBytes);
  return { start: lengthOffset, end: lengthOffset + 4 + state.length, bytes };
}

/** Whether a RESULT frame holds rows and announces more of them; `offset` is where its message begins in the body. */
export function hasMorePages(frame: Buffer, offset: number): boolean {
  return hasMorePagesAt(frame, HEADER_BYTES + offset, frame.length);
}

/** The same of the message at [start, end). */
export function hasMorePagesAt(bytes: Buffer, start: number, end: number): boolean {
  // <kind [int]><flags [int]>…
  return (
    end >= start + 16 && bytes.readInt32BE(start) === ResultKind.ROWS && (bytes[start + 7]! & HAS_MORE_PAGES) !== 0
  );
}

/** The frame of such a RESULT with the mark put behind its paging state. */
export function markPage(frame: Buffer, offset: number, cluster: ClusterName): Buffer {
  // <kind [int]><flags [int]><columns_count [int]><paging_state [bytes]>…
  const lengthAt = HEADER_BYTES + offset + 12;
  const stateEnd = lengthAt + 4 + frame.readInt32BE(lengthAt);
  const marked = Buffer.allocUnsafe(frame.length + SUFFIX_BYTES);
  frame.copy(marked, 0, 0, stateEnd);
  marked.writeUInt32BE(crc32(frame.subarray(lengthAt + 4, stateEnd)), stateEnd);
  marked[stateEnd + 4] = MARK;
  marked[stateEnd + 5] = CODES[cluster];
  frame.copy(marked, stateEnd + SUFFIX_BYTES, stateEnd);
  marked.writeInt32BE(frame.readInt32BE(5) + SUFFIX_BYTES, 5);
  marked.writeInt32BE(frame.readInt32BE(lengthAt) + SUFFIX_BYTES, lengthAt);
  return marked;
}
