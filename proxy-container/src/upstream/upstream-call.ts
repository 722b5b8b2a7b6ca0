import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { AuthenticationFailedError, describeError, ProtocolError, ServerError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import { errorCodeIn } from '../writes/outcome.ts';
import type { LostReason, ReplyHandler, UpstreamConnection } from './upstream-connection.ts';

/**
 * What became of a request on one cluster. `lost`: it may or may not have been applied. `unsent`: it certainly was not;
 * `code` is the protocol error that tells the client so.
 */
export type Outcome =
  | { readonly kind: 'reply'; readonly frame: Buffer }
  | { readonly kind: 'lost'; readonly reason: LostReason }
  | { readonly kind: 'unsent'; readonly code: number; readonly message: string };

/** A request in the form that each cluster needs. */
export interface OutgoingRequest {
  /** The prepared statements in it. */
  readonly entries: readonly PreparedEntry[];
  /** The keyspace in force when it came, where a text in it may mean other tables in another one. */
  readonly textKeyspace?: string | undefined;
  /** The frame for a cluster; every entry has an id there. */
  frameFor(cluster: ClusterName): Buffer;
  /** Called when a cluster may call a statement by another id now. */
  forgetFrames(): void;
}

export interface CallOptions {
  readonly timeoutMs: number;
  /** Answer at once when the cluster is known to be away, instead of waiting for it. */
  readonly failFast: boolean;
  /** Another node than this one. */
  readonly exceptHost?: string | undefined;
}

const MAX_REPREPARES = 3;
/** Nothing is sent over a connection that has this many bytes waiting. */
export const MAX_BUFFERED_BYTES = 32 * 1024 * 1024;

/**
 * Sends one request to one cluster and reports its one outcome, whatever fails on the way: no method throws. A statement
 * that the node does not know is prepared there and the request sent again, unseen by anybody: UNPREPARED says that
 * nothing was applied.
 */
export class UpstreamCall implements ReplyHandler {
  readonly cluster: ClusterName;
  readonly #upstreams: SessionUpstreams;
  readonly #request: OutgoingRequest;
  readonly #options: CallOptions;
  /** Does not throw. */
  readonly #done: (outcome: Outcome) => void;
  #connection: UpstreamConnection | undefined;
  /** What is left of the request's time. */
  #timeoutMs: number;
  #reprepares = 0;

  constructor(
    upstreams: SessionUpstreams,
    cluster: ClusterName,
    request: OutgoingRequest,
    options: CallOptions,
    done: (outcome: Outcome) => void,
  ) {
    this.cluster = cluster;
    this.#upstreams = upstreams;
    this.#request = request;
    this.#options = options;
    this.#timeoutMs = options.timeoutMs;
    this.#done = done;
  }

  /** The node that the request was sent to last. */
  get host(): string | undefined {
    return this.#connection?.host;
  }

  start(): void {
    for (const entry of this.#request.entries) {
      if (entry.upstreamIds[this.cluster] === undefined) return void this.#prepareThenSend(undefined);
    }
    this.#send();
  }

  /** Takes over a request that somebody else has sent there; what comes back is then reported here. */
  resume(connection: UpstreamConnection): void {
    this.#connection = connection;
  }

  onReply(frame: Buffer): void {
    if (opcodeOf(frame) === Opcode.ERROR) {
      const { counters } = this.#upstreams.clusters[this.cluster];
      const code = errorCodeIn(frame);
      counters.errors[this.cluster].note(code);
      const canPrepare = code === ErrorCode.UNPREPARED && this.#request.entries.length > 0;
      if (canPrepare && this.#reprepares++ < MAX_REPREPARES) {
        counters.reprepared++;
        return void this.#prepareThenSend(this.#connection);
      }
    }
    this.#done({ kind: 'reply', frame });
  }

  onLost(reason: LostReason): void {
    if (reason === 'timeout') this.#upstreams.clusters[this.cluster].counters.errors[this.cluster].noteTimeout();
    this.#done({ kind: 'lost', reason });
  }

  #send(): void {
    const pool = this.#upstreams.pool(this.cluster, this.#request.textKeyspace);
    const { exceptHost } = this.#options;
    if (exceptHost !== undefined) {
      this.#sendWhen(pool.acquireElsewhere(exceptHost, this.#timeoutMs));
      return;
    }
    const connection = pool.pick();
    if (connection) {
      this.#sendOn(connection);
      return;
    }
    if (this.#options.failFast && pool.lastError !== undefined) {
      this.#unsent(pool.lastError);
      return;
    }
    this.#sendWhen(pool.acquire(this.#timeoutMs));
  }

  #sendWhen(acquiring: Promise<UpstreamConnection>): void {
    const startedMs = performance.now();
    acquiring.then(
      (acquired) => {
        this.#timeoutMs -= performance.now() - startedMs;
        this.#sendOn(acquired);
      },
      (error) => this.#unsent(error),
    );
  }

  #sendOn(connection: UpstreamConnection): void {
    this.#connection = connection;
    let frame: Buffer;
    try {
      frame = this.#request.frameFor(this.cluster);
    } catch (error) {
      // The request's own fault (values without the names they need): nothing has left.
      this.#unsent(error);
      return;
    }
    if (this.#timeoutMs <= 0) {
      this.#unsent('there was no connection in time');
      return;
    }
    const hasRoom = connection.bufferedBytes <= MAX_BUFFERED_BYTES;
    if (!hasRoom || !connection.send(frame, this, this.#timeoutMs)) this.#unsent('its connections are full');
  }

  async #prepareThenSend(near: UpstreamConnection | undefined): Promise<void> {
    const startedMs = performance.now();
    try {
      for (const entry of this.#request.entries) {
        if (near !== undefined || entry.upstreamIds[this.cluster] === undefined) {
          await this.#upstreams.prepare(this.cluster, entry, this.#options.failFast, near);
        }
      }
    } catch (error) {
      return this.#unsent(error);
    }
    this.#timeoutMs -= performance.now() - startedMs;
    this.#request.forgetFrames();
    if (near !== undefined && !near.isClosed) this.#sendOn(near);
    else this.#send();
  }

  #unsent(reason: unknown): void {
    if (reason instanceof ServerError) {
      this.#done({ kind: 'unsent', code: reason.code, message: reason.message });
    } else if (reason instanceof AuthenticationFailedError) {
      this.#upstreams.noteRefused(this.cluster);
      this.#done({ kind: 'unsent', code: ErrorCode.UNAUTHORIZED, message: `The ${this.cluster}: ${reason.message}` });
    } else if (reason instanceof ProtocolError || reason instanceof RangeError) {
      this.#done({ kind: 'unsent', code: ErrorCode.INVALID, message: describeError(reason) });
    } else {
      const message = `the ${this.cluster} cluster can't take the request: ${describeError(reason)}`;
      this.#done({ kind: 'unsent', code: ErrorCode.OVERLOADED, message });
    }
  }
}
