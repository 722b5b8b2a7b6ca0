import { opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { faultInParameters } from '#core/cql/request-check.ts';
import { executeFlagsOffset, HAS_TIMESTAMP, timestampGap } from '#core/cql/request-layout.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { Counters } from '../counters/counters.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import { ClientRequest, MAX_SHARED_BYTES, type RequestContext } from '../requests/client-request.ts';
import { tableOfPrepared } from '../requests/count-tables.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import { type Route, routeOf } from '../requests/route.ts';
import { constantExclusion } from '../requests/tenant.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import type { Flusher } from '../transport/frame-writer.ts';
import type { ClusterName } from '../upstream/cluster.ts';
import { MAX_BUFFERED_BYTES, type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';
import type { LostReason, ReplyHandler, UpstreamConnection } from '../upstream/upstream-connection.ts';
import type { Answer, DualWrite } from './dual-write.ts';
import { isOrdered } from './list-order.ts';
import { pinTimestamp, TIMESTAMP_BYTES } from './pin-timestamp.ts';
import type { ShadowInFlight } from './shadow-queue.ts';
import type { ShadowWriter } from './shadow-writer.ts';

/** A client as its usual writes see it. */
export interface UsualClient {
  readonly version: number;
  readonly upstreams: SessionUpstreams;
  /** Counts a request that begins; returns the epoch that routes it. */
  begin(): number;
  send(bytes: Buffer, start: number, end: number, streamId: number): void;
  finish(epoch: number): void;
  /** What tells the client the outcome of what has become an unusual write, and finishes it. */
  answer(request: ClientRequest, primary: ClusterName, startedMs: number, streamId: number, epoch: number): Answer;
}

export interface UsualWritesOptions {
  readonly context: RequestContext;
  readonly gate: PhaseGate;
  readonly dualWrite: DualWrite;
  readonly shadows: ShadowWriter;
  readonly counters: Counters;
  readonly flusher: Flusher;
  readonly requestTimeoutMs: Readonly<Record<ClusterName, number>>;
  filter(): Filter;
}

const SLAB_BYTES = 64 * 1024;
const ID_OFFSET = 11;

/**
 * The writes that are nearly all: one prepared statement whose text and filter leave nothing open, for a cluster that is
 * there, with an asynchronous shadow or none. They are sent and answered without a view or a closure for each. Whatever
 * else comes up (an error, a time-out, a shadow without room) makes a `ClientRequest` of the write, which then goes the way
 * of all others from there on. So every rule about writes belongs in `DualWrite` and `ShadowWriter`; one that also concerns
 * a write that succeeds on both clusters must be kept here as well, or make the write unusual in `#routeOf`.
 */
export class UsualWrites {
  readonly #options: UsualWritesOptions;
  #slab = Buffer.alloc(0);
  #used = 0;

  constructor(options: UsualWritesOptions) {
    this.#options = options;
  }

  /** Takes the EXECUTE at [start, end) of `bytes`. False: it is not of the usual kind, and nothing was done. */
  take(client: UsualClient, bytes: Buffer, start: number, end: number): boolean {
    const { context, counters, flusher } = this.#options;
    const length = end - start;
    if (length > MAX_SHARED_BYTES || length < ID_OFFSET || bytes[start + 1] !== 0) return false;
    const idEnd = start + ID_OFFSET + bytes.readUInt16BE(start + ID_OFFSET - 2);
    if (idEnd + 8 > end) return false;
    const entry = context.prepared.findIn(bytes, start + ID_OFFSET, idEnd);
    const route = entry && this.#routeOf(entry);
    if (route === undefined) return false;
    const { version } = client;
    const flagsOffset = executeFlagsOffset(bytes, idEnd, version);
    const gap = timestampGap(bytes, flagsOffset, end, version);
    if (gap < 0 || faultInParameters(bytes, flagsOffset, end, version) !== undefined) return false;
    const connection = client.upstreams.pool(route.primary).pick();
    if (connection === undefined || connection.bufferedBytes > MAX_BUFFERED_BYTES) return false;

    const isPinned = gap !== HAS_TIMESTAMP;
    const own = this.#copy(bytes, start, end);
    const slab = this.#slab;
    if (isPinned) {
      const moved = own - start;
      const micros = context.timestamps.next();
      pinTimestamp(slab, own, own + length, flagsOffset + moved, gap + moved, version, micros);
      this.#used += TIMESTAMP_BYTES;
    }
    const streamId = (bytes[start + 2]! << 8) | bytes[start + 3]!;
    const write = new UsualWrite(
      this,
      client,
      entry!,
      route,
      connection,
      slab,
      own,
      this.#used,
      streamId,
      flusher.now(),
    );
    write.nameFor(route.primary);
    if (!connection.sendBytes(slab, own, this.#used, write, this.#options.requestTimeoutMs[route.primary]))
      return false;
    write.epoch = client.begin();
    counters.writes++;
    counters.inFlightWrites++;
    if (isPinned) counters.pinnedTimestamps++;
    return true;
  }

  /** The primary has it. */
  applied(write: UsualWrite, bytes: Buffer, start: number, end: number): void {
    const { counters, flusher, shadows } = this.#options;
    const { client, route, epoch } = write;
    const nowMs = flusher.now();
    const table = tableOfPrepared(counters, write.entry, write.keyspace);
    table.writes++;
    counters.inFlightWrites--;
    counters.latencies.write[route.primary].observe(nowMs - write.startedMs);
    client.send(bytes, start, end, write.streamId);
    if (route.shadow !== undefined) {
      // The slot of the reply is still taken, and so is what was begun: the copy is counted before the request is over.
      const connection = client.upstreams.forShadow.pool(route.shadow).pick();
      const hasRoom = connection && connection.bufferedBytes <= MAX_BUFFERED_BYTES && shadows.hasRoom(write.byteCount);
      write.connection = connection;
      if (!hasRoom || !write.sendCopy(connection, shadows.timeoutMs)) {
        shadows.send(client.upstreams, route.shadow, write.toRequest(this.#options.context), epoch);
      } else write.link = shadows.begin(table, write.byteCount, nowMs, epoch);
    }
    client.finish(epoch);
  }

  /** The shadow has it too. */
  copied(write: UsualWrite): void {
    const { counters, flusher, gate, shadows } = this.#options;
    shadows.end(write.link!, write.route.shadow!, write.byteCount, flusher.now());
    counters.shadowSucceeded++;
    gate.leave(write.epoch);
  }

  /** Goes on with the write as with any other, now that it is unusual. */
  goOn(write: UsualWrite): ReplyHandler {
    const { context, dualWrite, gate, requestTimeoutMs, shadows } = this.#options;
    const { client, route, epoch, link } = write;
    const { upstreams } = client;
    const request = write.toRequest(context);
    const cluster = link === undefined ? route.primary : route.shadow!;
    const timeoutMs = link === undefined ? requestTimeoutMs[cluster] : shadows.timeoutMs;
    let done: (outcome: Outcome) => void;
    if (link === undefined) {
      const answer = client.answer(request, cluster, write.startedMs, write.streamId, epoch);
      done = (outcome) => dualWrite.settlePrimary(upstreams, request, route, epoch, outcome, answer);
    } else {
      done = (outcome) => {
        shadows.end(link, cluster, write.byteCount, performance.now());
        try {
          shadows.settle(request, cluster, epoch, outcome);
        } finally {
          gate.leave(epoch);
        }
      };
    }
    const from = link === undefined ? upstreams : upstreams.forShadow;
    const call = new UpstreamCall(from, cluster, request, { timeoutMs, failFast: link !== undefined }, done);
    call.resume(write.connection!);
    return call;
  }

  /** Where the statement goes; undefined where the general way must decide. */
  #routeOf(entry: PreparedEntry): Route | undefined {
    const { statement } = entry;
    if (entry.requestClass !== 'write' || statement.kind === 'batch') return undefined;
    // Counters, and lists, whose copies keep their order.
    if (statement.operations.length > 0) return undefined;
    if (statement.nonDeterministic.length + statement.unknownFunctions.length > 0) return undefined;
    // Appends to a list keep their order.
    if (isOrdered(statement)) return undefined;
    if (this.#options.context.targetConsistency.size > 0) return undefined;
    const filter = this.#options.filter();
    if (!filter.isEmpty && constantExclusion(filter, entry) !== 'migrate') return undefined;
    const route = routeOf(this.#options.gate.phase, false);
    if (route === undefined || route.isSync || !isNamedAlike(entry, route.primary)) return undefined;
    return route.shadow === undefined || isNamedAlike(entry, route.shadow) ? route : undefined;
  }

  /** Copies a frame to where it can stay; room for a timestamp is behind it. Returns where it begins. */
  #copy(bytes: Buffer, start: number, end: number): number {
    const length = end - start;
    if (this.#used + length + TIMESTAMP_BYTES > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const own = this.#used;
    bytes.copy(this.#slab, own, start, end);
    this.#used = own + length;
    return own;
  }
}

/** The cluster calls the statement by an id that fits where the proxy's own lies. */
function isNamedAlike(entry: PreparedEntry, cluster: ClusterName): boolean {
  return entry.upstreamIds[cluster]?.length === entry.id.length;
}

/** One such write: first under way to the primary, then to the shadow. */
class UsualWrite implements ReplyHandler {
  readonly client: UsualClient;
  readonly entry: PreparedEntry;
  readonly route: Route;
  readonly streamId: number;
  readonly startedMs: number;
  /** The keyspace in force when it came. */
  readonly keyspace: string | undefined;
  connection: UpstreamConnection | undefined;
  epoch = 0;
  /** Set while the copy is under way. */
  link: ShadowInFlight | undefined;
  readonly #writes: UsualWrites;
  readonly #bytes: Buffer;
  readonly #start: number;
  readonly #end: number;

  constructor(
    writes: UsualWrites,
    client: UsualClient,
    entry: PreparedEntry,
    route: Route,
    connection: UpstreamConnection,
    bytes: Buffer,
    start: number,
    end: number,
    streamId: number,
    startedMs: number,
  ) {
    this.#writes = writes;
    this.client = client;
    this.entry = entry;
    this.route = route;
    this.connection = connection;
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
    this.streamId = streamId;
    this.startedMs = startedMs;
    this.keyspace = client.upstreams.keyspace;
  }

  get byteCount(): number {
    return this.#end - this.#start;
  }

  /** Writes the id by which a cluster knows the statement. */
  nameFor(cluster: ClusterName): void {
    const id = this.entry.upstreamIds[cluster]!;
    const at = this.#start + ID_OFFSET;
    for (let index = 0; index < id.length; index++) this.#bytes[at + index] = id[index]!;
  }

  sendCopy(connection: UpstreamConnection, timeoutMs: number): boolean {
    const shadow = this.route.shadow!;
    // Prepared anew meanwhile, it may be called otherwise.
    if (!isNamedAlike(this.entry, shadow)) return false;
    this.nameFor(shadow);
    return connection.sendBytes(this.#bytes, this.#start, this.#end, this, timeoutMs);
  }

  onBytes(bytes: Buffer, start: number, end: number): boolean {
    if (bytes[start + 4] !== Opcode.RESULT) return false;
    if (this.link === undefined) this.#writes.applied(this, bytes, start, end);
    else this.#writes.copied(this);
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
    const { client, entry } = this;
    const frame = this.#bytes.subarray(this.#start, this.#end);
    const keyspace = entry.keyspace ?? this.keyspace;
    const takenAtMs = performance.timeOrigin + this.startedMs;
    return new ClientRequest(frame, client.version, ID_OFFSET - 2, keyspace, entry.alone, context, takenAtMs);
  }
}
