/** Places of the ring are brought together: found by their tokens on both clusters, compared, repaired. */

import pLimit from 'p-limit';
import { compareTable } from '../checksum/compared-table.ts';
import { serializeKey } from '../checksum/selected-row.ts';
import { encodeBigint } from '../cql/value-codec.ts';
import { describeError } from '../errors.ts';
import type { Filter } from '../filter/filter.ts';
import { compareBefore } from '../ledger/copied-tables.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { primaryOf } from '../ledger/phase-change.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Consistency } from '../model/cql-request.ts';
import type { CopyMessage } from '../model/message.ts';
import { quoteIdentifier, type TableSchema } from '../model/table-schema.ts';
import type { Clock, CqlSession } from '../ports.ts';
import { MIN_TOKEN } from '../token/token.ts';
import { repairPartitions } from './repair-partition.ts';
import { isRefusal, withoutValues } from './replay-write.ts';
import type { TableSchemas } from './table-schemas.ts';

export interface CopyOptions {
  readonly filter: Filter;
  /** How long a write needs to reach both clusters, at most. */
  readonly settleMs: number;
  readonly originConsistency: Consistency;
  readonly targetConsistency: Consistency;
  readonly originWriteConsistency: Consistency;
  readonly targetWriteConsistency: Consistency;
}

export interface CopyPorts {
  readonly openSession: (cluster: ClusterName) => Promise<CqlSession>;
  readonly schemasOf: (session: CqlSession) => TableSchemas;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Waits for the turn of so many places. */
  readonly pace: (places: number) => Promise<void>;
  /** Whether to begin nothing more. */
  readonly isLate: () => boolean;
}

/** Each token of the message is in one of these. */
export interface CopyResult {
  /** The same on both clusters now. */
  readonly copied: readonly bigint[];
  /** Still different, or refused by a cluster; `reason` says why. */
  readonly refused: readonly bigint[];
  /** Nobody answered, or there was no time left. */
  readonly rest: readonly bigint[];
  /** No later try can help. */
  readonly dead: readonly bigint[];
  readonly code: ReasonCode;
  readonly reason: string | null;
  /** The error of a cluster that did not answer. */
  readonly away?: { readonly cluster: ClusterName | null; readonly error: unknown };
}

/** Places that are looked at together: one wait for writes on their way serves them all. */
const CHUNK_PLACES = 200;
const LOOKUP_CONCURRENCY = 8;
const CLUSTERS = ['origin', 'target'] as const;

/**
 * Makes the partitions of the message's tokens the same on both clusters, by what the primary of the phase in force says.
 * Never rejects.
 */
export async function copyPlaces(
  message: CopyMessage,
  ports: CopyPorts,
  options: CopyOptions,
  signal?: AbortSignal,
): Promise<CopyResult> {
  const all = message.tokens;
  const ended = (
    kind: 'copied' | 'refused' | 'rest' | 'dead',
    reason: string | null,
    code: ReasonCode = message.code,
  ) => ({
    ...{ copied: [], refused: [], rest: [], dead: [], [kind]: all },
    code,
    reason,
  });
  let away: CopyResult['away'];
  const open = async (cluster: ClusterName) => {
    try {
      return await ports.openSession(cluster);
    } catch (error) {
      away ??= { cluster, error };
      throw error;
    }
  };
  try {
    const phase = (await ports.ledger.readPhase())?.active.phase;
    const authority = phase === undefined ? 'origin' : primaryOf(phase);
    if (phase === 'target-only') return ended('dead', 'the phase is target-only: the origin is not kept up any more');
    if (message.lacking === authority)
      return ended('dead', `the ${authority} may lack it, and has become the primary since`);
    if (options.filter.decide(message.keyspace, message.table).kind === 'excluded') return ended('copied', null);
    const [origin, target] = [await open('origin'), await open('target')];
    const schemas = await Promise.all([origin, target].map((session) => schemaOf(message, session, ports)));
    const missing = schemas.indexOf(undefined);
    if (missing >= 0)
      return ended('refused', `the ${CLUSTERS[missing]} has no table ${message.keyspace}.${message.table}`);
    const schema = schemas[0]!;
    if (schemas.some((one) => one?.isCounter)) {
      return ended('dead', 'counters can only be brought together while nothing writes them', 'counter');
    }
    const releases = await Promise.all([origin, target].map((session) => ports.schemasOf(session).releaseMajor()));
    if (message.code === 'crash-window') await holdOlderWrites(message, authority, ports, signal);
    const places = new Places(schema, { ...ports, origin, target }, Math.min(...releases) >= 5, {
      ...options,
      authority,
    });
    return await places.copy(message, signal);
  } catch (error) {
    if (isRefusal(error)) return ended('refused', withoutValues(describeError(error)));
    return { ...ended('rest', describeError(error)), away: away ?? { cluster: null, error } };
  }
}

async function schemaOf(message: CopyMessage, session: CqlSession, ports: CopyPorts): Promise<TableSchema | undefined> {
  return (await ports.schemasOf(session).of(message.keyspace, message.table))?.schema;
}

/** What the lost writes deleted has no tombstone at the shadow: failed writes older than they are must not be applied there. */
async function holdOlderWrites(
  message: CopyMessage,
  authority: ClusterName,
  { ledger, clock, sleep }: CopyPorts,
  signal: AbortSignal | undefined,
): Promise<void> {
  const shadow = authority === 'origin' ? 'target' : 'origin';
  const lostBefore = Date.parse(message.enqueuedAt);
  const waitMs = await compareBefore(ledger.store, shadow, message, lostBefore, clock.nowMillis());
  if (waitMs > 0) await sleep(waitMs, signal);
}

/** The partitions of one table, on both clusters. */
class Places {
  readonly #table: ReturnType<typeof compareTable>;
  readonly #ports: CopyPorts & Readonly<Record<ClusterName, CqlSession>>;
  readonly #options: CopyOptions & { readonly authority: ClusterName };
  readonly #keysText: string;

  constructor(
    schema: TableSchema,
    ports: CopyPorts & Readonly<Record<ClusterName, CqlSession>>,
    elementWriteTimes: boolean,
    options: CopyOptions & { readonly authority: ClusterName },
  ) {
    this.#table = compareTable(schema, { elementWriteTimes });
    this.#ports = ports;
    this.#options = options;
    const key = schema.partitionKey.map(({ name }) => quoteIdentifier(name)).join(', ');
    const table = `${quoteIdentifier(schema.keyspace)}.${quoteIdentifier(schema.table)}`;
    this.#keysText = `SELECT DISTINCT ${key} FROM ${table} WHERE token(${key}) > ? AND token(${key}) <= ?`;
  }

  async copy(message: CopyMessage, signal: AbortSignal | undefined): Promise<CopyResult> {
    const [copied, refused, rest]: [bigint[], bigint[], bigint[]] = [[], [], []];
    let reason: string | null = null;
    let away: CopyResult['away'];
    for (let at = 0; at < message.tokens.length; at += CHUNK_PLACES) {
      const chunk = message.tokens.slice(at, at + CHUNK_PLACES);
      // Once nobody answers, the rest of the message would only wait for it too.
      if (away !== undefined || this.#ports.isLate()) {
        rest.push(...chunk);
        continue;
      }
      try {
        await this.#ports.pace(chunk.length);
        const different = await this.#bringTogether(chunk, signal);
        for (const token of chunk) (different.has(token) ? refused : copied).push(token);
        if (different.size > 0) reason ??= 'the two clusters still differ';
      } catch (error) {
        const isRefused = isRefusal(error);
        (isRefused ? refused : rest).push(...chunk);
        if (!isRefused) away = { cluster: null, error };
        reason = isRefused ? withoutValues(describeError(error)) : describeError(error);
      }
    }
    const base = { copied, refused, rest, dead: [], code: message.code, reason };
    return away === undefined ? base : { ...base, away };
  }

  /** Resolves to the tokens of those that still differ. */
  async #bringTogether(tokens: readonly bigint[], signal: AbortSignal | undefined): Promise<ReadonlySet<bigint>> {
    const found = await pLimit(LOOKUP_CONCURRENCY).map(tokens, (token) => this.#keysAt(token, signal));
    const partitions = found.flatMap((keys, index) => keys.map((key) => ({ key, token: tokens[index]! })));
    const keys = partitions.map(({ key }) => key);
    const options = { ...this.#options, compareWriteTime: true, readsTwice: true };
    const results = await repairPartitions(this.#table, keys, this.#ports, options, signal);
    return new Set(partitions.filter((_, index) => !results[index]!.isSame).map(({ token }) => token));
  }

  /** The partitions with this token that either cluster has; nearly always one, and none where it is deleted on both. */
  async #keysAt(token: bigint, signal: AbortSignal | undefined): Promise<readonly Uint8Array[][]> {
    // No partition has the smallest token.
    if (token === MIN_TOKEN) return [];
    const keys = new Map<string, Uint8Array[]>();
    await Promise.all(
      CLUSTERS.map(async (cluster) => {
        const session = this.#ports[cluster];
        const statement = await session.prepare(this.#keysText);
        const { rows } = await session.execute(statement, [encodeBigint(token - 1n), encodeBigint(token)], {
          consistency: cluster === 'origin' ? this.#options.originConsistency : this.#options.targetConsistency,
          ...(signal ? { signal } : {}),
        });
        for (const row of rows) {
          const key = row.map((value) => value ?? new Uint8Array(0));
          keys.set(Buffer.from(serializeKey(key)).toString('base64'), key);
        }
      }),
    );
    return [...keys.values()];
  }
}
