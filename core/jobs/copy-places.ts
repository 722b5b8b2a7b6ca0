/** Places of the ring are brought together: found by their tokens on both clusters, compared, repaired. */

import { type ComparedTable, compareTable } from '../checksum/compared-table.ts';
import { describeError } from '../errors.ts';
import type { Filter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { primaryOf } from '../ledger/phase-change.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Consistency } from '../model/cql-request.ts';
import type { CopyMessage } from '../model/message.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, CqlSession } from '../ports.ts';
import { holdOlderThan } from './hold-older-writes.ts';
import { lookAtToken } from './look-at-token.ts';
import { PartitionRepair, type RepairOptions } from './repair-partition.ts';
import { MAX_HELD_BYTES, REPAIRS_AT_ONCE } from './repair-partitions.ts';
import { isRefusal, withoutValues } from './replay-write.ts';
import type { TableSchemas } from './table-schemas.ts';
import { type Turn, type TurnEnd, takeTurns } from './take-turns.ts';

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

/** So many places in a row that nobody answers, and the rest of the message would only wait for it too. */
const MAX_AWAY_IN_A_ROW = 5;
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
    const waitMs = await holdOlderThan([message], ports);
    if (waitMs > 0) await ports.sleep(waitMs, signal);
    const table = compareTable(schema, { elementWriteTimes: Math.min(...releases) >= 5 });
    return await new Places(table, { ...ports, origin, target }, { ...options, authority }).copy(message, signal);
  } catch (error) {
    if (isRefusal(error)) return ended('refused', withoutValues(describeError(error)));
    return { ...ended('rest', describeError(error)), away: away ?? { cluster: null, error } };
  }
}

async function schemaOf(message: CopyMessage, session: CqlSession, ports: CopyPorts): Promise<TableSchema | undefined> {
  return (await ports.schemasOf(session).of(message.keyspace, message.table))?.schema;
}

type PlacePorts = CopyPorts & Readonly<Record<ClusterName, CqlSession>>;

/** The places of one message. */
class Places {
  readonly #table: ComparedTable;
  readonly #ports: PlacePorts;
  readonly #options: RepairOptions;

  constructor(table: ComparedTable, ports: PlacePorts, options: CopyOptions & { readonly authority: ClusterName }) {
    this.#table = table;
    this.#ports = ports;
    this.#options = { ...options, compareWriteTime: true, readsTwice: true };
  }

  async copy(message: CopyMessage, signal: AbortSignal | undefined): Promise<CopyResult> {
    const { clock, sleep, isLate } = this.#ports;
    // Where it begins differs each time, so that places that time out do not keep those behind them from their turn.
    const first = clock.nowMillis() % message.tokens.length;
    const tokens = [...message.tokens.slice(first), ...message.tokens.slice(0, first)];
    const run = { awayInARow: 0 };
    const places = tokens.map((token) => new Place(token, this, run));
    const ends = await takeTurns(
      places,
      {
        settleMs: this.#options.settleMs,
        concurrency: REPAIRS_AT_ONCE,
        maxHeldBytes: MAX_HELD_BYTES,
        mayBegin: () => !isLate(),
        mayGoOn: () => run.awayInARow < MAX_AWAY_IN_A_ROW,
        sleep,
      },
      signal,
    );
    return resultOf(message, places, ends);
  }

  /** Waits for its turn, and reads the partitions with this token; resolves to those that are not the same. */
  async begin(token: bigint, signal: AbortSignal | undefined): Promise<PartitionRepair[]> {
    await this.#ports.pace(1);
    const waiting: PartitionRepair[] = [];
    for (const { keyValues, comparison } of await lookAtToken(this.#table, token, this.#ports, this.#options, signal)) {
      if (comparison && !comparison.kind) continue;
      const repair = new PartitionRepair(this.#table, keyValues, this.#ports, this.#options, comparison);
      // What was not read yet is, once: it has to wait as well where it differs.
      if (comparison === undefined && (await repair.advance(signal)) === 'same') continue;
      waiting.push(repair);
    }
    return waiting;
  }
}

/** A token with the partitions that have it. */
class Place implements Turn {
  readonly token: bigint;
  isSame = true;
  readonly #places: Places;
  readonly #run: { awayInARow: number };
  /** Those that are not ended; undefined: not begun. */
  #repairs: PartitionRepair[] | undefined;

  constructor(token: bigint, places: Places, run: { awayInARow: number }) {
    this.token = token;
    this.#places = places;
    this.#run = run;
  }

  get heldBytes(): number {
    return (this.#repairs ?? []).reduce((sum, repair) => sum + repair.heldBytes, 0);
  }

  async step(signal?: AbortSignal): Promise<'ended' | 'wait'> {
    try {
      this.#repairs = await (this.#repairs === undefined
        ? this.#places.begin(this.token, signal)
        : this.#goOn(this.#repairs, signal));
      this.#run.awayInARow = 0;
      return this.#repairs.length > 0 ? 'wait' : 'ended';
    } catch (error) {
      this.#run.awayInARow = isRefusal(error) ? 0 : this.#run.awayInARow + 1;
      throw error;
    }
  }

  async #goOn(repairs: readonly PartitionRepair[], signal: AbortSignal | undefined): Promise<PartitionRepair[]> {
    const waiting: PartitionRepair[] = [];
    for (const repair of repairs) {
      const next = await repair.advance(signal);
      if (next === 'wait') waiting.push(repair);
      if (next === 'different') this.isSame = false;
    }
    return waiting;
  }
}

function resultOf(message: CopyMessage, places: readonly Place[], ends: readonly TurnEnd[]): CopyResult {
  const [copied, refused, rest]: [bigint[], bigint[], bigint[]] = [[], [], []];
  let reason: string | null = null;
  let away: CopyResult['away'];
  for (const [index, { token, isSame }] of places.entries()) {
    const end = ends[index]!;
    if (end.kind === 'ended' && isSame) copied.push(token);
    else if (end.kind === 'ended') {
      refused.push(token);
      reason ??= 'the two clusters still differ';
    } else if (end.kind === 'failed' && isRefusal(end.error)) {
      refused.push(token);
      reason ??= withoutValues(describeError(end.error));
    } else {
      rest.push(token);
      if (end.kind === 'failed') away ??= { cluster: null, error: end.error };
    }
  }
  if (away !== undefined) reason ??= describeError(away.error);
  const base = { copied, refused, rest, dead: [], code: message.code, reason };
  return away === undefined ? base : { ...base, away };
}
