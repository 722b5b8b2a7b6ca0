import pLimit from 'p-limit';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { bodyOf, encodeFrame, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery, type QueryParameters } from '#core/cql/request-messages.ts';
import { decodeResult, responseOffset } from '#core/cql/result-message.ts';
import { describeError } from '#core/errors.ts';
import { valueLookup } from '#core/model/bound-values.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { Logger } from '#core/ports.ts';
import { classify } from '#core/statement/classify.ts';
import { LATE_TTL_MS } from '#core/statement/may-expire.ts';
import { copyOf, type ReadRow, type RowsCopy, readOf } from '#core/statement/read-back.ts';
import { type Fragment, type TouchedRow, touchedRows } from '#core/statement/touched-rows.ts';
import type { Counters } from '../counters/counters.ts';
import type { WriteNotes } from '../in-flight/write-notes.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { firstTable } from '../requests/count-tables.ts';
import { type SentStatements, sentStatements } from '../requests/sent-statements.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import { type Outcome, UpstreamCall } from '../upstream/upstream-call.ts';
import { type FailedWrites, lateTtl, missingConditional } from './failed-writes.ts';
import { describeOutcome, effectOf, errorCodeIn, isForbidden } from './outcome.ts';
import type { TimestampGenerator } from './timestamps.ts';

/** Serial reads are dear to the cluster that answers the clients. */
const MAX_AT_ONCE = 64;
const MAX_WAITING = 4096;
const MAX_BYTES = 32 * 1024 * 1024;
/** Of one batch. */
const MAX_ROWS = 100;
/** Serial reads contend with the conditional writes of others. */
const MAX_ATTEMPTS = 4;

const TAG = 'a conditional write (LWT) left something whose write time is not readable';

export interface ReadBacksOptions {
  readonly gate: PhaseGate;
  readonly failedWrites: FailedWrites;
  readonly notes: WriteNotes;
  readonly facts: SchemaFacts;
  readonly timestamps: TimestampGenerator;
  readonly counters: Counters;
  readonly logger: Logger;
  readonly readTimeoutMs: Readonly<Record<ClusterName, number>>;
  readonly shadowTimeoutMs: number;
}

/** Where a read-back reads and where it writes. */
export interface ReadBackRoute {
  readonly primary: ClusterName;
  readonly shadow: ClusterName;
}

/**
 * Copies what a conditional write left: the touched cells are read from the primary by a serial read, with the client's
 * own login, and written to the shadow with the write times of the primary's Paxos round. What can't be read so is
 * written at the proxy's clock or left out, and the table is marked for validation.
 */
export class ReadBacks {
  readonly #options: ReadBacksOptions;
  readonly #limit = pLimit(MAX_AT_ONCE);
  readonly #underWay = new Map<ClientRequest, ReadBackRoute>();
  #heldBytes = 0;
  #isStopped = false;

  constructor(options: ReadBacksOptions) {
    this.#options = options;
  }

  /** The proxy goes away: what has not arrived is marked, and nothing is read any more. */
  abandon(): void {
    this.#isStopped = true;
    for (const [request, route] of this.#underWay) {
      this.#giveUp(request, route, 'the proxy went away before it was copied');
    }
  }

  /** Resolves when the copy has arrived, is kept for replay, or the table is marked. Never rejects. */
  async copy(upstreams: SessionUpstreams, request: ClientRequest, route: ReadBackRoute, epoch: number): Promise<void> {
    const { counters, gate, failedWrites, logger, notes } = this.#options;
    const { byteCount } = request;
    if (this.#limit.pendingCount >= MAX_WAITING || this.#heldBytes + byteCount > MAX_BYTES) {
      counters.shadowOverflows++;
      failedWrites.mark(request, missingConditional(route.shadow, 'too many read-backs were under way'));
      notes.done(request.sequence);
      return;
    }
    // Before the read: what comes later has a later time and wins.
    const clockMicros = BigInt(this.#options.timestamps.next());
    const link = counters.shadows.enter(firstTable(counters, request), performance.now());
    this.#heldBytes += byteCount;
    counters.shadowSent++;
    counters.shadowInFlight++;
    counters.shadowBytes += byteCount;
    gate.enter(epoch);
    this.#underWay.set(request, route);
    try {
      await this.#limit(() => this.#copy(upstreams, request, route, epoch, clockMicros));
    } catch (error) {
      logger.warn('a conditional write could not be read back', { error: describeError(error) });
      this.#giveUp(request, route, 'it could not be read back');
    } finally {
      // Copied, or marked at the least.
      notes.done(request.sequence);
      this.#underWay.delete(request);
      this.#heldBytes -= byteCount;
      counters.shadowInFlight--;
      counters.shadowBytes -= byteCount;
      counters.shadows.leave(link);
      gate.leave(epoch);
    }
  }

  async #copy(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    route: ReadBackRoute,
    epoch: number,
    clockMicros: bigint,
  ): Promise<void> {
    const sent = sentStatements(request, route.primary);
    const rows = await this.#touchedRows(request, sent);
    if (rows === undefined) return this.#giveUp(request, route, 'its rows are not known for sure');
    if (rows.length > MAX_ROWS) return this.#giveUp(request, route, 'it touched too many rows');
    const consistency = sent.layout.serialConsistency ?? Consistency.SERIAL;
    const reads: ReadRow[] = [];
    const from = startOf(request.version, this.#options.timestamps.nowInSeconds());
    for (const row of rows) {
      const read = await this.#read(upstreams, request, route.primary, row, consistency, from);
      if (read === undefined) return this.#giveUp(request, route, 'it could not be read back');
      reads.push(read);
    }
    firstTable(this.#options.counters, request).readBacks += reads.length;
    const copy = copyOf(reads, { clockMicros });
    if (!copy.isExact) {
      this.#options.failedWrites.mark(request, { code: 'conditional', lacking: route.shadow, reason: TAG });
    }
    if (copy.statements.length > 0) await this.#write(upstreams, request, route.shadow, copy, epoch, from);
    else this.#options.counters.shadowSucceeded++;
  }

  async #touchedRows(request: ClientRequest, sent: SentStatements): Promise<TouchedRow[] | undefined> {
    const found: TouchedRow[] = [];
    for (const [index, one] of sent.statements.entries()) {
      const { statement: own, entry } = request.statements[index]!;
      // With functions evaluated the text is another one, and so are its markers.
      const statement = own.nonDeterministic.length > 0 ? classify(one.text) : own;
      for (const child of statement.kind === 'batch' ? statement.children : [statement]) {
        const keyspace = child.keyspace ?? entry?.keyspace ?? request.keyspace;
        if (keyspace === undefined || child.table === undefined) return undefined;
        const facts = await this.#options.facts.of(keyspace, child.table);
        const rows = facts && touchedRows({ statement: child, keyspace, valueOf: valueLookup(one) }, facts);
        if (rows === undefined) return undefined;
        found.push(...rows);
      }
    }
    return found;
  }

  /** undefined: the primary did not answer, or refused. */
  async #read(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    cluster: ClusterName,
    row: TouchedRow,
    consistency: Consistency,
    { pinned }: LifeStart,
  ): Promise<ReadRow | undefined> {
    const { version } = request;
    const { text, values } = readOf(row);
    const frame = frameOf(Opcode.QUERY, encodeQuery(text, { values, consistency, ...pinned }, version), version);
    const timeoutMs = this.#options.readTimeoutMs[cluster];
    for (let attempt = 1; attempt <= MAX_ATTEMPTS && !this.#isStopped; attempt++) {
      const outcome = await ask(upstreams, cluster, frame, timeoutMs);
      if (outcome.kind === 'reply' && opcodeOf(outcome.frame) !== Opcode.ERROR) {
        const body = bodyOf(outcome.frame);
        const result = decodeResult(body, version, responseOffset(flagsOf(outcome.frame), body));
        return result.kind === 'rows' ? { row, values: result.rows[0] } : undefined;
      }
      if (outcome.kind === 'reply' && !isPassing(errorCodeIn(outcome.frame))) return undefined;
    }
    return undefined;
  }

  async #write(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    cluster: ClusterName,
    copy: RowsCopy,
    epoch: number,
    from: LifeStart,
  ): Promise<void> {
    const { counters, failedWrites, shadowTimeoutMs } = this.#options;
    const { version } = request;
    const { consistency } = sentStatements(request, cluster).layout;
    const frame = writeFrame(copy.statements, { consistency, ...from.pinned }, version);
    const outcome = await ask(upstreams.forShadow, cluster, frame, shadowTimeoutMs);
    if (effectOf(outcome) === 'applied') {
      counters.shadowSucceeded++;
      if (copy.hasTtl && performance.now() > from.lateAfterMs) failedWrites.mark(request, lateTtl(cluster));
      return;
    }
    counters.shadowFailed++;
    if (outcome.kind === 'lost' && outcome.reason === 'timeout') counters.shadowTimeouts++;
    if (isForbidden(outcome)) {
      failedWrites.mark(request, missingConditional(cluster, `the ${cluster} does not permit it`));
      return;
    }
    // The queue may be behind for long, and no gate looks into it.
    failedWrites.mark(request, missingConditional(cluster, 'its copy waits to be replayed'));
    failedWrites.addCopy(request, cluster, epoch, describeOutcome(outcome), {
      consistency,
      statements: copy.statements,
      writtenAtSeconds: from.nowInSeconds,
      timestampMicros: BigInt(this.#options.timestamps.next()),
    });
  }

  #giveUp(request: ClientRequest, { shadow }: ReadBackRoute, why: string): void {
    this.#options.counters.shadowFailed++;
    this.#options.failedWrites.mark(request, missingConditional(shadow, why));
  }
}

/** From when the lives of what is read count, and of its copy. */
interface LifeStart {
  readonly nowInSeconds: number;
  /** v5: both clusters are told. */
  readonly pinned: { readonly nowInSeconds?: number };
  /** A copy that is there later lives longer, where each server counts by its own clock. @see ClientRequest.lateAfterMs */
  readonly lateAfterMs: number;
}

/** Before the first read. */
function startOf(version: number, nowInSeconds: number): LifeStart {
  if (version >= 5) return { nowInSeconds, pinned: { nowInSeconds }, lateAfterMs: Number.POSITIVE_INFINITY };
  return { nowInSeconds, pinned: {}, lateAfterMs: performance.now() + LATE_TTL_MS };
}

function isPassing(code: number): boolean {
  return code === ErrorCode.READ_TIMEOUT || code === ErrorCode.UNAVAILABLE || code === ErrorCode.OVERLOADED;
}

/** One partition's mutations; each carries its own write time. */
function writeFrame(statements: readonly Fragment[], parameters: QueryParameters, version: number): Buffer {
  const [first] = statements;
  if (statements.length === 1) {
    return frameOf(Opcode.QUERY, encodeQuery(first!.text, { values: first!.values, ...parameters }, version), version);
  }
  const body = encodeBatch(BatchKind.UNLOGGED, statements, parameters, version);
  return frameOf(Opcode.BATCH, body, version);
}

function frameOf(opcode: number, body: Buffer, version: number): Buffer {
  return encodeFrame({ version, isResponse: false, flags: 0, streamId: 0, opcode }, body);
}

function ask(upstreams: SessionUpstreams, cluster: ClusterName, frame: Buffer, timeoutMs: number): Promise<Outcome> {
  const outgoing = { entries: [], frameFor: () => frame, forgetFrames: () => undefined };
  return new Promise((resolve) => {
    new UpstreamCall(upstreams, cluster, outgoing, { timeoutMs, failFast: true }, resolve).start();
  });
}
