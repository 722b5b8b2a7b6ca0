import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { describeError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { TableCounters } from '../counters/table-counters.ts';
import type { WriteNotes } from '../in-flight/write-notes.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { firstTable, tablesWritten } from '../requests/count-tables.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import { type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';
import { type FailedWrites, lateTtl } from './failed-writes.ts';
import type { ListOrder } from './list-order.ts';
import { type ListPlace, listPlaceOf } from './list-place.ts';
import { describeOutcome, effectOf, isForbidden } from './outcome.ts';
import type { ShadowInFlight } from './shadow-queue.ts';

const MAX_IN_FLIGHT = 16_384;
const MAX_BYTES = 64 * 1024 * 1024;
const WARNING_INTERVAL_MS = 1000;

const SKIPPED: Outcome = { kind: 'unsent', code: ErrorCode.OVERLOADED, message: 'an earlier write to the list failed' };

export interface ShadowWriterOptions {
  readonly timeoutMs: number;
  readonly gate: PhaseGate;
  readonly failedWrites: FailedWrites;
  readonly lists: ListOrder;
  readonly facts: SchemaFacts;
  readonly notes: WriteNotes;
  readonly counters: Counters;
  readonly logger: Logger;
}

/** Copies of writes to the cluster that does not answer the client. Nobody waits for them; their memory is bounded. */
export class ShadowWriter {
  readonly #options: ShadowWriterOptions;
  #failedSinceWarning = 0;
  #lastWarningMs = Number.NEGATIVE_INFINITY;

  constructor(options: ShadowWriterOptions) {
    this.#options = options;
  }

  get timeoutMs(): number {
    return this.#options.timeoutMs;
  }

  /** Sends a copy of what `epoch` routed; without room for it, it goes where failed ones go. */
  send(upstreams: SessionUpstreams, cluster: ClusterName, request: ClientRequest, epoch: number): void {
    const { counters, facts, gate, lists } = this.#options;
    const { byteCount } = request;
    if (!this.hasRoom(byteCount)) {
      counters.shadowOverflows++;
      this.#fail(request, cluster, epoch, 'too many shadow writes in flight');
      return;
    }
    request.detach();
    let place: ListPlace | undefined;
    try {
      place = listPlaceOf(request, facts);
    } catch (error) {
      // Its client has the primary's answer: nobody else would hear of it.
      this.#fail(request, cluster, epoch, `the request can not be read: ${describeError(error)}`);
      return;
    }
    const link = this.begin(firstTable(counters, request), byteCount, performance.now(), epoch);
    const finish = (outcome: Outcome): void => {
      this.end(link, cluster, byteCount, performance.now());
      try {
        this.settle(request, cluster, epoch, outcome);
      } finally {
        gate.leave(epoch);
      }
    };
    const options = { timeoutMs: this.timeoutMs, failFast: true };
    if (place === undefined) {
      new UpstreamCall(upstreams.forShadow, cluster, request, options, finish).start();
      return;
    }
    const call = new UpstreamCall(upstreams.forShadow, cluster, request, options, (outcome) => {
      try {
        finish(outcome);
      } finally {
        lists.done(place, effectOf(outcome) === 'applied' ? 'next' : 'skip');
      }
    });
    lists.take(place, { run: () => call.start(), skip: () => finish(SKIPPED) });
  }

  /** Whether there is room for one more. */
  hasRoom(byteCount: number): boolean {
    const { shadowInFlight, shadowBytes } = this.#options.counters;
    return shadowInFlight < MAX_IN_FLIGHT && shadowBytes + byteCount <= MAX_BYTES;
  }

  /** Counts a copy that leaves. Returns what `end` needs: `link`, where the caller has one to spare. */
  begin(
    table: TableCounters,
    byteCount: number,
    startedMs: number,
    epoch: number,
    link?: ShadowInFlight,
  ): ShadowInFlight {
    const { counters, gate } = this.#options;
    counters.shadowSent++;
    counters.shadowInFlight++;
    counters.shadowBytes += byteCount;
    gate.enter(epoch);
    return counters.shadows.enter(table, startedMs, link);
  }

  /** Counts the end of what `begin` has counted, whatever it was; `gate.leave` comes when it is settled. */
  end(link: ShadowInFlight, cluster: ClusterName, byteCount: number, nowMs: number): void {
    const { counters } = this.#options;
    counters.shadowInFlight--;
    counters.shadowBytes -= byteCount;
    counters.shadows.leave(link);
    counters.shadowLatency[cluster].observe(nowMs - link.startedMs);
  }

  /** Takes the outcome of a copy, sent here or together with the primary's. */
  settle(request: ClientRequest, cluster: ClusterName, epoch: number, outcome: Outcome): void {
    const { counters, failedWrites, notes } = this.#options;
    if (outcome.kind === 'reply' && opcodeOf(outcome.frame) !== Opcode.ERROR) {
      this.succeed(request, cluster);
      return;
    }
    // One that still arrives wins over its replay, which shortens the lives of the same cells.
    const mayArriveLate = outcome.kind === 'lost' && request.isCountedByServers;
    if (mayArriveLate && !request.endsEarlyByReplay) void this.#markLate(request, cluster);
    if (outcome.kind === 'lost' && outcome.reason === 'timeout') counters.shadowTimeouts++;
    if (isForbidden(outcome)) {
      // Replaying it with the tool's own rights would give the client more than it has.
      this.#countFailure(request);
      this.#warn(cluster, 'its login or its rights there');
      const reason = `the ${cluster} does not permit a write that the other cluster permits`;
      failedWrites.mark(request, { code: 'forbidden', lacking: cluster, reason });
      notes.done(request.sequence);
      return;
    }
    this.#fail(request, cluster, epoch, describeOutcome(outcome));
  }

  /** Both clusters have it. @param late which one may have it later than the other; null: either */
  succeed(request: ClientRequest, late: ClusterName | null): void {
    this.#options.counters.shadowSucceeded++;
    if (performance.now() > request.lateAfterMs) this.endLate(request, late);
    else this.#options.notes.done(request.sequence);
  }

  /** The same of one that came late: the log of writes under way forgets it once it is marked, if it has to be. */
  endLate(request: ClientRequest, late: ClusterName | null): void {
    const { notes } = this.#options;
    const { sequence } = request;
    const marking = this.#markLate(request, late);
    if (marking === undefined) notes.done(sequence);
    else void marking.then(() => notes.done(sequence));
  }

  /**
   * Marks what a copy has written, or may yet write, so late that it lives longer there, or what its replay will end early.
   * Resolves when that is done where the table has to be asked for first: most have no TTL.
   * @param late where; null: on either cluster
   */
  #markLate(request: ClientRequest, late: ClusterName | null): Promise<void> | undefined {
    const mark = (mayExpire: boolean): void => {
      if (mayExpire) this.#options.failedWrites.mark(request, lateTtl(late));
    };
    const { mayExpireNow } = request;
    if (mayExpireNow === undefined) {
      request.detach();
      return request.mayExpireOnceKnown().then(mark);
    }
    mark(mayExpireNow);
    return undefined;
  }

  #fail(request: ClientRequest, cluster: ClusterName, epoch: number, reason: string): void {
    this.#countFailure(request);
    if (request.endsEarlyByReplay) void this.#markLate(request, cluster);
    this.#warn(cluster, reason);
    this.#options.failedWrites.add(request, cluster, epoch, reason);
  }

  #countFailure(request: ClientRequest): void {
    const { counters } = this.#options;
    counters.shadowFailed++;
    for (const table of tablesWritten(counters, request)) table.shadowFailed++;
  }

  /** One line a second at most, with how many it stands for. */
  #warn(cluster: ClusterName, reason: string): void {
    this.#failedSinceWarning++;
    const nowMs = performance.now();
    if (nowMs - this.#lastWarningMs < WARNING_INTERVAL_MS) return;
    const failures = this.#failedSinceWarning;
    this.#options.logger.warn('shadow writes failed; they are kept for replay, or their tables are suspect', {
      cluster,
      reason,
      failures,
    });
    this.#lastWarningMs = nowMs;
    this.#failedSinceWarning = 0;
  }
}
