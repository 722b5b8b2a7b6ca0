import pLimit from 'p-limit';
import { ErrorCode } from '../cql/protocol.ts';
import { describeError, MessageInvalidError, ServerError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { primaryOf } from '../ledger/phase-change.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { BoundValue } from '../model/cql-request.ts';
import { decodeFailedWrite, type FailedStatement, type FailedWrite } from '../model/failed-write.ts';
import type { BatchEntry, Clock, CqlSession, Logger, RequestOptions } from '../ports.ts';
import { classify } from '../statement/classify.ts';
import { qualifyTables } from '../statement/qualify-tables.ts';
import { shortenTtl } from '../statement/shorten-ttl.ts';
import { replayLists } from './replay-lists.ts';

/** A message as the queue delivered it. */
export interface ReplayMessage {
  /** The queue's id, which the result carries. */
  readonly id: string;
  /** Resolves to the failed write's JSON, also when it lies outside the message. @throws MessageInvalidError */
  readonly body: () => Promise<string>;
}

/**
 * `applied`: the cluster has it, delete the message. `retry`: leave it in the queue; nothing speaks against the message.
 * `refused`: the cluster refused this very message; send it again with `attempts` in it, then delete this one. `dead`: no
 * later try can help; its tables are suspect in the ledger, and the message belongs to the dead letters.
 */
export type ReplayResult =
  | { readonly kind: 'applied'; readonly id: string }
  | { readonly kind: 'retry'; readonly id: string; readonly reason: string }
  | { readonly kind: 'refused'; readonly id: string; readonly reason: string; readonly attempts: number }
  | { readonly kind: 'dead'; readonly id: string; readonly reason: string };

export interface ReplayPorts {
  /** Kept by whoever opens it. */
  readonly openSession: (cluster: ClusterName) => Promise<CqlSession>;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface ReplayOptions {
  /** Messages that are applied at once. */
  readonly concurrency?: number;
  /** The most messages in a second; unlimited when left out. */
  readonly messagesPerSecond?: number;
  /**
   * Older messages may meet a cluster that has forgotten the tombstones which would stop them; the smallest
   * gc_grace_seconds less a margin.
   */
  readonly maxAgeSeconds?: number;
  /** So often the cluster may refuse a message before it is dead; outages do not count. */
  readonly maxAttempts?: number;
}

/** Nine days: a day less than the default gc_grace_seconds. */
const DEFAULT_MAX_AGE_SECONDS = 9 * 86_400;
const DEFAULT_CONCURRENCY = 16;
const DEFAULT_MAX_ATTEMPTS = 3;

/**
 * Applies failed shadow writes with the timestamps that they had, in any order and as often as they are delivered.
 * Never rejects for a single message; one result for each, in order.
 */
export async function replayMessages(
  messages: readonly ReplayMessage[],
  ports: ReplayPorts,
  options: ReplayOptions = {},
  signal?: AbortSignal,
): Promise<ReplayResult[]> {
  const startedAt = ports.clock.nowMillis();
  const perSecond = options.messagesPerSecond;
  let begun = 0;
  const limit = pLimit(options.concurrency ?? DEFAULT_CONCURRENCY);
  return limit.map(messages, async (message) => {
    if (perSecond !== undefined) {
      const dueAt = startedAt + (begun++ * 1000) / perSecond;
      const waitMs = dueAt - ports.clock.nowMillis();
      if (waitMs > 0) await ports.sleep(waitMs, signal);
    }
    return replayMessage(message, ports, options, signal);
  });
}

async function replayMessage(
  message: ReplayMessage,
  ports: ReplayPorts,
  options: ReplayOptions,
  signal: AbortSignal | undefined,
): Promise<ReplayResult> {
  const { id } = message;
  let write: FailedWrite;
  try {
    write = decodeFailedWrite(await message.body());
  } catch (error) {
    const isDead = error instanceof MessageInvalidError;
    ports.logger.warn('failed write not readable', { id, error: describeError(error) });
    return { kind: isDead ? 'dead' : 'retry', id, reason: describeError(error) };
  }
  const refusal = refusalOf(write, ports.clock.nowMillis(), options.maxAgeSeconds ?? DEFAULT_MAX_AGE_SECONDS);
  if (refusal) return bury(write, id, refusal, ports);
  const retry = (error: unknown): ReplayResult => {
    ports.logger.warn('failed write not replayed yet', { id, write: write.id, error: describeError(error) });
    return { kind: 'retry', id, reason: describeError(error) };
  };
  let session: CqlSession;
  try {
    session = await ports.openSession(write.destination);
  } catch (error) {
    // Wrong credentials or settings are mended by people; the whole queue waits for it.
    return retry(error);
  }
  try {
    if (write.readBack) await copyLists(write, session, ports, signal);
    else await applyWrite(write, session, ports.clock, signal);
    return { kind: 'applied', id };
  } catch (error) {
    if (error instanceof MessageInvalidError) return bury(write, id, describeError(error), ports);
    if (!isRefusal(error)) return retry(error);
    const reason = withoutValues(describeError(error));
    const attempts = Math.max(1, write.attempts);
    if (attempts >= (options.maxAttempts ?? DEFAULT_MAX_ATTEMPTS)) {
      return bury(write, id, `${reason} (attempt ${attempts})`, ports);
    }
    ports.logger.warn('failed write refused', { id, write: write.id, attempts, error: reason });
    return { kind: 'refused', id, reason, attempts: attempts + 1 };
  }
}

/** Servers quote what they refuse: 'x', or (x) for a constant; names of tables and columns they don't. */
function withoutValues(message: string): string {
  return message.replaceAll(/'(?:[^']|'')*'?/g, "'…'").replaceAll(/\([^()]*\)?/g, '(…)');
}

/** Whether the cluster said no to this message, and not to everything. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof ServerError) || error.retryable) return false;
  return error.code !== ErrorCode.UNAUTHORIZED && error.code !== ErrorCode.AUTH_ERROR;
}

function refusalOf(write: FailedWrite, nowMillis: number, maxAgeSeconds: number): string | undefined {
  if ((!write.idempotent && !write.readBack) || write.batchKind === 'counter') {
    return 'applying it again could count or append twice; its partitions must be compared instead';
  }
  const ageSeconds = Math.floor(nowMillis / 1000) - write.writtenAtSeconds;
  if (ageSeconds > maxAgeSeconds) return `it is ${ageSeconds} s old, so tombstones newer than it may be gone`;
  return undefined;
}

/** Marks what the write would have changed, so that validation looks there; a ledger that is away means: try later. */
async function bury(write: FailedWrite, id: string, reason: string, ports: ReplayPorts): Promise<ReplayResult> {
  const now = new Date(ports.clock.nowMillis());
  try {
    for (const { keyspace, table } of write.tables) {
      await ports.ledger.addSuspect(`replay-${write.id}`, {
        version: 1,
        keyspace,
        table,
        range: null,
        reason: `a failed write can't be replayed: ${reason}`,
        code: 'dead-letter',
        lacking: write.destination,
        by: 'replay',
        at: now.toISOString(),
      });
      await ports.ledger.setTable(keyspace, table, 'suspect', {
        now,
        by: 'replay',
        reason: `failed write ${write.id}: ${reason}`,
      });
    }
  } catch (error) {
    return { kind: 'retry', id, reason: describeError(error) };
  }
  ports.logger.error('failed write given up', { id, write: write.id, reason });
  return { kind: 'dead', id, reason };
}

/** @throws MessageInvalidError when the other cluster is not the one that is right any more */
async function copyLists(
  write: FailedWrite,
  to: CqlSession,
  ports: ReplayPorts,
  signal: AbortSignal | undefined,
): Promise<void> {
  const phase = (await ports.ledger.readPhase())?.active.phase;
  if (phase !== undefined && primaryOf(phase) === write.destination) {
    throw new MessageInvalidError('the clusters have changed their roles since a list write failed');
  }
  const from = await ports.openSession(write.destination === 'target' ? 'origin' : 'target');
  const { clock, sleep } = ports;
  if (await replayLists({ write, from, to, clock, sleep }, signal)) return;
  // Counted as an attempt: a list that is written without a pause is left to validation in the end.
  throw new ServerError('the lists of the two clusters still differ', ErrorCode.INVALID, false);
}

async function applyWrite(
  write: FailedWrite,
  session: CqlSession,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<void> {
  const canSetNow = session.protocolVersion >= 5;
  const elapsedSeconds = Math.max(0, Math.floor(clock.nowMillis() / 1000) - write.writtenAtSeconds);
  const statements = write.statements.map((statement) => {
    const text = write.keyspace === null ? statement.text : qualifyTables(statement.text, write.keyspace);
    const positional = { text, values: positionalValues(statement) };
    return canSetNow ? positional : shortenTtl(positional, elapsedSeconds);
  });
  const options: RequestOptions = {
    consistency: write.consistency,
    timestampMicros: write.timestampMicros,
    ...(canSetNow ? { nowInSeconds: write.writtenAtSeconds } : {}),
    ...(write.partitionKey ? { routingKey: write.partitionKey } : {}),
    ...(signal ? { signal } : {}),
  };
  const prepared = await Promise.all(
    statements.map(
      async ({ text, values }): Promise<BatchEntry> => ({
        // A text without values is nearly always a one-off: preparing it would only fill the servers' caches.
        statement: values.length === 0 ? text : await session.prepare(text),
        values,
      }),
    ),
  );
  if (write.kind === 'batch') {
    await session.batch(write.batchKind ?? 'logged', prepared, options);
    return;
  }
  const { statement, values } = prepared[0]!;
  if (typeof statement === 'string') await session.query(statement, [], options);
  else await session.execute(statement, values, options);
}

/** @throws MessageInvalidError when a named marker has no value */
function positionalValues({ text, values }: FailedStatement): readonly BoundValue[] {
  if (!(values instanceof Map)) return values as readonly BoundValue[];
  return classify(text).markerNames.map((name) => {
    if (name === undefined || !values.has(name)) {
      throw new MessageInvalidError('a failed write bound by name lacks the value of a marker');
    }
    return values.get(name);
  });
}
