import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Counters } from '../counters/counters.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import { type Outcome, type OutgoingRequest, UpstreamCall } from '../upstream/upstream-call.ts';
import type { ReplyHandler, UpstreamConnection } from '../upstream/upstream-connection.ts';
import { errorCodeIn } from '../writes/outcome.ts';

/**
 * The errors that say something of one coordinator and not of the data: drivers' default retry policies answer them with
 * the next host, and the only hosts that they see are proxies. What policies decide by numbers in the error (a read
 * time-out's replicas, a read failure's) is passed on untouched.
 */
const OF_THE_COORDINATOR: ReadonlySet<number> = new Set([
  ErrorCode.UNAVAILABLE,
  ErrorCode.OVERLOADED,
  ErrorCode.IS_BOOTSTRAPPING,
  ErrorCode.SERVER_ERROR,
]);

/** A lost connection may be followed by that of another client to the same dead node, and then by a new one. */
const MAX_FURTHER_ATTEMPTS = 2;
const MAX_CREDIT = 128;
const CREDIT_PER_CALL = 0.1;
const MIN_REMAINING_MS = 1;

/**
 * How many refused requests may be asked elsewhere: one of ten in the long run. A cluster that is overloaded as a whole
 * must not get everything twice.
 */
export class RetryBudget {
  #credit = MAX_CREDIT;

  earn(): void {
    if (this.#credit < MAX_CREDIT) this.#credit += CREDIT_PER_CALL;
  }

  spend(): boolean {
    if (this.#credit < 1) return false;
    this.#credit--;
    return true;
  }
}

/** What the calls of one proxy share. */
export interface IdempotentCallOptions {
  readonly counters: Counters;
  /** For all attempts together. */
  readonly timeoutMs: number;
  readonly budget: RetryBudget;
}

/**
 * A request that changes nothing (a read, PREPARE), with its one outcome: where a connection is lost, or a coordinator
 * can't answer, another node of the same cluster is asked within the time of the request. Never another cluster.
 */
export class IdempotentCall {
  readonly #upstreams: SessionUpstreams;
  readonly #cluster: ClusterName;
  readonly #request: OutgoingRequest;
  readonly #options: IdempotentCallOptions;
  /** Does not throw. */
  readonly #done: (outcome: Outcome) => void;
  readonly #startedMs: number;
  #furtherAttempts = 0;
  /** An error of a node, which the client is told unless another node does better. */
  #refusal: Outcome | undefined;

  /** @param startedMs when the request began, by performance.now() */
  constructor(
    upstreams: SessionUpstreams,
    cluster: ClusterName,
    request: OutgoingRequest,
    options: IdempotentCallOptions,
    startedMs: number,
    done: (outcome: Outcome) => void,
  ) {
    this.#upstreams = upstreams;
    this.#cluster = cluster;
    this.#request = request;
    this.#options = options;
    this.#startedMs = startedMs;
    this.#done = done;
  }

  start(): void {
    this.#options.budget.earn();
    this.#attempt(this.#options.timeoutMs, undefined);
  }

  /** Takes over a first attempt that somebody else has made, and earned for; what comes back is told to what this returns. */
  resume(connection: UpstreamConnection): ReplyHandler {
    const call = this.#newCall(this.#options.timeoutMs, undefined);
    call.resume(connection);
    return call;
  }

  #attempt(timeoutMs: number, exceptHost: string | undefined): void {
    this.#newCall(timeoutMs, exceptHost).start();
  }

  #newCall(timeoutMs: number, exceptHost: string | undefined): UpstreamCall {
    const options = { timeoutMs, failFast: false, exceptHost };
    const call = new UpstreamCall(this.#upstreams, this.#cluster, this.#request, options, (outcome) =>
      this.#take(outcome, call.host),
    );
    return call;
  }

  #take(outcome: Outcome, host: string | undefined): void {
    if (outcome.kind === 'reply') {
      const isError = opcodeOf(outcome.frame) === Opcode.ERROR;
      if (isError && this.#isForAnother(outcome.frame) && this.#tryElsewhere(host, outcome)) return;
      if (!isError && this.#furtherAttempts > 0) this.#options.counters.reading.retriesSucceeded++;
    } else if (outcome.kind === 'lost' && outcome.reason === 'closed') {
      if (this.#tryAgain(host)) return;
    } else if (outcome.kind === 'unsent' && this.#refusal === undefined && this.#furtherAttempts > 0) {
      // No other node could be reached; the first one may be back.
      if (this.#tryAgain(undefined)) return;
    }
    this.#done(outcome.kind === 'reply' ? outcome : (this.#refusal ?? outcome));
  }

  #isForAnother(frame: Buffer): boolean {
    return OF_THE_COORDINATOR.has(errorCodeIn(frame));
  }

  /** One more node is asked, once, if there is one. */
  #tryElsewhere(host: string | undefined, refusal: Outcome): boolean {
    const isPossible = host !== undefined && this.#furtherAttempts === 0 && this.#hostCount > 1;
    if (!isPossible || this.#remainingMs < MIN_REMAINING_MS || !this.#options.budget.spend()) return false;
    this.#refusal = refusal;
    return this.#again(host);
  }

  /** What the lost connection's node made of the request is nothing to anybody, so any node will do, another if possible. */
  #tryAgain(host: string | undefined): boolean {
    if (this.#furtherAttempts >= MAX_FURTHER_ATTEMPTS || this.#remainingMs < MIN_REMAINING_MS) return false;
    return this.#again(this.#hostCount > 1 ? host : undefined);
  }

  #again(exceptHost: string | undefined): true {
    this.#furtherAttempts++;
    this.#options.counters.reading.retries++;
    this.#attempt(this.#remainingMs, exceptHost);
    return true;
  }

  get #hostCount(): number {
    return this.#upstreams.clusters[this.#cluster].hosts.length;
  }

  get #remainingMs(): number {
    return this.#startedMs + this.#options.timeoutMs - performance.now();
  }
}
