import { bodyOf, encodeFrame, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { requestOffset } from '#core/cql/request-layout.ts';
import { decodePrepare, encodePrepare } from '#core/cql/request-messages.ts';
import { encodeSetKeyspace, responseOffset } from '#core/cql/result-message.ts';
import { describeError, ProtocolError, ServerError } from '#core/errors.ts';
import { type ClientRequest, readClientRequest } from '../client-request.ts';
import { tablesOf } from '../failed-writes.ts';
import { hasMorePages, markPage } from '../paging.ts';
import { learnPrepared, type PreparedEntry, preparedForClient } from '../prepared-statements.ts';
import type { ProxyServices } from '../proxy-services.ts';
import { type Route, routeOf } from '../route.ts';
import { combine, type Exclusion, exclusionOf } from '../tenant.ts';
import { showProxy, topologyTable } from '../topology.ts';
import type { ClusterName } from '../upstream/cluster.ts';
import { type Outcome, type OutgoingRequest, UpstreamCall } from '../upstream/upstream-call.ts';
import type { ClientSession } from './client-session.ts';
import type { SessionUpstreams } from './session-upstreams.ts';

const MAX_IN_FLIGHT = 8192;
/** Flags by which a response body has something in front of its message. */
const PREFIX_FLAGS = FrameFlag.TRACING | FrameFlag.WARNING | FrameFlag.CUSTOM_PAYLOAD;

/** Takes the requests of one client that is logged in: each gets exactly one answer. */
export class RequestHandler {
  readonly #session: ClientSession;
  readonly #upstreams: SessionUpstreams;
  readonly #version: number;
  readonly #services: ProxyServices;
  #inFlight = 0;
  isDraining = false;

  constructor(session: ClientSession, upstreams: SessionUpstreams, version: number, services: ProxyServices) {
    this.#session = session;
    this.#upstreams = upstreams;
    this.#version = version;
    this.#services = services;
  }

  get inFlightCount(): number {
    return this.#inFlight;
  }

  /** @throws ProtocolError when the frame is broken; the connection is then closed */
  handle(frame: Buffer, streamId: number): void {
    const { gate, counters } = this.#services;
    if (this.isDraining) {
      this.#refuse(streamId, 'Shutting down, please retry on next host.');
      return;
    }
    if (this.#inFlight >= MAX_IN_FLIGHT) {
      this.#refuse(streamId, 'too many requests in flight on this connection');
      return;
    }
    if (this.#services.isFenced()) {
      this.#refuse(streamId, 'the proxy has lost the ledger');
      return;
    }
    if (gate.isHolding) {
      this.#hold(frame, streamId);
      return;
    }
    this.#inFlight++;
    gate.enter();
    try {
      this.#dispatch(frame, streamId);
    } catch (error) {
      this.#finish();
      if (error instanceof ProtocolError || error instanceof RangeError) throw error;
      counters.protocolErrors++;
      this.#services.logger.error('a request could not be handled', { error: describeError(error) });
      this.#session.sendError({ code: ErrorCode.SERVER_ERROR, message: describeError(error) }, streamId);
    }
  }

  /** Waits for the next phase, but no longer than a client waits for an answer. */
  #hold(frame: Buffer, streamId: number): void {
    let isAnswered = false;
    const timer = setTimeout(() => {
      isAnswered = true;
      this.#refuse(streamId, 'the phase of the migration is changing');
    }, this.#services.requestTimeoutMs);
    this.#services.gate.wait(() => {
      clearTimeout(timer);
      if (isAnswered) return;
      try {
        this.handle(frame, streamId);
      } catch (error) {
        this.#session.sendError({ code: ErrorCode.PROTOCOL_ERROR, message: describeError(error) }, streamId);
        this.#session.end();
      }
    });
  }

  #dispatch(frame: Buffer, streamId: number): void {
    switch (opcodeOf(frame)) {
      case Opcode.PREPARE:
        this.#prepare(frame, streamId);
        return;
      case Opcode.QUERY:
      case Opcode.EXECUTE:
      case Opcode.BATCH:
        this.#request(frame, streamId);
        return;
      default:
        throw new ProtocolError(`Unsupported opcode ${opcodeOf(frame)}`);
    }
  }

  #request(frame: Buffer, streamId: number): void {
    const { counters, gate } = this.#services;
    const read = readClientRequest(frame, this.#version, this.#upstreams.keyspace, this.#services.requestContext);
    if (read.kind === 'unprepared') {
      counters.preparedMisses++;
      const message = 'Prepared query is not known to the proxy; prepare it again';
      this.#session.sendError({ code: ErrorCode.UNPREPARED, message, unpreparedId: Buffer.from(read.id) }, streamId);
      this.#finish();
      return;
    }
    const { request } = read;
    const first = request.statements[0]?.statement;
    if (first?.kind === 'use' && request.opcode !== Opcode.BATCH) return void this.#use(first.keyspace, streamId);
    const exclusion = this.#exclusionOf(request);
    const route = routeOf(gate.phase, exclusion === 'excluded');
    if (request.requestClass === 'read') {
      this.#read(request, route, streamId);
      return;
    }
    this.#write(request, route, exclusion, streamId);
  }

  #exclusionOf(request: ClientRequest): Exclusion {
    const filter = this.#services.filter();
    if (filter.isEmpty) return 'migrate';
    request.readLayout();
    return combine(
      request.statements.map(({ statement, entry }, index) =>
        exclusionOf(filter, statement, entry?.keyspace ?? request.keyspace, request.valuesOf(index)),
      ),
    );
  }

  #read(request: ClientRequest, route: Route, streamId: number, isRetry = false): void {
    const { counters, requestTimeoutMs } = this.#services;
    const cluster = request.pageCluster ?? route.primary;
    const startedMs = performance.now();
    if (!isRetry) counters.reads++;
    counters.inFlightReads++;
    const options = { timeoutMs: requestTimeoutMs, failFast: false };
    const call = new UpstreamCall(this.#upstreams, cluster, request, options, (outcome) => {
      counters.inFlightReads--;
      (cluster === 'origin' ? counters.readsOrigin : counters.readsTarget).observe(performance.now() - startedMs);
      // Reading twice changes nothing, so a connection that broke costs the client nothing.
      if (outcome.kind === 'lost' && outcome.reason === 'closed' && !isRetry) {
        return this.#read(request, route, streamId, true);
      }
      if (outcome.kind === 'reply') this.#session.send(this.#dressRead(request, cluster, outcome.frame), streamId);
      else {
        if (cluster === 'origin') counters.failedReadsOrigin++;
        else counters.failedReadsTarget++;
        this.#sendFailure(request, cluster, outcome, streamId);
      }
      this.#finish();
    });
    call.start();
  }

  /** The answer as the cluster gave it, but for paging states and the tables that show the cluster's nodes. */
  #dressRead(request: ClientRequest, cluster: ClusterName, frame: Buffer): Buffer {
    if (opcodeOf(frame) !== Opcode.RESULT) return frame;
    const flags = flagsOf(frame);
    const offset = (flags & PREFIX_FLAGS) === 0 ? 0 : responseOffset(flags, bodyOf(frame));
    const { statement, entry } = request.statements[0]!;
    const topology = entry ? entry.topology : topologyTable(statement.keyspace ?? request.keyspace, statement.table);
    if (topology) {
      const body = bodyOf(frame);
      const shown = showProxy(body, this.#version, topology, this.#session.face, entry?.resultColumns, offset);
      return this.#withBody(frame, [body.subarray(0, offset), shown]);
    }
    return hasMorePages(frame, offset) ? markPage(frame, offset, cluster) : frame;
  }

  #write(request: ClientRequest, route: Route, exclusion: Exclusion, streamId: number): void {
    const { counters, gate, logger, dualWrite, definitions } = this.#services;
    if (exclusion === 'mixed') {
      const message = 'The statement touches tenants or tables of both clusters; send them apart';
      if (gate.phase !== 'origin-only') {
        this.#session.sendError({ code: ErrorCode.INVALID, message }, streamId);
        this.#finish();
        return;
      }
    }
    if (exclusion === 'excluded') {
      counters.filteredWrites++;
      for (const { keyspace, table } of tablesOf(request)) {
        logger.debug(`Skipping target write for blacklisted request: ${keyspace}.${table}`);
      }
    }
    const startedMs = performance.now();
    counters.writes++;
    counters.inFlightWrites++;
    if (request.wasPinned) counters.pinnedTimestamps++;
    const answer = (outcome: Outcome): void => {
      counters.inFlightWrites--;
      counters.writeLatency.observe(performance.now() - startedMs);
      if (outcome.kind === 'reply') this.#session.send(outcome.frame, streamId);
      else this.#sendFailure(request, route.primary, outcome, streamId);
      // In dual-async the copy leaves after this, and must be counted before the request is over.
      queueMicrotask(this.#finish);
    };
    if (request.requestClass === 'write' || request.requestClass === 'lwt') {
      dualWrite.apply(this.#upstreams, request, route, answer);
    } else void definitions.apply(this.#upstreams, request, route, answer);
  }

  #prepare(frame: Buffer, streamId: number): void {
    const { gate, requestTimeoutMs, prepared } = this.#services;
    const offset = requestOffset(flagsOf(frame), bodyOf(frame));
    const { text, keyspace } = decodePrepare(bodyOf(frame), this.#version, offset);
    const entry = prepared.entryOf(text, keyspace ?? this.#upstreams.keyspace);
    const { statement } = entry;
    const table = { keyspace: statement.keyspace ?? entry.keyspace, table: statement.table };
    const isExcluded =
      table.keyspace !== undefined &&
      table.table !== undefined &&
      this.#services.filter().decide(table.keyspace, table.table).kind === 'excluded';
    const cluster = routeOf(gate.phase, isExcluded).primary;
    const outgoing = this.#outgoingPrepare(frame, entry, keyspace);
    const options = { timeoutMs: requestTimeoutMs, failFast: false };
    const call = new UpstreamCall(this.#upstreams, cluster, outgoing, options, (outcome) => {
      if (outcome.kind === 'reply') this.#session.send(this.#dressPrepared(entry, cluster, outcome.frame), streamId);
      else this.#sendFailure(undefined, cluster, outcome, streamId);
      this.#finish();
    });
    call.start();
  }

  #outgoingPrepare(frame: Buffer, entry: PreparedEntry, keyspace: string | undefined): OutgoingRequest {
    const isChanged = entry.inserted.length > 0;
    const changed = isChanged
      ? this.#withBody(frame, [encodePrepare(entry.text, this.#version, keyspace)], PREFIX_FLAGS)
      : frame;
    return { entries: [], frameFor: () => changed, forgetFrames: () => undefined };
  }

  #dressPrepared(entry: PreparedEntry, cluster: ClusterName, frame: Buffer): Buffer {
    if (opcodeOf(frame) !== Opcode.RESULT) return frame;
    const body = bodyOf(frame);
    const offset = responseOffset(flagsOf(frame), body);
    learnPrepared(entry, cluster, body, this.#version, offset);
    return this.#withBody(frame, [body.subarray(0, offset), preparedForClient(entry, body, this.#version, offset)]);
  }

  /** Requests of this session go over connections of that keyspace from now on; whether it may be used, the cluster says. */
  async #use(keyspace: string | undefined, streamId: number): Promise<void> {
    const cluster = this.#services.primary(this.#services.gate.phase);
    try {
      if (keyspace === undefined) throw new ServerError('USE without a keyspace', ErrorCode.SYNTAX_ERROR, false);
      const pool = this.#upstreams.poolOf(cluster, keyspace);
      await pool.acquire(this.#services.requestTimeoutMs);
      this.#upstreams.keyspace = keyspace;
      this.#session.sendMessage(Opcode.RESULT, encodeSetKeyspace(keyspace), streamId);
    } catch (error) {
      const code = error instanceof ServerError ? error.code : ErrorCode.OVERLOADED;
      this.#session.sendError({ code, message: describeError(error) }, streamId);
    }
    this.#finish();
  }

  #sendFailure(
    request: ClientRequest | undefined,
    cluster: ClusterName,
    outcome: Exclude<Outcome, { kind: 'reply' }>,
    streamId: number,
  ): void {
    if (outcome.kind === 'unsent') {
      if (outcome.code === ErrorCode.OVERLOADED) this.#services.counters.overloaded++;
      this.#session.sendError({ code: outcome.code, message: outcome.message }, streamId);
      return;
    }
    this.#services.counters.requestTimeouts++;
    const what = outcome.reason === 'timeout' ? 'did not answer in time' : 'closed the connection';
    const message = `the ${cluster} cluster ${what}`;
    if (request === undefined) {
      this.#session.sendError({ code: ErrorCode.SERVER_ERROR, message }, streamId);
      return;
    }
    const counts = { consistency: request.consistency, received: 0, required: 1 };
    if (request.requestClass === 'read') {
      this.#session.sendError({ code: ErrorCode.READ_TIMEOUT, message, ...counts, dataPresent: false }, streamId);
      return;
    }
    const writeType = request.requestClass === 'lwt' ? 'CAS' : writeTypeOf(request);
    this.#session.sendError({ code: ErrorCode.WRITE_TIMEOUT, message, ...counts, writeType }, streamId);
  }

  #refuse(streamId: number, message: string): void {
    this.#services.counters.overloaded++;
    this.#session.sendError({ code: ErrorCode.OVERLOADED, message }, streamId);
  }

  /** The frame with another body; `dropFlags` are those of a prefix that the new body does not have. */
  #withBody(frame: Buffer, parts: readonly Buffer[], dropFlags = 0): Buffer {
    const header = {
      version: this.#version,
      isResponse: (frame[0]! & 0x80) !== 0,
      flags: flagsOf(frame) & ~(dropFlags & ~FrameFlag.TRACING),
      streamId: 0,
      opcode: opcodeOf(frame),
    };
    return encodeFrame(header, parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  }

  readonly #finish = (): void => {
    this.#inFlight--;
    this.#services.gate.leave();
    if (this.isDraining && this.#inFlight === 0) this.#session.end();
  };
}

function writeTypeOf(request: ClientRequest): string {
  if (request.isCounterBatch) return 'COUNTER';
  if (request.opcode !== Opcode.BATCH) return 'SIMPLE';
  return request.batchKind === 1 ? 'UNLOGGED_BATCH' : 'BATCH';
}
