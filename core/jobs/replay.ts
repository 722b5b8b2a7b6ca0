import pLimit from 'p-limit';
import { describeError, MessageInvalidError } from '../errors.ts';
import { CopiedTables } from '../ledger/copied-tables.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { FailedWrite } from '../model/failed-write.ts';
import { type CopyMessage, decodeMessage, isCopyText, type Message, type WritesMessage } from '../model/message.ts';
import type { Clock, CqlSession, Logger } from '../ports.ts';
import { ByteBudget } from './byte-budget.ts';
import { type CopyOptions, copyPlaces } from './copy-places.ts';
import { holdOlderThan } from './hold-older-writes.ts';
import { markGivenUp } from './mark-given-up.ts';
import type { BreakerPort } from './replay-breaker.ts';
import {
  type BundledOutcome,
  type DeadWrite,
  deadOf,
  type MessageOutcome,
  NO_COUNTS,
  type RetryRules,
  settleBundle,
} from './replay-bundle.ts';
import { replayWrite } from './replay-write.ts';
import { settleCopy, settleEarlyCopy } from './settle-copy.ts';
import { TableSchemas } from './table-schemas.ts';

/** A message as the queue delivered it. */
export interface ReplayMessage {
  /** The queue's id, which the outcome carries. */
  readonly id: string;
  /** As the queue has it; a pointer where the body lies outside the message. */
  readonly text: string;
  /** Resolves to the body's JSON, also when it lies outside the message. @throws MessageInvalidError */
  readonly body: () => Promise<string>;
}

export interface ReplayPorts {
  /** Kept by whoever opens it. */
  readonly openSession: (cluster: ClusterName) => Promise<CqlSession>;
  readonly breaker: BreakerPort;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface ReplayOptions {
  /** How partitions are brought together whose writes can't be applied. */
  readonly copy: CopyOptions;
  /** Writes that are applied at once. */
  readonly concurrency?: number;
  /** The most writes in a second; unlimited when left out. */
  readonly writesPerSecond?: number;
  /** The same for several calls together; counts instead of `writesPerSecond`. */
  readonly rate?: Pick<ByteBudget, 'pay'>;
  readonly maxAttempts?: number;
  readonly retryIntervalSeconds?: number;
  readonly tombstoneMarginSeconds?: number;
  /** When to begin nothing more. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
}

const CLUSTERS = ['origin', 'target'] as const;
const DEFAULT_CONCURRENCY = 16;
const DEFAULT_RULES: RetryRules = { maxAttempts: 3, retryIntervalSeconds: 60 };
const DEFAULT_TOMBSTONE_MARGIN_SECONDS = 86_400;
/** Bodies that are in memory at once; one of them may be large. */
const MESSAGES_AT_ONCE = 4;
/** So many writes in a row that nobody answers, and the rest of the message is not tried. */
const MAX_AWAY_IN_A_ROW = 5;

/**
 * Applies failed shadow writes with the timestamps that they had, in any order and as often as they are delivered. Never
 * rejects for a single message; one outcome for each, in order.
 */
export async function replayMessages(
  messages: readonly ReplayMessage[],
  ports: ReplayPorts,
  options: ReplayOptions,
  signal?: AbortSignal,
): Promise<readonly MessageOutcome[]> {
  const replay = new Replay(ports, options, signal);
  await replay.holdOlderThan(messages);
  return pLimit(MESSAGES_AT_ONCE).map(messages, (message) => replay.message(message));
}

/** One call's work, with what its messages share. */
class Replay {
  readonly #ports: ReplayPorts;
  readonly #options: ReplayOptions;
  readonly #rules: RetryRules;
  readonly #signal: AbortSignal | undefined;
  readonly #limit: ReturnType<typeof pLimit>;
  readonly #rate: Pick<ByteBudget, 'pay'> | undefined;
  readonly #copied: CopiedTables;
  readonly #schemas = new Map<CqlSession, TableSchemas>();

  constructor(ports: ReplayPorts, options: ReplayOptions, signal: AbortSignal | undefined) {
    const { concurrency, writesPerSecond, maxAttempts, retryIntervalSeconds } = options;
    this.#ports = ports;
    this.#options = options;
    this.#signal = signal;
    this.#copied = new CopiedTables(ports.ledger.store, ports.clock);
    this.#rules = {
      maxAttempts: maxAttempts ?? DEFAULT_RULES.maxAttempts,
      retryIntervalSeconds: retryIntervalSeconds ?? DEFAULT_RULES.retryIntervalSeconds,
    };
    this.#limit = pLimit(concurrency ?? DEFAULT_CONCURRENCY);
    this.#rate =
      options.rate ??
      (writesPerSecond === undefined ? undefined : new ByteBudget(writesPerSecond, ports.clock, ports.sleep));
  }

  /** Begins the waits of all messages of lost writes, which each of them would begin one after the other. Never rejects. */
  async holdOlderThan(messages: readonly ReplayMessage[]): Promise<void> {
    try {
      const copies = messages.flatMap(({ text }) => (isCopyText(text) ? decodeMessage(text) : []));
      await holdOlderThan(
        copies.filter((message) => message.kind === 'copy'),
        this.#ports,
      );
    } catch (error) {
      // Each is decoded again, and waits by itself, when its turn comes.
      this.#ports.logger.warn('messages of lost writes are held one by one', { error: describeError(error) });
    }
  }

  async message({ id, text, body }: ReplayMessage): Promise<MessageOutcome> {
    let message: Message;
    try {
      if (this.#isLate()) return stays(id, 'there was no time left for it');
      message = decodeMessage(await body());
    } catch (error) {
      const reason = describeError(error);
      this.#ports.logger.warn('message not readable', { id, error: reason });
      if (!(error instanceof MessageInvalidError)) return stays(id, reason);
      const counts = { ...NO_COUNTS, dead: 1 };
      return { id, remove: true, resend: [], bury: [{ body: text, reason }], targetAnswered: false, reason, counts };
    }
    try {
      if (message.kind === 'writes') return await this.#bundle(id, text, message);
      return await this.#copy(id, message);
    } catch (error) {
      // Of a port that promised not to; the message comes again.
      this.#ports.logger.error('message not replayed', { id, error: describeError(error) });
      return stays(id, describeError(error));
    }
  }

  async #bundle(id: string, text: string, message: WritesMessage): Promise<MessageOutcome> {
    const { writes } = message;
    const outcomes: BundledOutcome[] = new Array(writes.length);
    const run = { awayInARow: 0 };
    // Where it begins differs each time, so that writes that time out do not keep those behind them from their turn.
    const first = this.#ports.clock.nowMillis() % writes.length;
    await Promise.all(
      writes.map((_, at) => {
        const index = (first + at) % writes.length;
        return this.#limit(async () => {
          outcomes[index] = await this.#write(writes[index]!, run);
        });
      }),
    );
    await this.#tellBreaker(writes, outcomes);
    const dead = deadOf(writes, outcomes, this.#rules);
    const markError = await this.#mark(dead);
    if (markError !== undefined) {
      for (const { write } of dead) outcomes[writes.indexOf(write)] = { kind: 'away', error: markError, cluster: null };
    }
    const settled = { id, text, message, outcomes, dead: markError === undefined ? dead : [] };
    const outcome = settleBundle(settled, this.#rules, this.#ports.clock.nowMillis());
    const { reason, counts } = outcome;
    if (counts.dead > 0) this.#ports.logger.error('failed writes given up', { id, reason, ...counts });
    else if (counts.refused + counts.away > 0)
      this.#ports.logger.warn('failed writes not replayed yet', { id, reason, ...counts });
    return outcome;
  }

  async #copy(id: string, message: CopyMessage): Promise<MessageOutcome> {
    const { clock, breaker, logger } = this.#ports;
    const untilMillis = message.notBefore === undefined ? 0 : Date.parse(message.notBefore);
    if (untilMillis > clock.nowMillis()) return settleEarlyCopy(id, message, untilMillis, clock.nowMillis());
    for (const cluster of CLUSTERS) if (await breaker.isOpen(cluster)) return stays(id, describeError(NOT_TRIED));
    const ports = {
      ...this.#ports,
      schemasOf: (session: CqlSession) => this.#schemasOf(session),
      pace: async (places: number) => this.#rate?.pay(places, this.#signal),
      isLate: () => this.#isLate(),
    };
    const result = await copyPlaces(message, ports, this.#options.copy, this.#signal);
    if (result.away?.cluster && !this.#signal?.aborted) await breaker.noteAway(result.away.cluster, result.away.error);
    const { outcome, marked: tokens } = settleCopy(id, message, result, this.#rules, clock.nowMillis());
    if (tokens.length > 0) {
      const { keyspace, table, lacking } = message;
      const reason = `places can't be copied: ${result.reason ?? 'they still differ'}`;
      try {
        const place = { keyspace, table, tokens };
        await markGivenUp({ id: `copy-${message.id}`, place, lacking, code: result.code, reason }, this.#ports);
      } catch (error) {
        return stays(id, describeError(error));
      }
      logger.error('places given up: their table is to be validated', { id, reason, places: tokens.length });
    } else if (!outcome.remove || outcome.resend.length > 0) {
      logger.warn('places not copied yet', { id, reason: outcome.reason, ...outcome.counts });
    }
    return outcome;
  }

  async #write(write: FailedWrite, run: { awayInARow: number }): Promise<BundledOutcome> {
    const { clock, breaker } = this.#ports;
    const untilMillis = write.notBefore === undefined ? 0 : Date.parse(write.notBefore);
    if (untilMillis > clock.nowMillis()) return { kind: 'early', untilMillis };
    if (this.#isLate()) return { kind: 'early', untilMillis: clock.nowMillis() };
    if (run.awayInARow >= MAX_AWAY_IN_A_ROW) return { kind: 'away', error: NOT_TRIED, cluster: null };
    if (await breaker.isOpen(write.destination)) return { kind: 'away', error: NOT_TRIED, cluster: null };
    await this.#rate?.pay(1, this.#signal);
    const margin = this.#options.tombstoneMarginSeconds ?? DEFAULT_TOMBSTONE_MARGIN_SECONDS;
    const schemasOf = (session: CqlSession) => this.#schemasOf(session);
    const ports = { ...this.#ports, copied: this.#copied, schemasOf };
    const outcome = await replayWrite(write, ports, margin, this.#signal);
    if (outcome.kind === 'away') run.awayInARow++;
    else run.awayInARow = 0;
    return outcome;
  }

  /** Once for each message and cluster: an answer to any write outweighs those that got none. */
  async #tellBreaker(writes: readonly FailedWrite[], outcomes: readonly BundledOutcome[]): Promise<void> {
    if (this.#signal?.aborted) return;
    for (const cluster of new Set(writes.map(({ destination }) => destination))) {
      const own = outcomes.filter((_, index) => writes[index]!.destination === cluster);
      if (own.some(({ kind }) => kind === 'applied' || kind === 'refused')) {
        await this.#ports.breaker.noteAnswered(cluster);
        continue;
      }
      const away = own.find((outcome) => outcome.kind === 'away' && outcome.cluster === cluster);
      if (away?.kind === 'away') await this.#ports.breaker.noteAway(cluster, away.error);
    }
  }

  /** Marks what dead writes would have changed; resolves to the ledger's error, which means: try later. */
  async #mark(dead: readonly DeadWrite[]): Promise<unknown> {
    try {
      for (const { write, code, reason } of dead) {
        for (const place of write.tables) {
          const why = `a failed write can't be replayed: ${reason}`;
          const mark = { id: `replay-${write.id}`, place, lacking: write.destination, code, reason: why };
          await markGivenUp(mark, this.#ports);
        }
      }
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #schemasOf(session: CqlSession): TableSchemas {
    const known = this.#schemas.get(session) ?? new TableSchemas(session, () => this.#ports.clock.nowMillis());
    this.#schemas.set(session, known);
    return known;
  }

  #isLate(): boolean {
    const { deadlineMillis } = this.#options;
    if (this.#signal?.aborted) return true;
    return deadlineMillis !== undefined && this.#ports.clock.nowMillis() >= deadlineMillis;
  }
}

const NOT_TRIED = new Error('the cluster does not answer, so it was not tried');

function stays(id: string, reason: string): MessageOutcome {
  return { id, remove: false, resend: [], bury: [], targetAnswered: false, reason, counts: NO_COUNTS };
}
