import type { ClientRequest } from '../client-request.ts';
import type { Counters } from '../counters.ts';
import type { Route } from '../route.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import type { ClusterName } from '../upstream/cluster.ts';
import { type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';

export interface ReadsOptions {
  readonly counters: Counters;
  readonly requestTimeoutMs: number;
}

/** Receives what the client is to be told, and by which cluster. Does not throw. */
export type ReadAnswer = (cluster: ClusterName, outcome: Outcome) => void;

/** Answers reads by the rules of the phase. */
export class Reads {
  readonly #options: ReadsOptions;

  constructor(options: ReadsOptions) {
    this.#options = options;
  }

  apply(upstreams: SessionUpstreams, request: ClientRequest, route: Route, answer: ReadAnswer): void {
    this.#options.counters.reads++;
    this.#attempt(upstreams, request, request.pageCluster ?? route.primary, answer, false);
  }

  #attempt(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    cluster: ClusterName,
    answer: ReadAnswer,
    isRetry: boolean,
  ): void {
    const { counters, requestTimeoutMs } = this.#options;
    const startedMs = performance.now();
    counters.inFlightReads++;
    const options = { timeoutMs: requestTimeoutMs, failFast: false };
    const call = new UpstreamCall(upstreams, cluster, request, options, (outcome) => {
      counters.inFlightReads--;
      (cluster === 'origin' ? counters.readsOrigin : counters.readsTarget).observe(performance.now() - startedMs);
      // Reading twice changes nothing, so a connection that broke costs the client nothing.
      if (outcome.kind === 'lost' && outcome.reason === 'closed' && !isRetry) {
        return this.#attempt(upstreams, request, cluster, answer, true);
      }
      if (outcome.kind !== 'reply') {
        if (cluster === 'origin') counters.failedReadsOrigin++;
        else counters.failedReadsTarget++;
      }
      answer(cluster, outcome);
    });
    call.start();
  }
}
