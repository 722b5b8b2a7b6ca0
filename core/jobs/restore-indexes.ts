/** Creates again what a load has dropped, waits until it is built, and compares it with what was saved. */

import { describeError, GateClosedError, MigrationError } from '../errors.ts';
import { changeSavedIndexes, listSavedIndexes, type SavedIndex, type SavedIndexes } from '../ledger/saved-indexes.ts';
import { createIndexStatement, type IndexDefinition, isSameIndex } from '../model/index-definition.ts';
import { type IndexPorts, toOwed } from './drop-indexes.ts';

export interface RestoreOptions {
  /** Indexes that are built on the target at a time. */
  readonly buildsAtOnce: number;
  /** An index that is not built everywhere after this long has failed; so has one that can't be created for so long. */
  readonly buildTimeoutMs: number;
  /** When to return although not all are built. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
  readonly signal?: AbortSignal;
  /** Told after each look at the target. */
  readonly onLook?: (result: RestoreResult) => void;
}

/** Whose: of one run, or all that the ended runs of the ledger owe. */
export type RestoreScope = { readonly runId: string } | { readonly allOfEndedRuns: true };

export interface RestoreResult {
  /** `building`: call again to go on. */
  readonly status: 'done' | 'building' | 'failed';
  readonly total: number;
  readonly built: number;
  readonly failed: readonly { readonly index: string; readonly error: string }[];
  /** Runs under way, which bring back what they have dropped themselves. */
  readonly leftToRuns: readonly string[];
}

const POLL_MS = 1000;
const MAX_POLL_MS = 15_000;
/**
 * A drop that was on its way when its record was claimed may still happen for this long: longer than the statement waits
 * for its answer.
 */
const DROP_SETTLES_MS = 90_000;

/**
 * Idempotent, and to be called after a load however it ended; again after a crash at any point. What can't be created
 * is reported, and the others are created all the same.
 * @throws GateClosedError when only loads that are under way owe indexes, and when a load takes over what is restored
 * here; else what listing indexes and the ledger throw
 */
export async function restoreIndexes(
  scope: RestoreScope,
  ports: IndexPorts,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const { clock, logger, sleep } = ports;
  const taken = await take(scope, ports);
  const { leftToRuns } = taken;
  let records = taken.records;
  const isBeforeDeadline = (millis: number) => millis < (options.deadlineMillis ?? Number.POSITIVE_INFINITY);
  const settledAt = Math.max(0, ...records.map(({ claimedAt }) => (claimedAt ? Date.parse(claimedAt) : 0)));
  const waitMs = settledAt + DROP_SETTLES_MS - clock.nowMillis();
  if (waitMs > 0) {
    if (!isBeforeDeadline(clock.nowMillis() + waitMs)) return { ...resultOf(records, leftToRuns), status: 'building' };
    logger.info('waiting for drops that were on their way', { waitMs });
    await sleep(waitMs);
  }
  let pollMs = POLL_MS;
  for (;;) {
    options.signal?.throwIfAborted();
    records = await advance(records, ports, options);
    const result = resultOf(records, leftToRuns);
    options.onLook?.(result);
    if (result.status !== 'building') {
      const found = await markRestored(records, ports);
      if (found === undefined) return result;
      // Somebody has changed a record since: a drop that came late, or another restore.
      records = found;
    }
    if (!isBeforeDeadline(clock.nowMillis() + pollMs)) return { ...result, status: 'building' };
    await sleep(pollMs);
    pollMs = Math.min(MAX_POLL_MS, pollMs * 1.5);
  }
}

/** Claims the records: from then on no drop begins. */
async function take(
  scope: RestoreScope,
  { ledger, clock }: IndexPorts,
): Promise<{ readonly records: readonly SavedIndexes[]; readonly leftToRuns: readonly string[] }> {
  const records: SavedIndexes[] = [];
  const leftToRuns = new Set<string>();
  for (const { keyspace, table, runId, state } of await listSavedIndexes(ledger.store)) {
    if (state === 'restored' || ('runId' in scope && scope.runId !== runId)) continue;
    if (!('runId' in scope) && (await ledger.readRun(runId))?.state === 'running') {
      leftToRuns.add(runId);
      continue;
    }
    const now = new Date(clock.nowMillis()).toISOString();
    const record = await changeSavedIndexes(ledger.store, keyspace, table, (found) => {
      if (found === undefined || found.runId !== runId || found.state === 'restored') return undefined;
      // What failed before is tried once more.
      const indexes = found.indexes.map((index) => (index.state === 'failed' ? toOwed(index) : index));
      const claimedAt = found.state === 'dropping' ? now : (found.claimedAt ?? null);
      return { ...found, state: 'restoring', updatedAt: now, claimedAt, indexes };
    });
    if (record?.runId === runId && record.state === 'restoring') records.push(record);
  }
  if (records.length === 0 && leftToRuns.size > 0) {
    throw new GateClosedError(
      'restoring indexes',
      [...leftToRuns].map(
        (runId) =>
          `load ${runId}, which has dropped them, is under way and restores them at its end; or stop it: ringshift load stop ${runId}`,
      ),
    );
  }
  return { records, leftToRuns: [...leftToRuns] };
}

/** One look at the target, and the creations that it allows. */
async function advance(
  records: readonly SavedIndexes[],
  ports: IndexPorts,
  options: RestoreOptions,
): Promise<readonly SavedIndexes[]> {
  const { indexes, ledger, clock } = ports;
  const present = new Map<string, readonly IndexDefinition[]>();
  const built = new Map<string, ReadonlySet<string>>();
  for (const keyspace of new Set(records.map((record) => record.keyspace))) {
    present.set(keyspace, await indexes.list(keyspace));
    built.set(keyspace, await indexes.built(keyspace));
  }
  const seen = records.map((record) => ({
    ...record,
    indexes: record.indexes.map((index) =>
      judge(record, index, present.get(record.keyspace)!, built.get(record.keyspace)!, clock.nowMillis(), options),
    ),
  }));
  let free = options.buildsAtOnce - countIn(seen, 'building');
  const isLate = () => options.deadlineMillis !== undefined && clock.nowMillis() >= options.deadlineMillis;
  const next: SavedIndexes[] = [];
  for (const [at, record] of seen.entries()) {
    for (const [position, index] of record.indexes.entries()) {
      if (index.state !== 'owed' || free <= 0 || isLate()) continue;
      options.signal?.throwIfAborted();
      record.indexes[position] = await create(record, index, ports);
      if (record.indexes[position].state === 'building') free--;
    }
    const before = records[at]!;
    const updatedAt = new Date(clock.nowMillis()).toISOString();
    next.push(
      JSON.stringify(record.indexes) === JSON.stringify(before.indexes)
        ? before
        : await replace(before, { ...record, updatedAt }, ledger),
    );
  }
  return next;
}

/** Marks the tables that have everything back. Resolves to the records as they are if somebody has changed one. */
async function markRestored(
  records: readonly SavedIndexes[],
  { ledger }: IndexPorts,
): Promise<readonly SavedIndexes[] | undefined> {
  const found: SavedIndexes[] = [];
  let isChanged = false;
  for (const record of records) {
    const isBack = record.indexes.every(({ state }) => state === 'built');
    const now = isBack ? await replace(record, { ...record, state: 'restored' }, ledger) : record;
    if (isBack && now.state !== 'restored') isChanged = true;
    found.push(now);
  }
  return isChanged ? found : undefined;
}

/**
 * Writes what was made of a record, unless somebody has changed it since; resolves to what is in the ledger.
 * @throws GateClosedError when another load has taken it over
 */
async function replace(
  before: SavedIndexes,
  after: SavedIndexes,
  { store }: IndexPorts['ledger'],
): Promise<SavedIndexes> {
  const { keyspace, table, runId } = before;
  const isSame = (found: SavedIndexes) => JSON.stringify(found.indexes) === JSON.stringify(before.indexes);
  const written = await changeSavedIndexes(store, keyspace, table, (found) =>
    found?.runId === runId && found.state === 'restoring' && isSame(found) ? after : undefined,
  );
  if (written?.runId === runId && (written.state === 'restoring' || written.state === 'restored')) return written;
  throw new GateClosedError(`restoring the indexes of ${keyspace}.${table}`, [
    `load ${written?.runId} has taken them over and restores them at its end`,
  ]);
}

/** What the target says of a saved index. */
function judge(
  { keyspace, table }: SavedIndexes,
  index: SavedIndex,
  present: readonly IndexDefinition[],
  built: ReadonlySet<string>,
  nowMillis: number,
  { buildTimeoutMs }: RestoreOptions,
): SavedIndex {
  if (index.state === 'failed') return index;
  const isOver = (since: string) => nowMillis - Date.parse(since) > buildTimeoutMs;
  const found = present.find(({ name }) => name === index.name);
  if (found === undefined) {
    if (!index.failingSince || !isOver(index.failingSince)) return { ...index, state: 'owed', createdAt: null };
    const error = `it could not be created since ${index.failingSince}: ${index.error}`;
    return { ...index, state: 'failed', createdAt: null, error };
  }
  if (!isSameIndex(found, { ...index, keyspace, table })) {
    const error = `the target has another index of this name (${createIndexStatement(found) ?? found.table}); the saved one is: ${index.statement}`;
    return { ...index, state: 'failed', error };
  }
  if (built.has(index.name)) return { ...index, state: 'built', error: null };
  const createdAt = index.createdAt ?? new Date(nowMillis).toISOString();
  if (isOver(createdAt)) {
    const error = `it is there but not built on every node since ${createdAt}; see the nodes' logs, run nodetool rebuild_index ${keyspace} ${table} ${index.name}, then ringshift indexes restore`;
    return { ...index, state: 'failed', createdAt, error };
  }
  return { ...index, state: 'building', createdAt, error: null };
}

/** A failure is this index's own; the others must not wait for it. One that may pass is tried again at the next look. */
async function create(record: SavedIndexes, index: SavedIndex, ports: IndexPorts): Promise<SavedIndex> {
  const { keyspace, table } = record;
  const nowText = () => new Date(ports.clock.nowMillis()).toISOString();
  try {
    await ports.indexes.change(index.statement);
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    ports.logger.error('an index was not created again', { keyspace, table, index: index.name, error: error.message });
    if (!error.retryable) return { ...index, state: 'failed', error: describeError(error) };
    return { ...index, error: describeError(error), failingSince: index.failingSince ?? nowText() };
  }
  return { ...index, state: 'building', createdAt: nowText(), error: null, failingSince: null };
}

function countIn(records: readonly SavedIndexes[], state: SavedIndex['state']): number {
  return records.reduce((sum, { indexes }) => sum + indexes.filter((index) => index.state === state).length, 0);
}

function resultOf(records: readonly SavedIndexes[], leftToRuns: readonly string[]): RestoreResult {
  const failed = records.flatMap(({ keyspace, table, indexes }) =>
    indexes
      .filter(({ state }) => state === 'failed')
      .map(({ name, error }) => ({ index: `${name} on ${keyspace}.${table}`, error: error ?? 'unknown' })),
  );
  const total = records.reduce((sum, { indexes }) => sum + indexes.length, 0);
  const built = countIn(records, 'built');
  const isEnded = built + failed.length === total;
  return { status: !isEnded ? 'building' : failed.length > 0 ? 'failed' : 'done', total, built, failed, leftToRuns };
}
