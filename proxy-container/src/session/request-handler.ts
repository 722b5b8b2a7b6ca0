import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeSetKeyspace } from '#core/cql/result-message.ts';
import { describeError, ProtocolError, ServerError, StatementTooLargeError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { ProxyServices } from '../proxy-services.ts';
import type { ReadAnswer } from '../reads/reads.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { countWrites } from '../requests/count-tables.ts';
import { readClientRequest } from '../requests/read-request.ts';
import { isMutation, type Route, routeOf } from '../requests/route.ts';
import { type Exclusion, exclusionOfRequest } from '../requests/tenant.ts';
import type { Outcome } from '../upstream/upstream-call.ts';
import { tablesOf } from '../writes/treat-request.ts';
import type { UsualClient } from '../writes/usual-write.ts';
import type { ClientSession } from './client-session.ts';
import { hasItsShareOf, SMALL_SHARE } from './fair-share.ts';
import { HeldRequests } from './held-requests.ts';
import { PrepareRequests } from './prepare-requests.ts';
import { NO_ORIGIN, Refusals } from './refusals.ts';
import { dressRead } from './replies.ts';
import type { SessionUpstreams } from './session-upstreams.ts';
import { SystemRequests } from './system-requests.ts';

/** Those included that wait for a change of phase, or for the ledger. */
const MAX_IN_FLIGHT = 8192;
const SHUTTING_DOWN = 'Shutting down, please retry on next host.';
const MIXED_READ = 'The statement reads tenants of both clusters; ask for them apart';

/** Takes the requests of one client that is logged in: each gets exactly one answer, whatever fails on the way. */
export class RequestHandler {
  readonly #session: ClientSession;
  readonly #upstreams: SessionUpstreams;
  readonly #version: number;
  readonly #services: ProxyServices;
  readonly #held: HeldRequests;
  readonly #refusals: Refusals;
  readonly #system: SystemRequests;
  readonly #prepares: PrepareRequests;
  readonly #usual: UsualClient;
  #inFlight = 0;
  #isDraining = false;

  constructor(session: ClientSession, upstreams: SessionUpstreams, version: number, services: ProxyServices) {
    this.#session = session;
    this.#upstreams = upstreams;
    this.#version = version;
    this.#services = services;
    const refusals = new Refusals(session, services);
    const system = new SystemRequests(session, services.systemTables, refusals);
    this.#refusals = refusals;
    this.#system = system;
    this.#usual = {
      version,
      upstreams,
      begin: () => {
        this.#inFlight++;
        return services.gate.enter();
      },
      send: (bytes, start, end, streamId) => session.sendBytes(bytes, start, end, streamId),
      finish: (epoch) => this.#finish(epoch),
      readAnswer: (request, streamId, epoch) => this.#readAnswerOf(request, streamId, epoch),
      answer: (request, primary, startedMs, streamId, epoch) =>
        this.#answerOf(request, primary, startedMs, streamId, epoch),
    };
    const held = new HeldRequests({
      gate: services.gate,
      writtenTables: services.writtenTables,
      timeoutMs: services.requestTimeoutMs,
      run: (frame, streamId) => this.#takeUp(frame, streamId),
      refuse: (streamId, message) => this.#refusals.overloaded(streamId, message),
    });
    this.#held = held;
    this.#prepares = new PrepareRequests({ session, upstreams, version, services, system, refusals, held });
  }

  /** Requests without an answer, those that wait here included. */
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

  /** Takes the usual write or read where it lies, at [start, end). False: it is none, or this is no usual time. */
  handleUsual(bytes: Buffer, start: number, end: number): boolean {
    const { gate, usualReads, usualWrites } = this.#services;
    if (bytes[start + 4] !== Opcode.EXECUTE || this.#isDraining || gate.isHolding) return false;
    if (this.#hasItsShare() || this.#services.isFenced()) return false;
    return usualWrites.take(this.#usual, bytes, start, end) || usualReads.take(this.#usual, bytes, start, end);
  }

  /** @throws ProtocolError, RangeError when the body is broken: the request is over, and has no answer yet */
  handle(frame: Buffer, streamId: number): void {
    const { gate } = this.#services;
    if (this.#isDraining) {
      this.#refusals.overloaded(streamId, SHUTTING_DOWN);
      return;
    }
    if (this.#hasItsShare()) {
      this.#refusals.overloaded(streamId, 'too many requests in flight on this connection: others need room as well');
      return;
    }
    if (this.#services.isFenced()) {
      this.#refusals.overloaded(streamId, 'the proxy has lost the ledger');
      return;
    }
    if (gate.isHolding) {
      this.#held.holdForPhase(frame, streamId);
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
        this.#refusals.invalid(streamId, error.message);
      } else this.#refusals.fault(error, streamId);
    }
  }

  #hasItsShare(): boolean {
    if (this.inFlightCount >= MAX_IN_FLIGHT) return true;
    if (this.#inFlight < SMALL_SHARE) return false;
    return hasItsShareOf(this.#inFlight, this.#upstreams, routeOf(this.#services.gate.phase, false));
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
        this.#prepares.take(frame, streamId, () => this.#finish(epoch));
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
    const { counters, gate, reads } = this.#services;
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
    if (request.requestClass === 'read' && this.#system.concerns(request)) {
      if (this.#system.answer(request, streamId, () => this.#finish(epoch))) return;
    }
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
      else reads.apply(this.#upstreams, request, route, this.#readAnswerOf(request, streamId, epoch));
      return;
    }
    if (this.#held.holdIfUntold(request, frame, streamId)) this.#finish(epoch);
    else this.#write(request, route, exclusion, streamId, epoch);
  }

  #readAnswerOf(request: ClientRequest, streamId: number, epoch: number): ReadAnswer {
    return (cluster, outcome) => {
      try {
        if (outcome.kind === 'reply') {
          this.#session.send(
            dressRead(request, cluster, outcome.frame, () => this.#services.systemTables.local(this.#session.face)),
            streamId,
          );
        } else this.#refusals.failure(request, cluster, outcome, streamId);
      } catch (error) {
        this.#refusals.fault(error, streamId);
      }
      this.#finish(epoch);
    };
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
    if (isMutation(request.requestClass)) {
      dualWrite.apply(this.#upstreams, request, route, answer);
      return;
    }
    definitions.apply(this.#upstreams, request, route, answer).catch((error: unknown) => {
      this.#refusals.noteFault(error);
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
    const isWrite = isMutation(request.requestClass);
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
        } else this.#refusals.failure(request, primary, outcome, streamId);
      } catch (error) {
        this.#refusals.fault(error, streamId);
      }
      // In dual-async the copy leaves after this, and must be counted before the request is over.
      queueMicrotask(() => this.#finish(epoch));
    };
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

  /** The request's own fault, told in its answer; it is over. */
  #invalid(streamId: number, epoch: number, message: string): void {
    this.#refusals.invalid(streamId, message);
    this.#finish(epoch);
  }

  /** A request is over that `epoch` routed. */
  #finish(epoch: number): void {
    this.#inFlight--;
    this.#services.gate.leave(epoch);
    if (this.#isDraining && this.#inFlight === 0) this.#session.end();
  }
}
