import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { requestOffset } from '#core/cql/request-layout.ts';
import { decodePrepare } from '#core/cql/request-messages.ts';
import { encodeSetKeyspace } from '#core/cql/result-message.ts';
import { describeError, ProtocolError, ServerError, StatementTooLargeError } from '#core/errors.ts';
import type { ClientRequest } from '../client-request.ts';
import { countWrites } from '../count-tables.ts';
import { tablesOf } from '../failed-writes.ts';
import type { PreparedEntry } from '../prepared-statements.ts';
import type { ProxyServices } from '../proxy-services.ts';
import { readClientRequest } from '../read-request.ts';
import { type Route, routeOf } from '../route.ts';
import { topologyTable } from '../system-tables/columns.ts';
import { type Exclusion, exclusionOfRequest } from '../tenant.ts';
import type { ClusterName } from '../upstream/cluster.ts';
import type { Outcome } from '../upstream/upstream-call.ts';
import type { UsualClient } from '../usual-write.ts';
import type { ClientSession } from './client-session.ts';
import { HeldRequests } from './held-requests.ts';
import { outgoingPrepare } from './outgoing-prepare.ts';
import { dressPrepared, dressRead, failureOf } from './replies.ts';
import type { SessionUpstreams } from './session-upstreams.ts';

const MAX_IN_FLIGHT = 8192;
const SHUTTING_DOWN = 'Shutting down, please retry on next host.';
const MIXED_READ = 'The statement reads tenants of both clusters; ask for them apart';
const NO_ORIGIN = 'A filter keeps this on the origin, and in the phase target-only nothing goes there any more';

/** Takes the requests of one client that is logged in: each gets exactly one answer, whatever fails on the way. */
export class RequestHandler {
  readonly #session: ClientSession;
  readonly #upstreams: SessionUpstreams;
  readonly #version: number;
  readonly #services: ProxyServices;
  readonly #held: HeldRequests;
  readonly #usual: UsualClient;
  #inFlight = 0;
  #isDraining = false;

  constructor(session: ClientSession, upstreams: SessionUpstreams, version: number, services: ProxyServices) {
    this.#session = session;
    this.#upstreams = upstreams;
    this.#version = version;
    this.#services = services;
    this.#usual = {
      version,
      upstreams,
      begin: () => {
        this.#inFlight++;
        return services.gate.enter();
      },
      send: (bytes, start, end, streamId) => session.sendBytes(bytes, start, end, streamId),
      finish: (epoch) => this.#finish(epoch),
      answer: (request, primary, startedMs, streamId, epoch) =>
        this.#answerOf(request, primary, startedMs, streamId, epoch),
    };
    this.#held = new HeldRequests({
      gate: services.gate,
      timeoutMs: services.requestTimeoutMs,
      run: (frame, streamId) => this.#takeUp(frame, streamId),
      refuse: (streamId, message) => this.#refuse(streamId, message),
    });
  }

  /** Requests without an answer, those that wait for a change of phase included. */
  get inFlightCount(): number {
    return this.#inFlight + this.#held.count;
  }

  /** New requests are refused from now on, and those that wait as well; those under way end. */
  drain(): void {
    this.#isDraining = true;
    this.#held.refuseAll(SHUTTING_DOWN);
  }

  /** The client has gone. */
  close(): void {
    this.#held.drop();
  }

  /** Takes the usual write where it lies, at [start, end). False: it is none, or this is no usual time. */
  handleUsual(bytes: Buffer, start: number, end: number): boolean {
    const { gate, usualWrites } = this.#services;
    if (bytes[start + 4] !== Opcode.EXECUTE || this.#isDraining || gate.isHolding) return false;
    if (this.inFlightCount >= MAX_IN_FLIGHT || this.#services.isFenced()) return false;
    return usualWrites.take(this.#usual, bytes, start, end);
  }

  /** @throws ProtocolError, RangeError when the body is broken: the request is over, and has no answer yet */
  handle(frame: Buffer, streamId: number): void {
    const { gate } = this.#services;
    if (this.#isDraining) {
      this.#refuse(streamId, SHUTTING_DOWN);
      return;
    }
    if (this.inFlightCount >= MAX_IN_FLIGHT) {
      this.#refuse(streamId, 'too many requests in flight on this connection');
      return;
    }
    if (this.#services.isFenced()) {
      this.#refuse(streamId, 'the proxy has lost the ledger');
      return;
    }
    if (gate.isHolding) {
      this.#held.hold(frame, streamId);
      return;
    }
    this.#inFlight++;
    const epoch = gate.enter();
    try {
      this.#dispatch(frame, streamId, epoch);
    } catch (error) {
      this.#finish(epoch);
      if (error instanceof ProtocolError || error instanceof RangeError) throw error;
      if (error instanceof StatementTooLargeError) {
        this.#session.sendError({ code: ErrorCode.INVALID, message: error.message }, streamId);
      } else this.#fault(error, streamId);
    }
  }

  /** A request that waited; nobody is there to catch what `handle` throws. */
  #takeUp(frame: Buffer, streamId: number): void {
    try {
      this.handle(frame, streamId);
    } catch (error) {
      this.#session.sendError({ code: ErrorCode.PROTOCOL_ERROR, message: describeError(error) }, streamId);
      this.#session.end();
    }
  }

  #dispatch(frame: Buffer, streamId: number, epoch: number): void {
    switch (opcodeOf(frame)) {
      case Opcode.PREPARE:
        this.#prepare(frame, streamId, epoch);
        return;
      case Opcode.QUERY:
      case Opcode.EXECUTE:
      case Opcode.BATCH:
        this.#request(frame, streamId, epoch);
        return;
      default:
        throw new ProtocolError(`Unsupported opcode ${opcodeOf(frame)}`);
    }
  }

  #request(frame: Buffer, streamId: number, epoch: number): void {
    const { counters, gate } = this.#services;
    const read = readClientRequest(frame, this.#version, this.#upstreams.keyspace, this.#services.requestContext);
    if (read.kind === 'unprepared') {
      counters.preparedMisses++;
      const message = 'Prepared query is not known to the proxy; prepare it again';
      this.#session.sendError({ code: ErrorCode.UNPREPARED, message, unpreparedId: Buffer.from(read.id) }, streamId);
      this.#finish(epoch);
      return;
    }
    const { request } = read;
    const first = request.statements[0]?.statement;
    if (request.requestClass === 'read' && this.#systemTable(request, streamId, epoch)) return;
    if (first?.kind === 'use' && request.opcode !== Opcode.BATCH)
      return void this.#use(first.keyspace, streamId, epoch);
    const exclusion = exclusionOfRequest(this.#services.filter(), request);
    const route = routeOf(gate.phase, exclusion === 'excluded');
    if (route === undefined) {
      this.#invalid(streamId, epoch, NO_ORIGIN);
      return;
    }
    if (request.requestClass === 'read') {
      // The origin has the rows of all tenants, the target only those that are not excluded.
      if (exclusion === 'mixed' && route.primary === 'target') this.#invalid(streamId, epoch, MIXED_READ);
      else this.#read(request, route, streamId, epoch);
      return;
    }
    this.#write(request, route, exclusion, streamId, epoch);
  }

  /** Answers what is asked of the nodes, if that is what is asked. */
  #systemTable(request: ClientRequest, streamId: number, epoch: number): boolean {
    const { statement, entry } = request.statements[0]!;
    const table = entry ? entry.topology : topologyTable(statement.keyspace ?? request.keyspace, statement.table);
    if (table === undefined) return false;
    const text = entry?.text ?? request.ensureLayout().statements[0]!.text ?? '';
    try {
      const answer = this.#services.systemTables.answer(table, text, request, this.#session.face);
      if (answer === undefined) return false;
      answer
        .then((body) => this.#session.sendMessage(Opcode.RESULT, body, streamId))
        .catch((error: unknown) => this.#systemFault(error, streamId))
        .finally(() => this.#finish(epoch));
    } catch (error) {
      this.#systemFault(error, streamId);
      this.#finish(epoch);
    }
    return true;
  }

  #prepareSystem(entry: PreparedEntry, streamId: number, epoch: number): boolean {
    try {
      const body = this.#services.systemTables.prepare(entry, this.#version);
      if (body === undefined) return false;
      this.#session.sendMessage(Opcode.RESULT, body, streamId);
    } catch (error) {
      this.#systemFault(error, streamId);
    }
    this.#finish(epoch);
    return true;
  }

  #systemFault(error: unknown, streamId: number): void {
    if (error instanceof ServerError) this.#session.sendError({ code: error.code, message: error.message }, streamId);
    else this.#fault(error, streamId);
  }

  #read(request: ClientRequest, route: Route, streamId: number, epoch: number): void {
    this.#services.reads.apply(this.#upstreams, request, route, (cluster, outcome) => {
      try {
        if (outcome.kind === 'reply') {
          this.#session.send(
            dressRead(request, cluster, outcome.frame, () => this.#services.systemTables.local(this.#session.face)),
            streamId,
          );
        } else this.#sendFailure(request, cluster, outcome, streamId);
      } catch (error) {
        this.#fault(error, streamId);
      }
      this.#finish(epoch);
    });
  }

  #write(request: ClientRequest, route: Route, exclusion: Exclusion, streamId: number, epoch: number): void {
    const { counters, gate, logger, dualWrite, definitions } = this.#services;
    if (exclusion === 'mixed' && gate.phase !== 'origin-only') {
      this.#invalid(streamId, epoch, 'The statement touches tenants or tables of both clusters; send them apart');
      return;
    }
    if (exclusion === 'excluded') {
      counters.filteredWrites++;
      for (const { keyspace, table } of tablesOf(request)) {
        logger.debug(`Skipping target write for blacklisted request: ${keyspace}.${table}`);
      }
    }
    counters.writes++;
    counters.inFlightWrites++;
    if (request.wasPinned) counters.pinnedTimestamps++;
    const answer = this.#answerOf(request, route.primary, performance.now(), streamId, epoch);
    if (isMutation(request)) {
      dualWrite.apply(this.#upstreams, request, route, answer);
      return;
    }
    definitions.apply(this.#upstreams, request, route, answer).catch((error: unknown) => {
      this.#noteFault(error);
      answer({ kind: 'unsent', code: ErrorCode.SERVER_ERROR, message: describeError(error) });
    });
  }

  /** What tells a client the outcome of a write, once, and ends it. */
  #answerOf(
    request: ClientRequest,
    primary: ClusterName,
    startedMs: number,
    streamId: number,
    epoch: number,
  ): (outcome: Outcome) => void {
    const { counters } = this.#services;
    const isWrite = isMutation(request);
    let isAnswered = false;
    return (outcome) => {
      if (isAnswered) return;
      isAnswered = true;
      counters.inFlightWrites--;
      const kind = isWrite ? 'write' : 'definition';
      counters.latencies[kind][primary].observe(performance.now() - startedMs);
      try {
        if (outcome.kind === 'reply') {
          if (isWrite && opcodeOf(outcome.frame) !== Opcode.ERROR) countWrites(counters, request);
          this.#session.send(outcome.frame, streamId);
        } else this.#sendFailure(request, primary, outcome, streamId);
      } catch (error) {
        this.#fault(error, streamId);
      }
      // In dual-async the copy leaves after this, and must be counted before the request is over.
      queueMicrotask(() => this.#finish(epoch));
    };
  }

  #prepare(frame: Buffer, streamId: number, epoch: number): void {
    const { counters, gate, prepared, reads } = this.#services;
    const offset = requestOffset(flagsOf(frame), bodyOf(frame));
    const { text, keyspace } = decodePrepare(bodyOf(frame), this.#version, offset);
    const entry = prepared.entryOf(text, keyspace ?? this.#upstreams.keyspace);
    if (entry.topology !== undefined && this.#prepareSystem(entry, streamId, epoch)) return;
    const { statement } = entry;
    const table = { keyspace: statement.keyspace ?? entry.keyspace, table: statement.table };
    const isExcluded =
      table.keyspace !== undefined &&
      table.table !== undefined &&
      this.#services.filter().decide(table.keyspace, table.table).kind === 'excluded';
    const route = routeOf(gate.phase, isExcluded);
    if (route === undefined) {
      this.#invalid(streamId, epoch, NO_ORIGIN);
      return;
    }
    const cluster = route.primary;
    const outgoing = outgoingPrepare(frame, entry, this.#version, keyspace);
    const startedMs = performance.now();
    reads.prepare(this.#upstreams, cluster, outgoing, (outcome) => {
      counters.latencies.prepare[cluster].observe(performance.now() - startedMs);
      try {
        if (outcome.kind === 'reply') {
          this.#session.send(dressPrepared(entry, cluster, outcome.frame, this.#version), streamId);
        } else this.#sendFailure(undefined, cluster, outcome, streamId);
      } catch (error) {
        this.#fault(error, streamId);
      }
      this.#finish(epoch);
    });
  }

  /** Requests of this session go over connections of that keyspace from now on; whether it may be used, the cluster says. */
  async #use(keyspace: string | undefined, streamId: number, epoch: number): Promise<void> {
    const cluster = this.#services.primary(this.#services.gate.phase);
    try {
      if (keyspace === undefined) throw new ServerError('USE without a keyspace', ErrorCode.SYNTAX_ERROR, false);
      await this.#upstreams.use(cluster, keyspace, this.#services.requestTimeoutMs);
      this.#session.sendMessage(Opcode.RESULT, encodeSetKeyspace(keyspace), streamId);
    } catch (error) {
      const code = error instanceof ServerError ? error.code : ErrorCode.OVERLOADED;
      this.#session.sendError({ code, message: describeError(error) }, streamId);
    } finally {
      this.#finish(epoch);
    }
  }

  #sendFailure(
    request: ClientRequest | undefined,
    cluster: ClusterName,
    outcome: Exclude<Outcome, { kind: 'reply' }>,
    streamId: number,
  ): void {
    if (outcome.kind === 'lost') this.#services.counters.requestTimeouts++;
    else if (outcome.code === ErrorCode.OVERLOADED) this.#services.counters.overloaded++;
    this.#session.sendError(failureOf(request, cluster, outcome), streamId);
  }

  /** The request's own fault, told in its answer; it is over. */
  #invalid(streamId: number, epoch: number, message: string): void {
    this.#session.sendError({ code: ErrorCode.INVALID, message }, streamId);
    this.#finish(epoch);
  }

  #refuse(streamId: number, message: string): void {
    this.#services.counters.overloaded++;
    this.#session.sendError({ code: ErrorCode.OVERLOADED, message }, streamId);
  }

  /** A fault of the proxy, or an answer of a cluster that can't be read: the client is told, and nobody else. */
  #fault(error: unknown, streamId: number): void {
    this.#noteFault(error);
    this.#session.sendError({ code: ErrorCode.SERVER_ERROR, message: describeError(error) }, streamId);
  }

  #noteFault(error: unknown): void {
    this.#services.counters.internalErrors++;
    this.#services.logger.error('a request could not be handled', { error: describeError(error) });
  }

  /** A request is over that `epoch` routed. */
  #finish(epoch: number): void {
    this.#inFlight--;
    this.#services.gate.leave(epoch);
    if (this.#isDraining && this.#inFlight === 0) this.#session.end();
  }
}

function isMutation({ requestClass }: ClientRequest): boolean {
  return requestClass === 'write' || requestClass === 'lwt';
}
