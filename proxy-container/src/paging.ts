import { HEADER_BYTES } from '#core/cql/frame.ts';
import { ResultKind } from '#core/cql/protocol.ts';
import type { ClusterName } from './upstream/cluster.ts';

/**
 * A paging state belongs to the cluster that made it, so the proxy puts that cluster's name behind it. A state without
 * this mark (made before the proxy was there) is passed on as it is.
 */
const MARK = 0xa7;
const SUFFIX_BYTES = 2;
const CODES: Readonly<Record<ClusterName, number>> = { origin: 0x01, target: 0x02 };
const HAS_MORE_PAGES = 0x02;

/** Whose page this is, and how long the state is without the mark. */
export function readPagingMark(state: Buffer): { cluster: ClusterName; stateBytes: number } | undefined {
  const length = state.length - SUFFIX_BYTES;
  if (length < 0 || state[length] !== MARK) return undefined;
  const code = state[length + 1];
  if (code !== CODES.origin && code !== CODES.target) return undefined;
  return { cluster: code === CODES.origin ? 'origin' : 'target', stateBytes: length };
}

/** Whether a RESULT frame holds rows and announces more of them; `offset` is where its message begins in the body. */
export function hasMorePages(frame: Buffer, offset: number): boolean {
  const start = HEADER_BYTES + offset;
  return (
    frame.length >= start + 16 &&
    frame.readInt32BE(start) === ResultKind.ROWS &&
    (frame[start + 7]! & HAS_MORE_PAGES) !== 0
  );
}

/** The frame of such a RESULT with the mark put behind its paging state. */
export function markPage(frame: Buffer, offset: number, cluster: ClusterName): Buffer {
  // <kind [int]><flags [int]><columns_count [int]><paging_state [bytes]>…
  const lengthAt = HEADER_BYTES + offset + 12;
  const stateEnd = lengthAt + 4 + frame.readInt32BE(lengthAt);
  const marked = Buffer.allocUnsafe(frame.length + SUFFIX_BYTES);
  frame.copy(marked, 0, 0, stateEnd);
  marked[stateEnd] = MARK;
  marked[stateEnd + 1] = CODES[cluster];
  frame.copy(marked, stateEnd + SUFFIX_BYTES, stateEnd);
  marked.writeInt32BE(frame.readInt32BE(5) + SUFFIX_BYTES, 5);
  marked.writeInt32BE(frame.readInt32BE(lengthAt) + SUFFIX_BYTES, lengthAt);
  return marked;
}
