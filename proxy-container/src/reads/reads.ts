import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Counters } from '../counters/counters.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { Route } from '../requests/route.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import type { Outcome, OutgoingRequest } from '../upstream/upstream-call.ts';
import type { ReplyHandler, UpstreamConnection } from '../upstream/upstream-connection.ts';
import type { DualReads } from './dual-reads.ts';
import { IdempotentCall, type IdempotentCallOptions, RetryBudget } from './idempotent-call.ts';

export interface ReadsOptions {
  readonly counters: Counters;
  readonly requestTimeoutMs: number;
  readonly dual: DualReads;
}

/** Drivers try it on the next host, and in the end tell the application, which can only begin the query again. */
const CLUSTER_IS_GONE: Outcome = {
  kind: 'unsent',
  code: ErrorCode.OVERLOADED,
  message: 'the page belongs to a cluster that answers nothing in this phase; begin the query again',
};

/** Receives what the client is to be told, and by which cluster. Does not throw. */
export type ReadAnswer = (cluster: ClusterName, outcome: Outcome) => void;

/** Answers what changes nothing, by the rules of the phase. */
export class Reads {
  readonly #counters: Counters;
  readonly #callOptions: IdempotentCallOptions;
  readonly dual: DualReads;

  constructor({ counters, requestTimeoutMs, dual }: ReadsOptions) {
    this.dual = dual;
    this.#counters = counters;
    this.#callOptions = { counters, timeoutMs: requestTimeoutMs, budget: new RetryBudget() };
  }

  apply(upstreams: SessionUpstreams, request: ClientRequest, route: Route, answer: ReadAnswer): void {
    const counters = this.#counters;
    const { pageCluster } = request;
    if (pageCluster !== undefined && pageCluster !== route.primary && pageCluster !== route.shadow) {
      answer(pageCluster, CLUSTER_IS_GONE);
      return;
    }
    const cluster = pageCluster ?? route.primary;
    const copiedTo = this.dual.destinationOf(route);
    const startedMs = performance.now();
    counters.reads++;
    counters.inFlightReads++;
    const call = new IdempotentCall(upstreams, cluster, request, this.#callOptions, startedMs, (outcome) => {
      this.#countEnd(cluster, startedMs, outcome);
      answer(cluster, outcome);
      const isCopied = copiedTo !== undefined && outcome.kind === 'reply' && opcodeOf(outcome.frame) === Opcode.RESULT;
      if (isCopied) this.dual.copy(upstreams, request, copiedTo, outcome.frame);
    });
    call.start();
  }

  /** For all attempts together. */
  get timeoutMs(): number {
    return this.#callOptions.timeoutMs;
  }

  /** Counts one more read towards those that may be asked elsewhere. */
  earn(): void {
    this.#callOptions.budget.earn();
  }

  /** Goes on with a read that is counted and under way already; what comes back is then told to what this returns. */
  resume(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    cluster: ClusterName,
    startedMs: number,
    connection: UpstreamConnection,
    answer: ReadAnswer,
  ): ReplyHandler {
    const call = new IdempotentCall(upstreams, cluster, request, this.#callOptions, startedMs, (outcome) => {
      this.#countEnd(cluster, startedMs, outcome);
      answer(cluster, outcome);
    });
    return call.resume(connection);
  }

  /** Prepares a statement for a client, which changes nothing that a client could see. */
  prepare(
    upstreams: SessionUpstreams,
    cluster: ClusterName,
    request: OutgoingRequest,
    answer: (outcome: Outcome) => void,
  ): void {
    new IdempotentCall(upstreams, cluster, request, this.#callOptions, performance.now(), answer).start();
  }

  #countEnd(cluster: ClusterName, startedMs: number, outcome: Outcome): void {
    const counters = this.#counters;
    counters.inFlightReads--;
    counters.latencies.read[cluster].observe(performance.now() - startedMs);
    if (outcome.kind === 'reply') return;
    if (cluster === 'origin') counters.failedReadsOrigin++;
    else counters.failedReadsTarget++;
  }
}
