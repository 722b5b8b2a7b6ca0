import { opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { ClientRequest, type RequestContext } from '../requests/client-request.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { Route } from '../requests/route.ts';
import type { ClusterName } from '../upstream/cluster.ts';
import type { LostReason, ReplyHandler, UpstreamConnection } from '../upstream/upstream-connection.ts';
import { newLink } from './shadow-queue.ts';
import type { UsualClient, UsualWrites } from './usual-write.ts';

/** Where the id of the statement begins in the frame of an EXECUTE without a payload. */
export const ID_OFFSET = 11;

const NO_BYTES = Buffer.alloc(0);
const NO_ROUTE: Route = { primary: 'origin', shadow: undefined, isSync: false };

/** The cluster calls the statement by an id that fits where the proxy's own lies. */
export function isNamedAlike(entry: PreparedEntry, cluster: ClusterName): boolean {
  return entry.upstreamIds[cluster]?.length === entry.id.length;
}

/** A usual write: first under way to the primary, then to the shadow; then it is free to be another one. */
export class UsualWrite implements ReplyHandler {
  /** undefined while it is free. */
  client: UsualClient | undefined;
  entry: PreparedEntry | undefined;
  route = NO_ROUTE;
  connection: UpstreamConnection | undefined;
  streamId = 0;
  startedMs = 0;
  /** The keyspace in force when it came. */
  keyspace: string | undefined;
  epoch = 0;
  /** The copy is under way. */
  isCopying = false;
  readonly link = newLink();
  readonly #writes: UsualWrites;
  #bytes: Buffer = NO_BYTES;
  #start = 0;
  #end = 0;

  constructor(writes: UsualWrites) {
    this.#writes = writes;
  }

  get byteCount(): number {
    return this.#end - this.#start;
  }

  /** Takes the frame at [start, end), which nobody else writes to. */
  hold(bytes: Buffer, start: number, end: number): void {
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
  }

  /** Keeps nothing alive. */
  clear(): void {
    this.client = undefined;
    this.entry = undefined;
    this.connection = undefined;
    this.isCopying = false;
    this.#bytes = NO_BYTES;
  }

  /** Writes the id by which a cluster knows the statement. */
  nameFor(cluster: ClusterName): void {
    const id = this.entry!.upstreamIds[cluster]!;
    const bytes = this.#bytes;
    const at = this.#start + ID_OFFSET;
    for (let index = 0; index < id.length; index++) bytes[at + index] = id[index]!;
  }

  send(connection: UpstreamConnection, timeoutMs: number): boolean {
    return connection.sendBytes(this.#bytes, this.#start, this.#end, this, timeoutMs);
  }

  sendCopy(connection: UpstreamConnection, timeoutMs: number): boolean {
    const shadow = this.route.shadow!;
    // Prepared anew meanwhile, it may be called otherwise.
    if (!isNamedAlike(this.entry!, shadow)) return false;
    this.nameFor(shadow);
    return this.send(connection, timeoutMs);
  }

  onBytes(bytes: Buffer, start: number, end: number): boolean {
    if (bytes[start + 4] !== Opcode.RESULT) return false;
    if (this.isCopying) this.#writes.copied(this);
    else this.#writes.applied(this, bytes, start, end);
    return true;
  }

  onReply(frame: Buffer): void {
    if (opcodeOf(frame) === Opcode.RESULT) this.onBytes(frame, 0, frame.length);
    else this.#writes.goOn(this).onReply(frame);
  }

  onLost(reason: LostReason): void {
    this.#writes.goOn(this).onLost(reason);
  }

  /** The same write as any other request. */
  toRequest(context: RequestContext): ClientRequest {
    const client = this.client!;
    const entry = this.entry!;
    const frame = this.#bytes.subarray(this.#start, this.#end);
    const keyspace = entry.keyspace ?? this.keyspace;
    const takenAtMs = performance.timeOrigin + this.startedMs;
    return new ClientRequest(frame, client.version, ID_OFFSET - 2, keyspace, entry.alone, context, takenAtMs);
  }
}
