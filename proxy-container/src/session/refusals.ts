import { ErrorCode } from '#core/cql/protocol.ts';
import { describeError, ServerError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { ProxyServices } from '../proxy-services.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { Outcome } from '../upstream/upstream-call.ts';
import type { ClientSession } from './client-session.ts';
import { failureOf } from './replies.ts';

/** In `target-only`, of what a filter excludes. */
export const NO_ORIGIN = 'A filter keeps this on the origin, and in the phase target-only nothing goes there any more';

/** Tells a client why a request of its has no other answer, and counts it. The request is still to be finished. */
export class Refusals {
  readonly #session: Pick<ClientSession, 'sendError'>;
  readonly #services: Pick<ProxyServices, 'counters' | 'logger'>;

  constructor(session: Pick<ClientSession, 'sendError'>, services: Pick<ProxyServices, 'counters' | 'logger'>) {
    this.#session = session;
    this.#services = services;
  }

  /** A cluster gave no answer. `request`: of a PREPARE there is none. */
  failure(
    request: ClientRequest | undefined,
    cluster: ClusterName,
    outcome: Exclude<Outcome, { kind: 'reply' }>,
    streamId: number,
  ): void {
    if (outcome.kind === 'lost') this.#services.counters.requestTimeouts++;
    else if (outcome.code === ErrorCode.OVERLOADED) this.#services.counters.overloaded++;
    this.#session.sendError(failureOf(request, cluster, outcome), streamId);
  }

  /** The request's own fault. */
  invalid(streamId: number, message: string): void {
    this.#session.sendError({ code: ErrorCode.INVALID, message }, streamId);
  }

  /** There is no place for it here; another host may have one. */
  overloaded(streamId: number, message: string): void {
    this.#services.counters.overloaded++;
    this.#session.sendError({ code: ErrorCode.OVERLOADED, message }, streamId);
  }

  /** What a cluster would have said itself; anything else is a fault of the proxy. */
  asCluster(error: unknown, streamId: number): void {
    if (error instanceof ServerError) this.#session.sendError({ code: error.code, message: error.message }, streamId);
    else this.fault(error, streamId);
  }

  /** A fault of the proxy, or an answer of a cluster that can't be read: the client is told, and nobody else. */
  fault(error: unknown, streamId: number): void {
    this.noteFault(error);
    this.#session.sendError({ code: ErrorCode.SERVER_ERROR, message: describeError(error) }, streamId);
  }

  noteFault(error: unknown): void {
    this.#services.counters.internalErrors++;
    this.#services.logger.error('a request could not be handled', { error: describeError(error) });
  }
}
