import { bodyOf, flagsOf } from '#core/cql/frame.ts';
import { requestOffset } from '#core/cql/request-layout.ts';
import { decodePrepare } from '#core/cql/request-messages.ts';
import type { ProxyServices } from '../proxy-services.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import { routeOf } from '../requests/route.ts';
import type { ClientSession } from './client-session.ts';
import type { HeldRequests } from './held-requests.ts';
import { outgoingPrepare } from './outgoing-prepare.ts';
import { NO_ORIGIN, type Refusals } from './refusals.ts';
import { dressPrepared } from './replies.ts';
import type { SessionUpstreams } from './session-upstreams.ts';
import type { SystemRequests } from './system-requests.ts';

export interface PrepareRequestsOptions {
  readonly session: ClientSession;
  readonly upstreams: SessionUpstreams;
  readonly version: number;
  readonly services: ProxyServices;
  readonly system: SystemRequests;
  readonly refusals: Refusals;
  readonly held: HeldRequests;
}

/** PREPARE of one client: known by the proxy's own id, asked of the cluster that answers, and of the other one later. */
export class PrepareRequests {
  readonly #options: PrepareRequestsOptions;

  constructor(options: PrepareRequestsOptions) {
    this.#options = options;
  }

  /** Answers it, then calls `done` once. @throws ProtocolError, RangeError when the body is broken; `done` is not called */
  take(frame: Buffer, streamId: number, done: () => void): void {
    const { session, upstreams, version, services, system, refusals, held } = this.#options;
    const { counters, gate, prepared, reads } = services;
    const offset = requestOffset(flagsOf(frame), bodyOf(frame));
    const { text, keyspace } = decodePrepare(bodyOf(frame), version, offset);
    const entry = prepared.entryOf(text, keyspace ?? upstreams.keyspace);
    if (system.prepare(entry, version, streamId)) {
      done();
      return;
    }
    const route = routeOf(gate.phase, this.#isExcluded(entry));
    if (route === undefined) {
      refusals.invalid(streamId, NO_ORIGIN);
      done();
      return;
    }
    if (held.holdIfUntold({ ...entry.alone, keyspace: entry.keyspace }, frame, streamId)) {
      done();
      return;
    }
    const cluster = route.primary;
    const startedMs = performance.now();
    reads.prepare(upstreams, cluster, outgoingPrepare(frame, entry, version, keyspace), (outcome) => {
      counters.latencies.prepare[cluster].observe(performance.now() - startedMs);
      try {
        if (outcome.kind === 'reply') session.send(dressPrepared(entry, cluster, outcome.frame, version), streamId);
        else refusals.failure(undefined, cluster, outcome, streamId);
      } catch (error) {
        refusals.fault(error, streamId);
      }
      done();
    });
  }

  #isExcluded({ statement, keyspace: inForce }: PreparedEntry): boolean {
    const { keyspace = inForce, table } = statement;
    if (keyspace === undefined || table === undefined) return false;
    return this.#options.services.filter().decide(keyspace, table).kind === 'excluded';
  }
}
