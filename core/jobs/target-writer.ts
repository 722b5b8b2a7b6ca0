/** Sends the writes of partitions to the target: few at a time when it is slow, within a budget, again when it failed. */

import { describeError, MigrationError, RequestTimeoutError, ServerError } from '../errors.ts';
import type { BoundStatement, ToStatements } from '../merge/statements.ts';
import type { Write } from '../merge/writes.ts';
import type { Consistency } from '../model/cql-request.ts';
import type { Clock, CqlSession, Logger } from '../ports.ts';
import { AdaptiveLimit } from './adaptive-limit.ts';
import { ByteBudget } from './byte-budget.ts';

/** Some writes of one partition; they become one mutation where their times allow. */
export interface WriteChunk {
  readonly partitionKey: readonly Uint8Array[];
  readonly routingKey: Uint8Array;
  /** The token up to which everything is done once all earlier chunks are. */
  readonly tokenBefore: bigint | undefined;
  readonly writes: readonly Write[];
}

export interface TargetWriterPorts {
  readonly target: CqlSession;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

export interface TargetWriterOptions {
  readonly toStatements: ToStatements;
  readonly consistency: Consistency;
  readonly exactTimes: boolean;
  readonly bytesPerSecond: number;
  /** Lists are written this many microseconds late, and one more for each attempt. */
  readonly listAttempt: number;
}

export interface WriterCounts {
  statements: number;
  requests: number;
  writtenBytes: number;
  retries: number;
}

const START_IN_FLIGHT = 16;
const MAX_IN_FLIGHT = 128;
const MAX_ATTEMPTS = 10;
const MIN_DELAY_MS = 100;
const MAX_DELAY_MS = 15_000;

// Codes of ERROR (native protocol, section 9) that say "slower": overloaded, write timeout, read timeout, unavailable.
const SLOWER_CODES: ReadonlySet<number> = new Set([0x1000, 0x1001, 0x1100, 0x1200]);

/** Takes chunks in order, completes them in any order. The first failure stops it: `write` and `finish` throw it. */
export class TargetWriter {
  readonly counts: WriterCounts = { statements: 0, requests: 0, writtenBytes: 0, retries: 0 };
  readonly #ports: TargetWriterPorts;
  readonly #options: TargetWriterOptions;
  readonly #limit = new AdaptiveLimit(START_IN_FLIGHT, MAX_IN_FLIGHT);
  /** Chunks that are under way, oldest first. */
  readonly #underWay = new Set<WriteChunk>();
  #failure: unknown;
  readonly #budget: ByteBudget;

  constructor(ports: TargetWriterPorts, options: TargetWriterOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#budget = new ByteBudget(options.bytesPerSecond, ports.clock, ports.sleep);
  }

  /** Requests in flight that the target bears at the moment. */
  get limit(): number {
    return this.#limit.limit;
  }

  /** Waits for room, then sends without waiting for the answer. */
  async write(chunk: WriteChunk): Promise<void> {
    await this.#limit.acquire();
    if (this.#failure !== undefined) {
      this.#limit.release();
      throw this.#failure;
    }
    this.#underWay.add(chunk);
    this.#send(chunk)
      .then(
        () => this.#underWay.delete(chunk),
        (error: unknown) => {
          this.#failure ??= error;
        },
      )
      .finally(() => this.#limit.release());
  }

  /** The token up to which everything has been written, given what has been handed over up to `handedOver`. */
  completedToken(handedOver: bigint | undefined): bigint | undefined {
    for (const chunk of this.#underWay) return chunk.tokenBefore;
    return handedOver;
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

  async #send(chunk: WriteChunk): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#sendOnce(chunk, attempt);
        this.#limit.succeeded();
        return;
      } catch (error) {
        const isRetryable = error instanceof MigrationError && error.retryable;
        if (!isRetryable || attempt + 1 >= MAX_ATTEMPTS || this.#failure !== undefined) throw error;
        if (isSlower(error)) this.#limit.overloaded();
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

  async #sendOnce(chunk: WriteChunk, attempt: number): Promise<void> {
    const { toStatements, exactTimes, listAttempt } = this.#options;
    const context = {
      partitionKey: chunk.partitionKey,
      nowSeconds: Math.floor(this.#ports.clock.nowMillis() / 1000),
      exactTimes,
      listAttempt: listAttempt + attempt,
    };
    const statements = chunk.writes.flatMap((write) => toStatements(write, context));
    for (const [nowInSeconds, group] of groupByBase(statements)) {
      await this.#pay(group);
      await this.#request(chunk, group, nowInSeconds);
      this.counts.requests++;
      this.counts.statements += group.length;
    }
  }

  async #request(chunk: WriteChunk, group: readonly BoundStatement[], nowInSeconds: number | undefined): Promise<void> {
    const { target } = this.#ports;
    const options = { consistency: this.#options.consistency, routingKey: chunk.routingKey, nowInSeconds };
    const entries = await Promise.all(
      group.map(async ({ text, values }) => ({ statement: await target.prepare(text), values })),
    );
    const [only] = entries;
    if (entries.length === 1 && only !== undefined) await target.execute(only.statement, only.values, options);
    // All of one partition, so it is one mutation and needs no batch log.
    else await target.batch('unlogged', entries, options);
  }

  /** Waits until the budget allows these bytes. */
  async #pay(group: readonly BoundStatement[]): Promise<void> {
    const bytes = group.reduce((sum, statement) => sum + statement.byteLength, 0);
    this.counts.writtenBytes += bytes;
    await this.#budget.pay(bytes);
  }
}

function isSlower(error: unknown): boolean {
  return error instanceof RequestTimeoutError || (error instanceof ServerError && SLOWER_CODES.has(error.code));
}

/** One request takes one `nowInSeconds`; statements without an own one go with any. */
function groupByBase(statements: readonly BoundStatement[]): Map<number | undefined, BoundStatement[]> {
  const groups = new Map<number | undefined, BoundStatement[]>();
  for (const statement of statements) {
    if (statement.nowInSeconds === undefined) continue;
    const group = groups.get(statement.nowInSeconds);
    if (group === undefined) groups.set(statement.nowInSeconds, [statement]);
    else group.push(statement);
  }
  const free = statements.filter((statement) => statement.nowInSeconds === undefined);
  const [first] = groups.values();
  if (first !== undefined) first.push(...free);
  else if (free.length > 0) groups.set(undefined, free);
  return groups;
}
