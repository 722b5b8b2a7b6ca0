import { randomUUID } from 'node:crypto';
import { describeError } from '#core/errors.ts';
import type { Mark } from '#core/ledger/mark.ts';
import { type CopyMessage, MAX_PLACES } from '#core/model/message.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import type { Clock, Logger } from '#core/ports.ts';
import { within } from '../within.ts';
import { removeLogFiles } from './log-folder.ts';
import { type LogContent, type OwedPlaces, readLog } from './read-log.ts';

/** More places are marked instead of copied one by one: a validation is faster then. */
const MAX_COPIED = 262_144;
/** So long a start waits for disk or queue to take them, all together; what they do not take is marked. Milliseconds. */
const KEPT_WITHIN_MS = 15_000;
/**
 * What a process that died may have given out since it last noted a write time: it does that every 50 ms, or later where a
 * turn of its event loop takes longer. Microseconds.
 */
const NOTED_WITHIN_MICROS = 1_000_000;
/** Of a mark for a part of so many places. */
const MARK_PLACES = 65_536;

export interface RecoveryPorts {
  readonly instance: string;
  readonly bootId: string;
  readonly journal: { addCopy(message: CopyMessage): Promise<void> };
  /** A mark is durable when it returns. */
  readonly marks: { mark(mark: Mark): void; markEverything(): void };
  /** undefined: nothing is known of tables. */
  readonly facts: { of(keyspace: string, table: string): Promise<TableFacts | undefined> } | undefined;
  readonly logger: Logger;
  /** The clusters' time. */
  readonly clock: Clock;
  readonly keptWithinMs?: number;
}

/** What was found, and where a new log goes on. */
export interface Recovered {
  readonly firstSegment: number;
  readonly firstSequence: number;
  /** No write time that was given out is later. */
  readonly lastTimestampMicros: number;
  readonly copiedCount: number;
  readonly markedCount: number;
}

/**
 * Makes of what a process that has died had under way what somebody brings together: messages to copy places, or marks.
 * The log is removed when these are kept, and not before: a second crash begins it again.
 */
export async function recoverLog(directory: string, ports: RecoveryPorts): Promise<Recovered> {
  const content = await readLog(directory);
  const { files, unreadable, newest, owed, nextSequence, lastTimestampMicros, isClean } = content;
  const recovery = new Recovery(ports);
  for (const places of owed) await recovery.bring(places);
  const why = lossOf(content, ports.bootId);
  if (why !== undefined) {
    ports.logger.error('a part of the log of writes under way is lost; all tables in it are marked', { why });
    for (const { keyspace, table } of content.tables) {
      recovery.mark({ keyspace, table, tokens: null, code: 'crash-window', lacking: null, reason: why });
    }
  }
  // Which tables it names nobody knows either.
  if (unreadable.length > 0) ports.marks.markEverything();
  const { copiedCount, markedCount } = recovery;
  if (copiedCount + markedCount > 0) {
    ports.logger.warn('the process before this one died with writes under way; their places are to be copied', {
      directory,
      copied: copiedCount,
      marked: markedCount,
    });
  }
  await removeLogFiles(directory, files).catch((error: unknown) => {
    // What is found again is brought together again; the new log's low water is above it all.
    ports.logger.warn('the log of a process that died stays', { directory, error: describeError(error) });
  });
  return {
    firstSegment: (newest?.number ?? 0) + 1,
    firstSequence: nextSequence,
    lastTimestampMicros: lastTimestampMicros + (isClean ? 0 : NOTED_WITHIN_MICROS),
    copiedCount,
    markedCount,
  };
}

/** Why writes may be missing in the log; undefined: none is. */
function lossOf({ newest, isClean, lastStampMs, unreadable }: LogContent, bootId: string): string | undefined {
  if (unreadable.length > 0) return 'the disk does not give back the log of writes under way';
  if (newest === undefined || isClean || newest.bootId === bootId) return undefined;
  const since = new Date(lastStampMs || newest.startedAtMs).toISOString();
  return `the machine went down, and what was not flushed with it: writes since ${since} may be on one cluster only`;
}

class Recovery {
  copiedCount = 0;
  markedCount = 0;
  readonly #ports: RecoveryPorts;
  /** By `performance.now()`. */
  readonly #untilMs: number;
  /**
   * One instant for all messages: each later one would have the replay wait anew. By the clusters' time, as that of failed
   * writes: those of before are compared, and not applied after what is copied, though a clock here was set since.
   */
  readonly #enqueuedAt: string;

  constructor(ports: RecoveryPorts) {
    this.#ports = ports;
    this.#enqueuedAt = new Date(ports.clock.nowMillis()).toISOString();
    this.#untilMs = performance.now() + (ports.keptWithinMs ?? KEPT_WITHIN_MS);
  }

  mark(mark: Mark): void {
    this.markedCount += mark.tokens?.length ?? 1;
    this.#ports.marks.mark(mark);
  }

  async bring({ keyspace, table, lacking, isCounter, isConditional, isWhole, tokens }: OwedPlaces): Promise<void> {
    const facts = await this.#ports.facts?.of(keyspace, table).catch(() => undefined);
    const place = { keyspace, table, lacking };
    if (isWhole) {
      const code = isConditional ? 'conditional-missing' : 'crash-window';
      const reason = 'a write was under way when its proxy died, and its partition is not known';
      this.mark({ ...place, tokens: null, code, reason });
    }
    const all = [...tokens];
    if (facts?.isCounter ?? isCounter) {
      this.#markAll(all, { ...place, code: 'counter', reason: 'a counter was written when its proxy died' });
      return;
    }
    if (isConditional) {
      // Until it is copied, the other cluster must not decide a condition by what it lacks.
      const reason = 'a conditional write (LWT) may be missing: its proxy died before it was copied';
      this.#markAll(all, { ...place, code: 'conditional-missing', reason });
    }
    const copied = all.slice(0, Math.max(0, MAX_COPIED - this.copiedCount));
    for (let at = 0; at < copied.length; at += MAX_PLACES) await this.#copy(place, copied.slice(at, at + MAX_PLACES));
    const reason = 'a write was under way when its proxy died, with too many others to copy them';
    this.#markAll(all.slice(copied.length), { ...place, code: 'crash-window', reason });
  }

  #markAll(tokens: readonly bigint[], mark: Omit<Mark, 'tokens'>): void {
    for (let at = 0; at < tokens.length; at += MARK_PLACES) {
      this.mark({ ...mark, tokens: tokens.slice(at, at + MARK_PLACES) });
    }
  }

  async #copy(place: Pick<CopyMessage, 'keyspace' | 'table' | 'lacking'>, tokens: readonly bigint[]): Promise<void> {
    const { instance, journal, logger } = this.#ports;
    const code = 'crash-window';
    try {
      // A full journal whose queue is away takes it hours later; the application needs its database now.
      const leftMs = this.#untilMs - performance.now();
      const message = {
        id: randomUUID(),
        ...place,
        tokens,
        code,
        attempts: 1,
        enqueuedAt: this.#enqueuedAt,
        instance,
      } as const;
      if (leftMs <= 0 || !(await within(Math.ceil(leftMs) + 1, journal.addCopy({ kind: 'copy', ...message })))) {
        throw new Error('neither disk nor queue has taken them in time');
      }
      this.copiedCount += tokens.length;
    } catch (error) {
      logger.error('places of writes under way are not in the journal; they are marked', {
        error: describeError(error),
      });
      this.#markAll(tokens, { ...place, code, reason: 'a write was under way when its proxy died' });
    }
  }
}
