/** What becomes of one failed write when it is applied again. */

import { ErrorCode } from '../cql/protocol.ts';
import { describeError, LedgerUnavailableError, MessageInvalidError, ServerError } from '../errors.ts';
import type { CopiedTables } from '../ledger/copied-tables.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { primaryOf } from '../ledger/phase-change.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { BoundValue } from '../model/cql-request.ts';
import type { FailedStatement, FailedWrite } from '../model/failed-write.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { BatchEntry, Clock, CqlSession, RequestOptions } from '../ports.ts';
import { classify } from '../statement/classify.ts';
import { LATE_TTL_MS, mayExpire } from '../statement/may-expire.ts';
import { qualifyTables } from '../statement/qualify-tables.ts';
import { type RemainingLife, shortenTtl } from '../statement/shorten-ttl.ts';
import { isTooOld } from './gc-grace.ts';
import { replayLists } from './replay-lists.ts';
import type { TableSchemas } from './table-schemas.ts';

/**
 * `applied`: the cluster has it. `away`: nothing speaks against the write, only nobody answered;
 * `cluster` is the one that did not, where that is known. `refused`: the cluster said
 * no to this very write. `copy`: its partitions are to be compared instead. `dead`: no later try can help.
 */
export type WriteOutcome =
  | { readonly kind: 'applied' }
  | { readonly kind: 'away'; readonly error: unknown; readonly cluster: ClusterName | null }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'copy'; readonly code: ReasonCode; readonly reason: string }
  | { readonly kind: 'dead'; readonly code: ReasonCode; readonly reason: string };

export interface WritePorts {
  /** Kept by whoever opens it. */
  readonly openSession: (cluster: ClusterName) => Promise<CqlSession>;
  readonly schemasOf: (session: CqlSession) => TableSchemas;
  readonly ledger: Ledger;
  readonly copied: CopiedTables;
  readonly clock: Clock;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** Never rejects. */
export async function replayWrite(
  write: FailedWrite,
  ports: WritePorts,
  tombstoneMarginSeconds: number,
  signal?: AbortSignal,
): Promise<WriteOutcome> {
  if ((!write.idempotent && !write.readBack) || write.batchKind === 'counter') return COUNTS_TWICE;
  let session: CqlSession;
  try {
    session = await ports.openSession(write.destination);
  } catch (error) {
    // Wrong credentials or settings are mended by people; the whole queue waits for it.
    return { kind: 'away', error, cluster: write.destination };
  }
  try {
    const tables = await tablesOf(write, session, ports);
    if (tables.some(({ isCounter }) => isCounter)) return COUNTS_TWICE;
    if (isTooOld(write, tables, tombstoneMarginSeconds, ports.clock.nowMillis())) {
      return { kind: 'copy', code: 'too-old', reason: 'it is so old that tombstones newer than it may be gone' };
    }
    if (write.readBack) return await copyLists(write, session, ports, signal);
    if (await isBehindCopy(write, ports)) return BEHIND_COPY;
    const tookMs = await applyWrite(write, tables, session, ports.clock, signal);
    const isLate = session.protocolVersion < 5 && tookMs > LATE_TTL_MS;
    return isLate && writesLife(write, tables) ? LATE : { kind: 'applied' };
  } catch (error) {
    if (error instanceof MessageInvalidError) {
      return { kind: write.readBack ? 'copy' : 'dead', code: 'dead-letter', reason: describeError(error) };
    }
    if (isRefusal(error)) return { kind: 'refused', reason: withoutValues(describeError(error)) };
    // Lists are read from the other cluster, and the ledger may be away too.
    const isOther = write.readBack || error instanceof LedgerUnavailableError;
    return { kind: 'away', error, cluster: isOther ? null : write.destination };
  }
}

/** What it writes, as the session's cluster has it; tables that are not there are left out. */
async function tablesOf(write: FailedWrite, session: CqlSession, ports: WritePorts): Promise<TableSchema[]> {
  const schemas = ports.schemasOf(session);
  const found = await Promise.all(write.tables.map(({ keyspace, table }) => schemas.of(keyspace, table)));
  return found.flatMap((table) => (table === undefined ? [] : [table.schema]));
}

const COUNTS_TWICE: WriteOutcome = {
  kind: 'dead',
  code: 'counter',
  reason: 'applying it again could count or append twice; its partitions must be compared instead',
};

const BEHIND_COPY: WriteOutcome = {
  kind: 'copy',
  code: 'too-old',
  reason: 'of writes that are newer only the places are known',
};

const LATE: WriteOutcome = {
  kind: 'copy',
  code: 'late-ttl',
  reason: 'the cluster took so long for what is left of a TTL that it may live longer there',
};

const LISTS_EXPIRE: WriteOutcome = {
  kind: 'dead',
  code: 'list-expiry',
  reason: 'the elements of a failed list write expire by the table, and the rest of their lives can not be read',
};

const ROLES_CHANGED: WriteOutcome = {
  kind: 'copy',
  code: 'list',
  reason: 'the clusters have changed their roles since a list write failed',
};

/** Servers quote what they refuse: 'x', or (x) for a constant; names of tables and columns they don't. */
export function withoutValues(message: string): string {
  return message.replaceAll(/'(?:[^']|'')*'?/g, "'…'").replaceAll(/\([^()]*\)?/g, '(…)');
}

/** Whether the cluster said no to this request, and not to everything. */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof ServerError) || error.retryable) return false;
  return error.code !== ErrorCode.UNAUTHORIZED && error.code !== ErrorCode.AUTH_ERROR;
}

/** Whether a deletion that is newer may be known by its place only, which shows no tombstone. */
async function isBehindCopy(
  { destination, tables, writtenAtSeconds }: FailedWrite,
  ports: WritePorts,
): Promise<boolean> {
  const before = await Promise.all(tables.map((table) => ports.copied.before(destination, table)));
  return before.some((millis) => writtenAtSeconds * 1000 < millis);
}

/** Whether the cluster that a list would be read from is the one that is right no more. */
async function hasChangedRoles(write: FailedWrite, { ledger }: WritePorts): Promise<boolean> {
  const phase = (await ledger.readPhase())?.active.phase;
  return phase !== undefined && primaryOf(phase) === write.destination;
}

async function copyLists(
  write: FailedWrite,
  to: CqlSession,
  ports: WritePorts,
  signal: AbortSignal | undefined,
): Promise<WriteOutcome> {
  if (await hasChangedRoles(write, ports)) return ROLES_CHANGED;
  const from = await ports.openSession(write.destination === 'target' ? 'origin' : 'target');
  const tables = [...(await tablesOf(write, from, ports)), ...(await tablesOf(write, to, ports))];
  if (tables.some(({ defaultTimeToLiveSeconds }) => defaultTimeToLiveSeconds > 0)) return LISTS_EXPIRE;
  const { clock, sleep } = ports;
  const factsOf = async (keyspace: string, table: string) => (await ports.schemasOf(to).of(keyspace, table))?.facts;
  if (await replayLists({ write, from, to, factsOf, clock, sleep }, signal)) return { kind: 'applied' };
  // Counted as an attempt: a list that is written without a pause is left to validation in the end.
  return { kind: 'refused', reason: 'the lists of the two clusters still differ' };
}

/** Resolves to how long ago it was told what is left of TTLs, in milliseconds. */
async function applyWrite(
  write: FailedWrite,
  tables: readonly TableSchema[],
  session: CqlSession,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<number> {
  const canSetNow = session.protocolVersion >= 5;
  const beganMillis = clock.nowMillis();
  // By the protocol's own means TTLs count from the write; before them, what is left of each is named.
  const life = remainingLife(write, tables, canSetNow ? undefined : Math.floor(beganMillis / 1000));
  const statements = write.statements.map((statement) => {
    const text = write.keyspace === null ? statement.text : qualifyTables(statement.text, write.keyspace);
    const positional = { text, values: positionalValues(statement) };
    return life === undefined ? positional : shortenTtl(positional, life);
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
  if (write.kind === 'batch') await session.batch(write.batchKind ?? 'logged', prepared, options);
  else {
    const { statement, values } = prepared[0]!;
    if (typeof statement === 'string') await session.query(statement, [], options);
    else await session.execute(statement, values, options);
  }
  return clock.nowMillis() - beganMillis;
}

/** Whether anything that it writes may expire; of tables that are not there nobody knows. */
function writesLife({ statements, keyspace: ofSession }: FailedWrite, tables: readonly TableSchema[]): boolean {
  return statements.some(
    ({ text }) =>
      mayExpire(classify(text), (keyspace = ofSession ?? undefined, name) => {
        const schema = tables.find((one) => one.table === name && one.keyspace === keyspace);
        return schema?.defaultTimeToLiveSeconds;
      }) ?? true,
  );
}

/**
 * What the write's cells have left. undefined: the server counts it by itself.
 * @param nowSeconds undefined: the server is told when the write was
 */
function remainingLife(
  { keyspace: ofSession, writtenAtSeconds, expiresAtSeconds }: FailedWrite,
  tables: readonly TableSchema[],
  nowSeconds: number | undefined,
): RemainingLife | undefined {
  const lifeSeconds = expiresAtSeconds === null ? undefined : expiresAtSeconds - writtenAtSeconds;
  const elapsedSeconds = Math.max(0, (nowSeconds ?? writtenAtSeconds) - writtenAtSeconds);
  const isByTable = tables.every((table) => table.defaultTimeToLiveSeconds === (lifeSeconds ?? 0));
  if (nowSeconds === undefined && (isByTable || lifeSeconds === undefined)) return undefined;
  return {
    elapsedSeconds,
    withoutTtlSeconds({ keyspace = ofSession, table: name }) {
      const schema = tables.find((one) => one.table === name && (keyspace === null || one.keyspace === keyspace));
      const seconds = lifeSeconds ?? schema?.defaultTimeToLiveSeconds ?? 0;
      return seconds > 0 ? seconds - elapsedSeconds : undefined;
    },
  };
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
