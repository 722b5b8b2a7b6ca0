import { faultBesideValues } from '#core/cql/request-check.ts';
import { executeFlagsOffset, HAS_TIMESTAMP, timestampGap } from '#core/cql/request-layout.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { LATE_TTL_MS } from '#core/statement/may-expire.ts';
import type { Counters } from '../counters/counters.ts';
import type { WriteNotes } from '../in-flight/write-notes.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ReadingClient } from '../reads/usual-read.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { tableOfPrepared } from '../requests/count-tables.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { RequestContext } from '../requests/request-context.ts';
import { type Route, routeOf } from '../requests/route.ts';
import { constantExclusion } from '../requests/tenant.ts';
import { endOfId, FrameStore, isNamedAlike, usualEntry } from '../requests/usual-request.ts';
import type { Flusher } from '../transport/frame-writer.ts';
import { MAX_BUFFERED_BYTES, type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';
import type { ReplyHandler } from '../upstream/upstream-connection.ts';
import type { Answer, DualWrite } from './dual-write.ts';
import { NOW_BYTES, pinNow, pinTimestamp, TIMESTAMP_BYTES } from './pin-timestamp.ts';
import type { ShadowWriter } from './shadow-writer.ts';
import { UsualWrite } from './write-in-flight.ts';

/** A client as its usual writes see it. */
export interface UsualClient extends ReadingClient {
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
  readonly notes: WriteNotes;
  readonly requestTimeoutMs: Readonly<Record<ClusterName, number>>;
  filter(): Filter;
}

/** A write that waits for longer gets memory of its own; this often at most they are looked for. */
const LONG_MS = 1000;
/** Writes that are kept to be used again; about 300 bytes each. */
const MAX_FREE = 8192;

/**
 * The writes that are nearly all: one prepared statement whose text and filter leave nothing open, for a cluster that is
 * there, with an asynchronous shadow or none. They are sent and answered without a view or a closure for each. Whatever
 * else comes up (an error, a time-out, a shadow without room) makes a `ClientRequest` of the write, which then goes the way
 * of all others from there on. So every rule about writes belongs in `DualWrite` and `ShadowWriter`; one that also concerns
 * a write that succeeds on both clusters must be kept here as well, or make the write unusual in `#routeOf`.
 */
export class UsualWrites {
  readonly #options: UsualWritesOptions;
  /** What lives as long as a write under way is expensive to collect: none is made where one is free. */
  readonly #free: UsualWrite[] = [];
  /** Those that are free, and those under way. */
  readonly #known = new Set<UsualWrite>();
  #detachedMs = 0;
  readonly #frames = new FrameStore();

  constructor(options: UsualWritesOptions) {
    this.#options = options;
  }

  /** Takes the EXECUTE at [start, end) of `bytes`. False: it is not of the usual kind, and nothing was done. */
  take(client: UsualClient, bytes: Buffer, start: number, end: number): boolean {
    const { context, counters, flusher, notes } = this.#options;
    const entry = usualEntry(context.prepared, bytes, start, end);
    const route = entry && this.#routeOf(entry);
    if (route === undefined) return false;
    const { version } = client;
    const flagsOffset = executeFlagsOffset(bytes, endOfId(entry!, start), version);
    const gap = timestampGap(bytes, flagsOffset, end, version);
    if (gap < 0 || faultBesideValues(bytes, flagsOffset, end, gap === HAS_TIMESTAMP)) return false;
    const connection = client.upstreams.pool(route.primary).pick();
    if (connection === undefined || connection.bufferedBytes > MAX_BUFFERED_BYTES) return false;

    const isPinned = gap !== HAS_TIMESTAMP;
    const frames = this.#frames;
    frames.keep(bytes, start, end, TIMESTAMP_BYTES + NOW_BYTES);
    const moved = frames.start - start;
    if (isPinned) {
      const micros = context.timestamps.next();
      pinTimestamp(frames.slab, frames.start, frames.end, flagsOffset + moved, gap + moved, version, micros);
      frames.end += TIMESTAMP_BYTES;
    }
    const { keyspace } = client.upstreams;
    const mayExpire = route.shadow !== undefined && context.expiry.ofEntry(entry!, keyspace);
    if (mayExpire && version >= 5) {
      pinNow(frames.slab, frames.start, frames.end, flagsOffset + moved, frames.end, context.timestamps.nowInSeconds());
      frames.end += NOW_BYTES;
    }
    const write = this.#free.pop() ?? this.#newWrite();
    write.client = client;
    write.entry = entry;
    write.route = route;
    write.connection = connection;
    write.streamId = (bytes[start + 2]! << 8) | bytes[start + 3]!;
    write.startedMs = flusher.now();
    write.lateAfterMs = mayExpire && version < 5 ? write.startedMs + LATE_TTL_MS : Number.POSITIVE_INFINITY;
    write.keyspace = keyspace;
    write.hold(frames);
    if (!write.sendTo(route.primary, connection, this.#options.requestTimeoutMs[route.primary])) {
      this.#release(write);
      return false;
    }
    if (route.shadow !== undefined) {
      write.sequence = notes.usual(entry!, route.shadow, write.keyspace, bytes, flagsOffset, version);
    }
    write.epoch = client.begin();
    counters.writes++;
    counters.inFlightWrites++;
    if (isPinned) counters.pinnedTimestamps++;
    return true;
  }

  /** The primary has it. */
  applied(write: UsualWrite, bytes: Buffer, start: number, end: number): void {
    const { counters, flusher, shadows } = this.#options;
    const { client, route, entry, epoch } = write;
    const nowMs = flusher.now();
    const table = tableOfPrepared(counters, entry!, write.keyspace);
    table.writes++;
    counters.inFlightWrites--;
    counters.latencies.write[route.primary].observe(nowMs - write.startedMs);
    client!.send(bytes, start, end, write.streamId);
    this.#detachOld(nowMs);
    if (route.shadow === undefined) this.#release(write);
    else {
      // The slot of the reply is still taken, and so is what was begun: the copy is counted before the request is over.
      const { upstreams } = client!;
      const connection = upstreams.forShadow.pool(route.shadow).pick();
      const hasRoom = connection && connection.bufferedBytes <= MAX_BUFFERED_BYTES && shadows.hasRoom(write.byteCount);
      write.connection = connection;
      if (!hasRoom || !write.sendCopy(connection, shadows.timeoutMs)) {
        this.#known.delete(write);
        shadows.send(upstreams, route.shadow, write.toRequest(this.#options.context, client!.version), epoch);
      } else {
        shadows.begin(table, write.byteCount, nowMs, epoch, write.link);
        write.isCopying = true;
      }
    }
    client!.finish(epoch);
  }

  /** The shadow has it too. */
  copied(write: UsualWrite): void {
    const { counters, flusher, gate, notes, shadows } = this.#options;
    const { epoch } = write;
    const shadow = write.route.shadow!;
    const nowMs = flusher.now();
    if (nowMs > write.lateAfterMs) {
      shadows.endLate(write.toRequest(this.#options.context, write.client!.version), shadow);
    } else notes.done(write.sequence);
    shadows.end(write.link, shadow, write.byteCount, nowMs);
    counters.shadowSucceeded++;
    this.#release(write);
    gate.leave(epoch);
  }

  /** Goes on with the write as with any other, now that it is unusual. It is not used again. */
  goOn(write: UsualWrite): ReplyHandler {
    const { context, dualWrite, gate, requestTimeoutMs, shadows } = this.#options;
    const { route, epoch, link, isCopying, byteCount } = write;
    const client = write.client!;
    const { upstreams } = client;
    this.#known.delete(write);
    const request = write.toRequest(context, client.version);
    const cluster = isCopying ? route.shadow! : route.primary;
    const timeoutMs = isCopying ? shadows.timeoutMs : requestTimeoutMs[cluster];
    let done: (outcome: Outcome) => void;
    if (isCopying) {
      done = (outcome) => {
        shadows.end(link, cluster, byteCount, performance.now());
        try {
          shadows.settle(request, cluster, epoch, outcome);
        } finally {
          gate.leave(epoch);
        }
      };
    } else {
      const answer = client.answer(request, cluster, write.startedMs, write.streamId, epoch);
      done = (outcome) => dualWrite.settlePrimary(upstreams, request, route, epoch, outcome, answer);
    }
    const from = isCopying ? upstreams.forShadow : upstreams;
    const call = new UpstreamCall(from, cluster, request, { timeoutMs, failFast: isCopying }, done);
    call.resume(write.connection!);
    return call;
  }

  #newWrite(): UsualWrite {
    const write = new UsualWrite(this);
    this.#known.add(write);
    return write;
  }

  /** Most of a slab is over soon; a few writes that a cluster does not answer must not keep all of it. */
  #detachOld(nowMs: number): void {
    if (nowMs - this.#detachedMs < LONG_MS) return;
    this.#detachedMs = nowMs;
    for (const write of this.#known) if (write.entry && nowMs - write.startedMs > LONG_MS) write.detach();
  }

  /** The write is over, and may be another one. */
  #release(write: UsualWrite): void {
    write.clear();
    if (this.#free.length < MAX_FREE) this.#free.push(write);
    else this.#known.delete(write);
  }

  /** Where the statement goes; undefined where the general way must decide. */
  #routeOf(entry: PreparedEntry): Route | undefined {
    const { statement } = entry;
    if (entry.requestClass !== 'write' || statement.kind === 'batch') return undefined;
    // Counters, and lists, whose copies keep their order.
    if (statement.operations.length > 0) return undefined;
    if (statement.nonDeterministic.length + statement.unknownFunctions.length > 0) return undefined;
    if (entry.mayWriteList !== false) return undefined;
    if (this.#options.context.targetConsistency.size > 0) return undefined;
    const filter = this.#options.filter();
    if (!filter.isEmpty && constantExclusion(filter, entry) !== 'migrate') return undefined;
    const route = routeOf(this.#options.gate.phase, false);
    if (route === undefined || route.isSync || !isNamedAlike(entry, route.primary)) return undefined;
    return route.shadow === undefined || isNamedAlike(entry, route.shadow) ? route : undefined;
  }
}
