import type { ProxyConfig } from '#core/config/schema.ts';
import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { describeError } from '#core/errors.ts';
import type { Filter } from '#core/filter/filter.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { Route } from '../requests/route.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import { type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';
import { errorCodeIn } from '../writes/outcome.ts';
import { type ComparableRead, comparableRead } from './comparable.ts';
import { type Comparison, compareResults, type Difference } from './compare-results.ts';
import { DifferenceLog, type ShownDifference } from './difference-log.ts';
import type { NotCompared, ReadCounters } from './read-counters.ts';

const MAX_COPIES = 1024;
const MAX_COPY_BYTES = 32 * 1024 * 1024;
/** A larger answer would hold up everything else while it is looked at. */
const MAX_COMPARED_BYTES = 1024 * 1024;
/** Differences that wait to be judged: each costs two reads per round, whatever the load of the clients is. */
const MAX_SETTLING = 128;
const MAX_ROUNDS = 3;

export interface DualReadsOptions {
  readonly reads: ProxyConfig['reads'];
  /** For a copy, and for each side of a second look. */
  readonly timeoutMs: number;
  /** How long a copy of a write may be late, twice: a difference that is older is none of lateness. */
  readonly settleMs: number;
  readonly gate: PhaseGate;
  readonly marks: SuspectMarks;
  readonly counters: Counters;
  readonly logger: Logger;
  filter(): Filter;
  /** Whether both clusters order their partitions alike; false while that is not known. */
  sameTokenOrder(): boolean;
}

/** What `/status` shows of reads. */
export interface ShownReads extends Readonly<ReadCounters> {
  /** The last ones that were found. */
  readonly differences: readonly ShownDifference[];
}

/** One read, looked at on both clusters. */
interface Look {
  readonly upstreams: SessionUpstreams;
  readonly request: ClientRequest;
  readonly read: ComparableRead;
  /** The session's keyspace then; in another one the same request means other tables. */
  readonly keyspace: string | undefined;
  /** Then in force. In a later one the shadow may lack what was written while it had no part, which is no finding. */
  readonly epoch: number;
  /** Then in force. What a later one excludes gets no copies any more. */
  readonly filter: Filter;
}

/**
 * Reads that are sent to the other cluster too, whose answers are compared: nobody waits for them, and they are bounded
 * in number and memory. Beside what they find, they warm the caches of a cluster that does not answer yet.
 */
export class DualReads {
  readonly log = new DifferenceLog();
  readonly #options: DualReadsOptions;
  readonly #isEach: boolean;
  readonly #samplePercent: number;
  #samples = 0;
  #isStopped = false;
  #settling = 0;

  constructor(options: DualReadsOptions) {
    this.#options = options;
    this.#isEach = options.reads.mode === 'dualAsync';
    this.#samplePercent = options.reads.samplePercent;
  }

  /** Nothing is sent any more: the proxy is going away. */
  stop(): void {
    this.#isStopped = true;
  }

  /** The cluster that a read is copied to once it is answered, if this is one that is copied. */
  destinationOf(route: Route): ClusterName | undefined {
    const { shadow } = route;
    if (this.#isStopped) return undefined;
    if (shadow === undefined || this.#isEach) return shadow;
    // In dual-async the target need not hold the data yet.
    if (route.primary === 'origin' && !route.isSync) return undefined;
    this.#samples += this.#samplePercent;
    if (this.#samples < 100) return undefined;
    this.#samples -= 100;
    return shadow;
  }

  /** Whether reads on this route may be copied at all. */
  mayCopy({ primary, shadow, isSync }: Route): boolean {
    if (this.#isStopped || shadow === undefined) return false;
    return this.#isEach || (this.#samplePercent > 0 && (primary !== 'origin' || isSync));
  }

  /** Copies a read that `frame` has answered, and compares. Never throws. */
  copy(upstreams: SessionUpstreams, request: ClientRequest, shadow: ClusterName, frame: Buffer): void {
    try {
      this.#copy(upstreams, request, shadow, frame);
    } catch (error) {
      this.#noteFault(error);
    }
  }

  #copy(upstreams: SessionUpstreams, request: ClientRequest, shadow: ClusterName, frame: Buffer): void {
    const { counters, gate, sameTokenOrder } = this.#options;
    const { reading } = counters;
    const filter = this.#options.filter();
    const read = comparableRead(request, filter, sameTokenOrder());
    if (read === undefined) return;
    const bytes = frame.length + request.byteCount;
    const isFull = reading.copiesInFlight >= MAX_COPIES || reading.copyBytes + bytes > MAX_COPY_BYTES;
    const obstacle = typeof read === 'string' ? read : frame.length > MAX_COMPARED_BYTES ? 'tooLarge' : undefined;
    if (typeof read === 'string' || obstacle !== undefined || isFull) {
      this.#skip(obstacle ?? 'dropped');
      return;
    }
    reading.copies++;
    reading.copiesInFlight++;
    reading.copyBytes += bytes;
    // A frame is a view of all that one read of the socket brought.
    const answer = Buffer.from(frame);
    const look: Look = { upstreams, request, read, keyspace: upstreams.keyspace, epoch: gate.epoch, filter };
    this.#call(look, shadow, (outcome) => {
      reading.copiesInFlight--;
      reading.copyBytes -= bytes;
      const comparison = this.#compare(look, { kind: 'reply', frame: answer }, outcome);
      if (comparison === undefined) return;
      counters.table(read.keyspace, read.table).readsCompared++;
      if (comparison.kind === 'equal') reading.equal++;
      else this.#settle(look, comparison.difference, 1);
    });
  }

  /** undefined: it was counted as not compared. */
  #compare(
    { request, read }: Look,
    primary: Outcome,
    shadow: Outcome,
  ): Exclude<Comparison, { kind: 'incomparable' }> | undefined {
    const fault = faultOf(shadow) ?? faultOf(primary);
    if (fault !== undefined || shadow.kind !== 'reply' || primary.kind !== 'reply') {
      this.#skip(fault ?? 'failed');
      return undefined;
    }
    if (shadow.frame.length > MAX_COMPARED_BYTES) {
      this.#skip('tooLarge');
      return undefined;
    }
    const comparison = compareResults(primary.frame, shadow.frame, {
      version: request.version,
      isOrdered: read.facts.isOrdered,
      sameTokenOrder: this.#options.sameTokenOrder(),
    });
    if (comparison.kind !== 'incomparable') return comparison;
    this.#skip(comparison.reason === 'notRows' ? 'failed' : comparison.reason);
    return undefined;
  }

  /**
   * Both clusters are asked again when a late copy would have arrived. The same two answers as before are a difference;
   * others mean that somebody writes there, and the next round may tell.
   */
  #settle(look: Look, before: Difference, round: number): void {
    const { reading } = this.#options.counters;
    if (this.#settling >= MAX_SETTLING || round > MAX_ROUNDS) {
      reading.unsettled++;
      return;
    }
    this.#settling++;
    const again = (): void => {
      this.#settling--;
      try {
        this.#lookAgain(look, before, round);
      } catch (error) {
        this.#noteFault(error);
      }
    };
    setTimeout(again, this.#options.settleMs).unref();
  }

  #lookAgain(look: Look, before: Difference, round: number): void {
    if (this.#isStopped) return;
    const { gate, counters } = this.#options;
    const primary = primaryOf(gate.phase);
    const shadow = shadowOf(gate.phase);
    if (shadow === undefined || this.#isOutdated(look)) {
      counters.reading.unsettled++;
      return;
    }
    this.#call(look, shadow, (second) =>
      this.#call(look, primary, (first) => {
        const comparison = this.#compare(look, first, second);
        if (comparison === undefined) return;
        if (comparison.kind === 'equal') counters.reading.settled++;
        else if (this.#isOutdated(look)) counters.reading.unsettled++;
        else if (comparison.difference.digest === before.digest) this.#judge(look, comparison.difference);
        else this.#settle(look, comparison.difference, round + 1);
      }),
    );
  }

  #isOutdated({ upstreams, keyspace, epoch, filter }: Look): boolean {
    const { gate } = this.#options;
    return upstreams.keyspace !== keyspace || epoch !== gate.epoch || filter !== this.#options.filter();
  }

  #judge({ request, read }: Look, difference: Difference): void {
    const { counters, gate, marks } = this.#options;
    const { keyspace, table } = read;
    counters.reading.different++;
    counters.table(keyspace, table).divergences++;
    this.log.add(keyspace, table, valuesOf(request), difference, new Date());
    // Before, in dual-async, the target is being loaded, and what it lacks is no finding.
    const shouldBeEqual = gate.phase === 'dual-sync' || gate.phase === 'target-primary';
    if (!shouldBeEqual) return;
    const reason = 'a read of both clusters differed';
    marks.mark({ keyspace, table, tokens: null, code: 'read-differs', reason, lacking: null });
  }

  /** `done` may throw: that is a fault of the comparison alone. */
  #call({ upstreams, request }: Look, cluster: ClusterName, done: (outcome: Outcome) => void): void {
    const options = { timeoutMs: this.#options.timeoutMs, failFast: true };
    const from = cluster === shadowOf(this.#options.gate.phase) ? upstreams.forShadow : upstreams;
    const call = new UpstreamCall(from, cluster, request, options, (outcome) => {
      try {
        done(outcome);
      } catch (error) {
        this.#noteFault(error);
      }
    });
    call.start();
  }

  #skip(reason: NotCompared): void {
    this.#options.counters.reading.notCompared[reason]++;
  }

  #noteFault(error: unknown): void {
    this.#options.counters.internalErrors++;
    this.#options.logger.error('a read could not be compared', { error: describeError(error) });
  }
}

function faultOf(outcome: Outcome): NotCompared | undefined {
  if (outcome.kind !== 'reply') return 'failed';
  if (opcodeOf(outcome.frame) === Opcode.RESULT) return undefined;
  return errorCodeIn(outcome.frame) === ErrorCode.UNAUTHORIZED ? 'unauthorized' : 'failed';
}

/** What tells one read of a table from another: the bound values, or the text with its literals. */
function valuesOf(request: ClientRequest): Uint8Array[] {
  const { text, valueCount = 0 } = request.ensureLayout().statements[0]!;
  const lookUp = request.valuesOf(0);
  const values = Array.from({ length: valueCount }, (_, index) => lookUp(index, undefined) ?? Buffer.alloc(0));
  return text === undefined ? values : [Buffer.from(text), ...values];
}
