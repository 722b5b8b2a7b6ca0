import type { ProxyConfig } from '#core/config/schema.ts';
import { bodyOf, flagsOf } from '#core/cql/frame.ts';
import { decodeResult, responseOffset } from '#core/cql/result-message.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Counters } from '../counters/counters.ts';
import type { WriteNotes } from '../in-flight/write-notes.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { type DualRoute, hasShadow, type Route } from '../requests/route.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import { type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';
import { type FailedWrites, missingConditional } from './failed-writes.ts';
import type { ListOrder } from './list-order.ts';
import { listPlaceOf } from './list-place.ts';
import { effectOf, isPartly } from './outcome.ts';
import type { ReadBacks } from './read-backs.ts';
import type { ShadowWriter } from './shadow-writer.ts';

export interface DualWriteOptions {
  readonly dualSync: ProxyConfig['dualSync'];
  readonly gate: PhaseGate;
  readonly shadows: ShadowWriter;
  readonly failedWrites: FailedWrites;
  readonly readBacks: ReadBacks;
  /** Of writes to both clusters; beside the one of the copies alone. */
  readonly lists: ListOrder;
  readonly facts: SchemaFacts;
  readonly notes: WriteNotes;
  readonly counters: Counters;
  readonly requestTimeoutMs: Readonly<Record<ClusterName, number>>;
}

/**
 * Receives what the client is to be told, and what became of a copy that it waited for. Does not throw: what follows the
 * answer must always happen.
 */
export type Answer = (outcome: Outcome, copy?: Outcome) => void;

/** Applies writes by the rules of the phase: who is waited for, when the copy leaves, what becomes of differences. */
export class DualWrite {
  readonly #options: DualWriteOptions;

  constructor(options: DualWriteOptions) {
    this.#options = options;
  }

  /** The proxy goes away: what is under way and can't be kept is marked. */
  abandon(): void {
    this.#options.readBacks.abandon();
  }

  apply(upstreams: SessionUpstreams, request: ClientRequest, route: Route, answer: Answer): void {
    if (request.requestClass === 'lwt') {
      this.#conditional(upstreams, request, route, answer);
      return;
    }
    if (!hasShadow(route)) {
      this.#primaryAlone(upstreams, request, route.primary, answer);
      return;
    }
    const { facts, lists, notes } = this.#options;
    const place = listPlaceOf(request, facts);
    notes.note(request, route);
    // The primary itself gives two appends that it gets at once an order which nobody is told, and the shadow another one.
    if (place?.row === undefined || !place.isList) {
      this.#dual(upstreams, request, route, answer);
      return;
    }
    const run = (): void =>
      this.#dual(upstreams, request, route, (outcome, copy) => {
        answer(outcome);
        // A shadow that fails is not waited for once for each of them: what it missed is read back as a whole.
        const isInOrder = effectOf(outcome) !== 'unknown' && (copy === undefined || effectOf(copy) === 'applied');
        lists.done(place, isInOrder ? 'next' : 'release');
      });
    lists.take(place, { run, skip: run });
  }

  #dual(upstreams: SessionUpstreams, request: ClientRequest, route: DualRoute, answer: Answer): void {
    if (this.#differsByNature(request)) {
      this.#primaryAlone(upstreams, request, route.primary, (outcome) => {
        answer(outcome);
        // Not before: a client may name any table, and what is refused is nowhere.
        if (effectOf(outcome) !== 'notApplied' || isPartly(request, outcome)) {
          const reason = 'a write with a function that can not be evaluated once is not copied';
          this.#options.failedWrites.mark(request, { code: 'function', lacking: route.shadow, reason });
        }
        this.#options.notes.done(request.sequence);
      });
      return;
    }
    request.noteSent();
    if (route.isSync) {
      const isPermitted = upstreams.permits(route.primary).covers(request, performance.now());
      if (isPermitted) this.#bothAtOnce(upstreams, request, route, answer);
      else this.#bothInTurn(upstreams, request, route, answer);
      return;
    }
    this.#thenShadow(upstreams, request, route, answer);
  }

  #primaryAlone(upstreams: SessionUpstreams, request: ClientRequest, primary: ClusterName, answer: Answer): void {
    this.#call(upstreams, primary, request, (outcome) => {
      this.#countFailure(primary, outcome);
      answer(outcome);
    });
  }

  /** The copy leaves once the primary's outcome is known: what it refused is never copied. */
  #thenShadow(upstreams: SessionUpstreams, request: ClientRequest, route: DualRoute, answer: Answer): void {
    const { epoch } = this.#options.gate;
    this.#call(upstreams, route.primary, request, (outcome) => {
      this.settlePrimary(upstreams, request, route, epoch, outcome, answer);
    });
  }

  /** Takes the outcome of a write that one cluster decides, sent here or by `UsualWrites`, which does this by itself where it is plain. */
  settlePrimary(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    { primary, shadow }: Route,
    epoch: number,
    outcome: Outcome,
    answer: Answer,
  ): void {
    this.#countFailure(primary, outcome);
    answer(outcome);
    if (shadow === undefined) return;
    const effect = effectOf(outcome);
    if (effect === 'notApplied') {
      this.#markIfPartly(request, primary, outcome);
      this.#options.notes.done(request.sequence);
      return;
    }
    if (effect === 'unknown') {
      const reason = `a write had no clear outcome on the ${primary}`;
      this.#options.failedWrites.mark(request, { code: 'unknown-outcome', lacking: null, reason });
    }
    this.#options.shadows.send(upstreams, shadow, request, epoch);
  }

  #bothAtOnce(upstreams: SessionUpstreams, request: ClientRequest, route: DualRoute, answer: Answer): void {
    const { epoch } = this.#options.gate;
    const { primary, shadow } = route;
    const outcomes: Partial<Record<ClusterName, Outcome>> = {};
    const take = (cluster: ClusterName, outcome: Outcome): void => {
      outcomes[cluster] = outcome;
      const first = outcomes[primary];
      const second = outcomes[shadow];
      if (first && second) this.#settleBoth(request, route, first, second, epoch, answer);
    };
    const sentAtMs = performance.now();
    this.#call(upstreams, primary, request, (outcome) => {
      upstreams.permits(primary).learn(request, outcome, sentAtMs);
      take(primary, outcome);
    });
    this.#callShadow(upstreams, shadow, request, (outcome) => take(shadow, outcome));
  }

  /** Whether the client may write there the primary has not shown lately: what it refuses must not reach the shadow. */
  #bothInTurn(upstreams: SessionUpstreams, request: ClientRequest, route: DualRoute, answer: Answer): void {
    const { epoch } = this.#options.gate;
    const { primary, shadow } = route;
    const sentAtMs = performance.now();
    this.#call(upstreams, primary, request, (first) => {
      upstreams.permits(primary).learn(request, first, sentAtMs);
      if (effectOf(first) === 'notApplied') {
        this.#countFailure(primary, first);
        this.#markIfPartly(request, primary, first);
        this.#options.notes.done(request.sequence);
        answer(first);
        return;
      }
      this.#callShadow(upstreams, shadow, request, (second) => {
        this.#settleBoth(request, route, first, second, epoch, answer);
      });
    });
  }

  /** A copy that the client waits for. */
  #callShadow(upstreams: SessionUpstreams, shadow: ClusterName, request: ClientRequest, done: Answer): void {
    const { shadows, counters, dualSync, requestTimeoutMs } = this.#options;
    counters.shadowSent++;
    const timeoutMs = dualSync === 'strict' ? requestTimeoutMs[shadow] : shadows.timeoutMs;
    new UpstreamCall(upstreams.forShadow, shadow, request, { timeoutMs, failFast: true }, done).start();
  }

  #settleBoth(
    request: ClientRequest,
    { primary, shadow }: DualRoute,
    first: Outcome,
    second: Outcome,
    epoch: number,
    answer: Answer,
  ): void {
    const { shadows, failedWrites, counters, dualSync, notes } = this.#options;
    const isOnPrimary = effectOf(first);
    const isOnShadow = effectOf(second);
    if (isOnPrimary === 'applied') {
      if (isOnShadow === 'applied') {
        shadows.succeed(request, null);
      } else {
        // The shadow catches up by replay also where the client is told of the failure: what it does then is a newer write.
        shadows.settle(request, shadow, epoch, second);
        this.#countFailure(shadow, second);
      }
      answer(isOnShadow === 'applied' || dualSync === 'lenient' ? first : second, second);
      return;
    }
    if (isOnPrimary === 'notApplied' && isOnShadow === 'notApplied') {
      counters.failedWritesBoth++;
      this.#markIfPartly(request, primary, first);
      this.#markIfPartly(request, shadow, second);
    } else {
      this.#countFailure(primary, first);
      // The gates of the next primary go by it: who may have it is never said to be the one that lacks it.
      const isShadowClear = isOnPrimary === 'notApplied' || isOnShadow === 'applied';
      const lacking = isShadowClear ? primary : isOnShadow === 'notApplied' ? shadow : null;
      const other = lacking === primary ? shadow : primary;
      const reason =
        lacking === null
          ? 'a write had no clear outcome on either cluster'
          : `a write may have reached the ${other}, and perhaps not the ${lacking}`;
      failedWrites.mark(request, { code: 'unknown-outcome', lacking, reason });
    }
    notes.done(request.sequence);
    answer(first);
  }

  /**
   * Decided by the primary; what it left is read back and copied. In `dual-sync` the answer waits until the shadow has it,
   * or the time of a request is over; it is the primary's in any case: an application that is told of a failure would ask
   * again, and be refused.
   */
  #conditional(upstreams: SessionUpstreams, request: ClientRequest, route: Route, answer: Answer): void {
    const { gate, failedWrites, notes, readBacks, requestTimeoutMs } = this.#options;
    const { epoch } = gate;
    const { primary, shadow } = route;
    notes.note(request, route);
    this.#call(upstreams, primary, request, (outcome) => {
      this.#countFailure(primary, outcome);
      const effect = effectOf(outcome);
      const isApplied = effect === 'applied' && outcome.kind === 'reply' && wasApplied(outcome.frame, request.version);
      if (shadow === undefined || !isApplied || !route.isSync) answer(outcome);
      if (shadow === undefined) return;
      if (effect === 'unknown') {
        failedWrites.mark(request, missingConditional(shadow, 'it had no clear outcome'));
      }
      if (!isApplied) {
        notes.done(request.sequence);
        return;
      }
      const copied = readBacks.copy(upstreams, request, { primary, shadow }, epoch);
      if (!route.isSync) return;
      // Behind others whose shadow hangs it would wait for longer than the client does.
      const timer = setTimeout(() => answer(outcome), requestTimeoutMs[shadow]);
      void copied.then(() => {
        clearTimeout(timer);
        answer(outcome);
      });
    });
  }

  #call(upstreams: SessionUpstreams, cluster: ClusterName, request: ClientRequest, done: Answer): void {
    const options = { timeoutMs: this.#options.requestTimeoutMs[cluster], failFast: false };
    new UpstreamCall(upstreams, cluster, request, options, done).start();
  }

  #markIfPartly(request: ClientRequest, cluster: ClusterName, outcome: Outcome): void {
    if (!isPartly(request, outcome)) return;
    const reason = `the ${cluster} refused a write that it may have applied in part`;
    this.#options.failedWrites.mark(request, { code: 'partial', lacking: null, reason });
  }

  #differsByNature(request: ClientRequest): boolean {
    return request.statements.some(
      ({ statement, entry }) =>
        statement.unknownFunctions.length > 0 ||
        (entry !== undefined && entry.inserted.length < statement.nonDeterministic.length),
    );
  }

  #countFailure(cluster: ClusterName, outcome: Outcome): void {
    if (effectOf(outcome) === 'applied') return;
    if (cluster === 'origin') this.#options.counters.failedWritesOrigin++;
    else this.#options.counters.failedWritesTarget++;
  }
}

/** The first column of a conditional write's answer is [applied]. An answer that can't be read counts as applied. */
function wasApplied(frame: Buffer, version: number): boolean {
  const body = bodyOf(frame);
  try {
    const result = decodeResult(body, version, responseOffset(flagsOf(frame), body));
    return result.kind !== 'rows' || result.rows.some((row) => row[0]?.[0] === 1);
  } catch {
    return true;
  }
}
