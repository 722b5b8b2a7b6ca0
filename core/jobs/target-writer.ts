/** Sends requests to the target: few at a time when it is slow, within a budget, again when it failed. */

import type { BatchBody } from '../cql/batch-body.ts';
import { BatchKind } from '../cql/protocol.ts';
import { encodeBatchTail } from '../cql/request-messages.ts';
import { describeError, MigrationError, RequestTimeoutError, ServerError } from '../errors.ts';
import type { ToStatements } from '../merge/statements.ts';
import type { Consistency } from '../model/cql-request.ts';
import type { Clock, LoadSession, Logger } from '../ports.ts';
import { AdaptiveLimit } from './adaptive-limit.ts';
import { ByteBudget } from './byte-budget.ts';
import { PreparedTexts } from './prepared-texts.ts';
import { WriteRequest } from './write-request.ts';

export interface TargetWriterPorts {
  readonly target: LoadSession;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

export interface TargetWriterOptions {
  /** `keyspace.table` on the target, for messages. */
  readonly table: string;
  readonly toStatements: ToStatements;
  readonly consistency: Consistency;
  readonly exactTimes: boolean;
  readonly bytesPerSecond: number;
  /** Of the requests that are in flight, and again of their memory that is kept for others; one of any size may go. */
  readonly maxBytesInFlight: number;
  /** Lists are written this many microseconds late, and one more for each attempt. */
  readonly listAttempt: number;
}

export interface WriterCounts {
  statements: number;
  requests: number;
  /** Of the requests' bodies. */
  writtenBytes: number;
  retries: number;
}

const START_IN_FLIGHT = 16;
const MAX_IN_FLIGHT = 128;
const MAX_ATTEMPTS = 10;
const MIN_DELAY_MS = 100;
const MAX_DELAY_MS = 15_000;
/** A server that refuses a request as invalid may mean its size if it is larger. */
const LARGE_BYTES = 1024 * 1024;
const SHOWN_KEY_BYTES = 64;
/** Of a body that is kept for another request. */
const MAX_SPARE_BYTES = 256 * 1024;

// Codes of ERROR (native protocol, section 9) that say "slower": overloaded, write timeout, read timeout, unavailable.
const SLOWER_CODES: ReadonlySet<number> = new Set([0x1000, 0x1001, 0x1100, 0x1200]);

/**
 * Takes requests in order, completes them in any order. The first failure stops it: `write` and `finish` throw it.
 * `Position` is whatever says how far the load has come.
 */
export class TargetWriter<Position> {
  readonly counts: WriterCounts = { statements: 0, requests: 0, writtenBytes: 0, retries: 0 };
  readonly prepared: PreparedTexts;
  readonly #ports: TargetWriterPorts;
  readonly #options: TargetWriterOptions;
  readonly #limit: AdaptiveLimit;
  /** Requests that are under way, oldest first. */
  readonly #underWay = new Set<WriteRequest<Position>>();
  /** Nothing but memory: what else a request held, windows of SSTables above all, must not outlive it. */
  readonly #spare: BatchBody[] = [];
  #spareBytes = 0;
  #failure: unknown;
  readonly #budget: ByteBudget;

  constructor(ports: TargetWriterPorts, options: TargetWriterOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#limit = new AdaptiveLimit(START_IN_FLIGHT, MAX_IN_FLIGHT, options.maxBytesInFlight);
    this.prepared = new PreparedTexts(ports.target);
    this.#budget = new ByteBudget(options.bytesPerSecond, ports.clock, ports.sleep);
  }

  /** Requests in flight that the target bears at the moment. */
  get limit(): number {
    return this.#limit.limit;
  }

  /** An empty request. */
  take(position: Position): WriteRequest<Position> {
    const body = this.#spare.pop();
    if (body === undefined) return new WriteRequest(position);
    this.#spareBytes -= body.capacity;
    body.clear();
    return new WriteRequest(position, body);
  }

  #keep(body: BatchBody): void {
    const { capacity } = body;
    if (capacity > MAX_SPARE_BYTES || this.#spareBytes + capacity > this.#options.maxBytesInFlight) return;
    this.#spareBytes += capacity;
    this.#spare.push(body);
  }

  /** Waits for room, then sends without waiting for the answer; undefined: there was room. */
  write(request: WriteRequest<Position>): Promise<void> | undefined {
    const bytes = request.byteLength;
    if (!this.#limit.tryAcquire(bytes)) return this.#limit.acquire(bytes).then(() => this.#start(request, bytes));
    this.#start(request, bytes);
    return undefined;
  }

  #start(request: WriteRequest<Position>, bytes: number): void {
    if (this.#failure !== undefined) {
      this.#limit.release(bytes);
      throw this.#failure;
    }
    this.#underWay.add(request);
    this.#send(request).then(
      () => {
        this.#underWay.delete(request);
        this.#keep(request.body);
        this.#limit.release(bytes);
      },
      (error: unknown) => {
        this.#failure ??= withSize(error, request, this.#options.table);
        this.#limit.release(bytes);
      },
    );
  }

  /** What the oldest request that is not done says of where to go on. */
  get oldest(): { readonly position: Position } | undefined {
    for (const request of this.#underWay) return request;
    return undefined;
  }

  /** Waits for all answers. */
  async finish(): Promise<void> {
    await this.#limit.idle();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits for all answers, whatever they are. */
  async drain(): Promise<void> {
    await this.#limit.idle();
  }

  async #send(request: WriteRequest<Position>): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const { round } = this.#limit;
      try {
        await this.#sendOnce(request, attempt);
        this.#limit.succeeded();
        return;
      } catch (error) {
        const isRetryable = error instanceof MigrationError && error.retryable;
        if (!isRetryable || attempt + 1 >= MAX_ATTEMPTS || this.#failure !== undefined) throw error;
        if (isSlower(error)) this.#limit.overloaded(round);
        this.counts.retries++;
        const delayMs = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** attempt);
        this.#ports.logger.debug('a write to the target failed; it will be sent again', {
          error: describeError(error),
          attempt,
          delayMs,
          limit: this.#limit.limit,
        });
        await this.#ports.sleep(delayMs);
      }
    }
  }

  async #sendOnce(request: WriteRequest<Position>, attempt: number): Promise<void> {
    const { target } = this.#ports;
    const { body, nowInSeconds } = request;
    const { length, count } = body;
    try {
      if (request.kept.length > 0) await this.#appendKept(request, attempt);
      const tail = encodeBatchTail({ consistency: this.#options.consistency, nowInSeconds }, target.protocolVersion);
      const bytes = body.finish(BatchKind.UNLOGGED, tail);
      const statements = body.count;
      this.counts.writtenBytes += bytes.length;
      await this.#budget.pay(bytes.length);
      await target.sendBatch(bytes, request.statements, { routingKey: request.routingKey });
      this.counts.requests++;
      this.counts.statements += statements;
    } finally {
      body.truncate(length, count);
    }
  }

  /** The statements that depend on the attempt, behind the others. */
  async #appendKept(request: WriteRequest<Position>, attempt: number): Promise<void> {
    const { exactTimes, listAttempt, toStatements } = this.#options;
    for (const { write, partitionKey } of request.kept) {
      const context = {
        partitionKey,
        nowSeconds: Math.floor(this.#ports.clock.nowMillis() / 1000),
        exactTimes,
        listAttempt: listAttempt + attempt,
      };
      for (const { text, values } of toStatements(write, context)) {
        request.append(await this.prepared.learn(text), values, this.#ports.target.protocolVersion);
      }
    }
  }
}

function isSlower(error: unknown): boolean {
  return error instanceof RequestTimeoutError || (error instanceof ServerError && SLOWER_CODES.has(error.code));
}

/** What refuses a large request names neither table nor key. */
function withSize(error: unknown, { routingKey, byteLength }: WriteRequest<unknown>, table: string): unknown {
  if (!(error instanceof ServerError) || error.retryable || byteLength < LARGE_BYTES) return error;
  const key = Buffer.from(routingKey.subarray(0, SHOWN_KEY_BYTES)).toString('hex');
  const more = routingKey.length > SHOWN_KEY_BYTES ? '…' : '';
  return new ServerError(
    `a row of ${table} with ${byteLength} bytes, of the partition 0x${key}${more}, was refused: ${error.message}; ` +
      'if that is too large for the target, raise its max_mutation_size and native_transport_max_frame_size',
    error.code,
    false,
    { ...error.context, table, byteLength },
  );
}
