import type { ClusterName } from '#core/model/cluster-name.ts';
import { ownBytes } from '../transport/own-bytes.ts';
import type { ReplyHandler, UpstreamConnection } from '../upstream/upstream-connection.ts';
import { ClientRequest, MAX_SHARED_BYTES } from './client-request.ts';
import type { PreparedEntry, PreparedStatements } from './prepared-statements.ts';
import type { RequestContext } from './request-context.ts';

/** Where the id of the statement begins in the frame of an EXECUTE without a payload. */
const ID_OFFSET = 11;
/** Consistency and flags behind the id, at the least. */
const MIN_PARAMETER_BYTES = 8;

const SLAB_BYTES = 64 * 1024;
const NO_BYTES: Buffer = Buffer.alloc(0);

/** The statement of the EXECUTE at [start, end), if that is short, has no flags, and the proxy knows the statement. */
export function usualEntry(
  prepared: PreparedStatements,
  bytes: Buffer,
  start: number,
  end: number,
): PreparedEntry | undefined {
  const length = end - start;
  if (length > MAX_SHARED_BYTES || length < ID_OFFSET || bytes[start + 1] !== 0) return undefined;
  const idEnd = start + ID_OFFSET + bytes.readUInt16BE(start + ID_OFFSET - 2);
  return idEnd + MIN_PARAMETER_BYTES > end ? undefined : prepared.findIn(bytes, start + ID_OFFSET, idEnd);
}

/** Where the id of its statement ends in the frame that begins at `start`. */
export function endOfId(entry: PreparedEntry, start: number): number {
  return start + ID_OFFSET + entry.id.length;
}

/** The cluster calls the statement by an id that fits where the proxy's own lies. */
export function isNamedAlike(entry: PreparedEntry, cluster: ClusterName): boolean {
  return entry.upstreamIds[cluster]?.length === entry.id.length;
}

/** Keeps small frames for as long as somebody refers to them. */
export class FrameStore {
  /** Where the last frame lies: [start, end). */
  slab = NO_BYTES;
  start = 0;
  end = 0;

  /** Copies a frame to where it can stay, with `room` free bytes behind it, which are used by moving `end`. */
  keep(bytes: Buffer, start: number, end: number, room: number): void {
    const length = end - start;
    if (this.end + length + room > this.slab.length) {
      this.slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.end = 0;
    }
    this.start = this.end;
    bytes.copy(this.slab, this.start, start, end);
    this.end = this.start + length;
  }
}

/** The frame of one prepared statement under way; when it is over, it is free to be another one. */
export abstract class UsualRequest implements ReplyHandler {
  /** undefined while it is free. */
  entry: PreparedEntry | undefined;
  connection: UpstreamConnection | undefined;
  /** Of the client. */
  streamId = 0;
  startedMs = 0;
  epoch = 0;
  /** In force when it came. */
  keyspace: string | undefined;
  #bytes = NO_BYTES;
  #start = 0;
  #end = 0;

  abstract onReply(frame: Buffer): void;
  abstract onLost(reason: 'timeout' | 'closed'): void;
  abstract onBytes(bytes: Buffer, start: number, end: number): boolean;

  get byteCount(): number {
    return this.#end - this.#start;
  }

  /** Takes the frame that was kept last. */
  hold({ slab, start, end }: FrameStore): void {
    this.#bytes = slab;
    this.#start = start;
    this.#end = end;
  }

  /** Leaves the memory that it shares with others. */
  detach(): void {
    if (this.#bytes.length === this.byteCount) return;
    this.#bytes = ownBytes(this.#bytes.subarray(this.#start, this.#end));
    this.#end -= this.#start;
    this.#start = 0;
  }

  /** Keeps nothing alive. */
  clear(): void {
    this.entry = undefined;
    this.connection = undefined;
    this.#bytes = NO_BYTES;
  }

  /** Sends it under the id by which a cluster knows the statement. False: nothing was sent. */
  sendTo(cluster: ClusterName, connection: UpstreamConnection, timeoutMs: number): boolean {
    const id = this.entry!.upstreamIds[cluster]!;
    const bytes = this.#bytes;
    const at = this.#start + ID_OFFSET;
    for (let index = 0; index < id.length; index++) bytes[at + index] = id[index]!;
    return connection.sendBytes(bytes, this.#start, this.#end, this, timeoutMs);
  }

  /** The same as any other request. */
  toRequest(context: RequestContext, version: number): ClientRequest {
    const entry = this.entry!;
    const frame = this.#bytes.subarray(this.#start, this.#end);
    const keyspace = entry.keyspace ?? this.keyspace;
    return new ClientRequest(frame, version, ID_OFFSET - 2, keyspace, entry.alone, context, this.startedMs);
  }
}
