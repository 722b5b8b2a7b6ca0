import { HEADER_BYTES } from '#core/cql/frame.ts';
import { Opcode, QueryFlag } from '#core/cql/protocol.ts';
import { faultInParameters } from '#core/cql/request-check.ts';
import { executeFlagsOffset } from '#core/cql/request-layout.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Counters } from '../counters/counters.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { hasMorePagesAt } from '../requests/paging.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { RequestContext } from '../requests/request-context.ts';
import { routeOf } from '../requests/route.ts';
import { constantExclusion } from '../requests/tenant.ts';
import { endOfId, FrameStore, isNamedAlike, UsualRequest, usualEntry } from '../requests/usual-request.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import type { Flusher } from '../transport/frame-writer.ts';
import { MAX_BUFFERED_BYTES } from '../upstream/upstream-call.ts';
import type { LostReason, ReplyHandler } from '../upstream/upstream-connection.ts';
import type { ReadAnswer, Reads } from './reads.ts';

/** A client as its usual reads see it. */
export interface ReadingClient {
  readonly version: number;
  readonly upstreams: SessionUpstreams;
  /** Counts a request that begins; returns the epoch that routes it. */
  begin(): number;
  send(bytes: Buffer, start: number, end: number, streamId: number): void;
  finish(epoch: number): void;
  /** What tells the client the outcome of what has become an unusual read, and finishes it. */
  readAnswer(request: ClientRequest, streamId: number, epoch: number): ReadAnswer;
}

export interface UsualReadsOptions {
  readonly context: RequestContext;
  readonly gate: PhaseGate;
  readonly reads: Reads;
  readonly counters: Counters;
  readonly flusher: Flusher;
  filter(): Filter;
}

/** Reads that are kept to be used again; about 300 bytes each. */
const MAX_FREE = 8192;

/**
 * The reads that are nearly all: one prepared SELECT whose text and filter leave nothing open, for a cluster that is
 * there, compared with nothing, of a first page. They are sent and answered without a view or a closure for each. Whatever
 * else comes up (an error, a time-out, more pages, warnings) makes a `ClientRequest` of the read, which then goes the way
 * of all others from there on. So every rule about reads belongs in `Reads`; one that also concerns a read that succeeds
 * must be kept here as well, or make the read unusual in `#clusterOf`.
 */
export class UsualReads {
  readonly #options: UsualReadsOptions;
  readonly #free: UsualRead[] = [];
  readonly #frames = new FrameStore();

  constructor(options: UsualReadsOptions) {
    this.#options = options;
  }

  /** Takes the EXECUTE at [start, end) of `bytes`. False: it is not of the usual kind, and nothing was done. */
  take(client: ReadingClient, bytes: Buffer, start: number, end: number): boolean {
    const { context, counters, flusher, reads } = this.#options;
    const entry = usualEntry(context.prepared, bytes, start, end);
    const cluster = entry && this.#clusterOf(entry);
    if (cluster === undefined) return false;
    const { version, upstreams } = client;
    const flagsOffset = executeFlagsOffset(bytes, endOfId(entry!, start), version);
    if (faultInParameters(bytes, flagsOffset, end, version) !== undefined) return false;
    const lastFlags = bytes[version >= 5 ? flagsOffset + 3 : flagsOffset]!;
    if ((lastFlags & QueryFlag.PAGING_STATE) !== 0) return false;
    const connection = upstreams.pool(cluster).pick();
    if (connection === undefined || connection.bufferedBytes > MAX_BUFFERED_BYTES) return false;

    this.#frames.keep(bytes, start, end, 0);
    const read = this.#free.pop() ?? new UsualRead(this);
    read.client = client;
    read.entry = entry;
    read.cluster = cluster;
    read.connection = connection;
    read.streamId = (bytes[start + 2]! << 8) | bytes[start + 3]!;
    read.startedMs = flusher.now();
    read.keyspace = upstreams.keyspace;
    read.hold(this.#frames);
    if (!read.sendTo(cluster, connection, reads.timeoutMs)) {
      this.#release(read);
      return false;
    }
    read.epoch = client.begin();
    reads.earn();
    counters.reads++;
    counters.inFlightReads++;
    return true;
  }

  /** The answer is as the client may have it. */
  answered(read: UsualRead, bytes: Buffer, start: number, end: number): void {
    const { counters, flusher } = this.#options;
    const { epoch } = read;
    const client = read.client!;
    counters.inFlightReads--;
    counters.latencies.read[read.cluster].observe(flusher.now() - read.startedMs);
    client.send(bytes, start, end, read.streamId);
    this.#release(read);
    client.finish(epoch);
  }

  /** Goes on with the read as with any other, now that it is unusual. It is not used again. */
  goOn(read: UsualRead): ReplyHandler {
    const client = read.client!;
    const { upstreams, version } = client;
    const request = read.toRequest(this.#options.context, version);
    const answer = client.readAnswer(request, read.streamId, read.epoch);
    return this.#options.reads.resume(upstreams, request, read.cluster, read.startedMs, read.connection!, answer);
  }

  /** The cluster that is asked; undefined where the general way must decide. */
  #clusterOf(entry: PreparedEntry): ClusterName | undefined {
    const { context, filter, gate, reads } = this.#options;
    if (entry.requestClass !== 'read' || entry.statement.kind !== 'select') return undefined;
    // The proxy's own nodes, and answers that must bring their metadata.
    if (entry.topology !== undefined || entry.isReshaped) return undefined;
    if (context.targetConsistency.size > 0) return undefined;
    const inForce = filter();
    if (!inForce.isEmpty && constantExclusion(inForce, entry) !== 'migrate') return undefined;
    const route = routeOf(gate.phase, false);
    if (route === undefined || reads.dual.mayCopy(route)) return undefined;
    return isNamedAlike(entry, route.primary) ? route.primary : undefined;
  }

  #release(read: UsualRead): void {
    read.clear();
    if (this.#free.length < MAX_FREE) this.#free.push(read);
  }
}

/** A usual read under way. */
class UsualRead extends UsualRequest {
  client: ReadingClient | undefined;
  cluster: ClusterName = 'origin';
  readonly #reads: UsualReads;

  constructor(reads: UsualReads) {
    super();
    this.#reads = reads;
  }

  override clear(): void {
    super.clear();
    this.client = undefined;
  }

  override onBytes(bytes: Buffer, start: number, end: number): boolean {
    // Compression aside, every flag puts something before the message; and paging states get a mark.
    if (bytes[start + 4] !== Opcode.RESULT || bytes[start + 1] !== 0) return false;
    if (hasMorePagesAt(bytes, start + HEADER_BYTES, end)) return false;
    this.#reads.answered(this, bytes, start, end);
    return true;
  }

  override onReply(frame: Buffer): void {
    if (!this.onBytes(frame, 0, frame.length)) this.#reads.goOn(this).onReply(frame);
  }

  override onLost(reason: LostReason): void {
    this.#reads.goOn(this).onLost(reason);
  }
}
