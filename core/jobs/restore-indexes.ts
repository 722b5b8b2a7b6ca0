/** Creates again what a load has dropped, waits until it is built, and compares it with what was saved. */

import { describeError, GateClosedError, MigrationError } from '../errors.ts';
import { changeSavedIndexes, listSavedIndexes, type SavedIndex, type SavedIndexes } from '../ledger/saved-indexes.ts';
import { createIndexStatement, type IndexDefinition, isSameIndex } from '../model/index-definition.ts';
import type { IndexPorts } from './drop-indexes.ts';

export interface RestoreOptions {
  /** Indexes that are built on the target at a time. */
  readonly buildsAtOnce: number;
  /** An index that is not built everywhere after this long has failed. */
  readonly buildTimeoutMs: number;
  /** When to return although not all are built. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
  readonly signal?: AbortSignal;
}

/** Whose: of one run, or all that the ended runs of the ledger owe. */
export type RestoreScope = { readonly runId: string } | { readonly allOfEndedRuns: true };

export interface RestoreResult {
  /** `building`: call again to go on. */
  readonly status: 'done' | 'building' | 'failed';
  readonly total: number;
  readonly built: number;
  readonly failed: readonly { readonly index: string; readonly error: string }[];
}

const POLL_MS = 1000;
const MAX_POLL_MS = 15_000;
/** A drop that was on its way when its process ended may still happen for this long. */
const DROP_SETTLES_MS = 20_000;

/**
 * Idempotent, and to be called after a load however it ended; again after a crash at any point. What can't be created
 * is reported, and the others are created all the same.
 * @throws GateClosedError for a run of `allOfEndedRuns` that turns out to be under way; what the ports throw
 */
export async function restoreIndexes(
  scope: RestoreScope,
  ports: IndexPorts,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const { ledger, clock, sleep } = ports;
  let records = await take(scope, ports);
  let pollMs = POLL_MS;
  for (;;) {
    options.signal?.throwIfAborted();
    records = await advance(records, ports, options);
    const result = resultOf(records);
    if (result.status !== 'building') break;
    if (options.deadlineMillis !== undefined && clock.nowMillis() + pollMs >= options.deadlineMillis) return result;
    await sleep(pollMs);
    pollMs = Math.min(MAX_POLL_MS, pollMs * 1.5);
  }
  for (const record of records) {
    if (record.indexes.some(({ state }) => state !== 'built')) continue;
    await changeSavedIndexes(ledger.store, record.keyspace, record.table, (found) =>
      found?.runId === record.runId && found.state === 'restoring' ? { ...found, state: 'restored' } : undefined,
    );
  }
  return resultOf(records);
}

/** Claims the records: from then on no drop begins, and those that were on their way have had their time. */
async function take(scope: RestoreScope, ports: IndexPorts): Promise<readonly SavedIndexes[]> {
  const { ledger, clock, sleep } = ports;
  const taken: SavedIndexes[] = [];
  let settledAt = 0;
  for (const { keyspace, table, runId, state, updatedAt } of await listSavedIndexes(ledger.store)) {
    if (state === 'restored' || ('runId' in scope && scope.runId !== runId)) continue;
    if (!('runId' in scope)) await refuseRunning(runId, ports);
    if (state === 'dropping') settledAt = Math.max(settledAt, Date.parse(updatedAt) + DROP_SETTLES_MS);
    const now = new Date(clock.nowMillis()).toISOString();
    const record = await changeSavedIndexes(ledger.store, keyspace, table, (found) => {
      if (found === undefined || found.runId !== runId || found.state === 'restored') return undefined;
      // What failed before is tried once more.
      const indexes = found.indexes.map(
        (index): SavedIndex =>
          index.state === 'failed' ? { ...index, state: 'owed', createdAt: null, error: null } : index,
      );
      return { ...found, state: 'restoring', updatedAt: found.state === 'dropping' ? found.updatedAt : now, indexes };
    });
    if (record?.runId === runId && record.state === 'restoring') taken.push(record);
  }
  const waitMs = settledAt - clock.nowMillis();
  if (waitMs > 0) await sleep(waitMs);
  return taken;
}

async function refuseRunning(runId: string, { ledger }: IndexPorts): Promise<void> {
  if ((await ledger.readRun(runId))?.state !== 'running') return;
  throw new GateClosedError('restoring indexes', [
    `load ${runId}, which has dropped them, is under way and restores them at its end; or stop it: ringshift load stop ${runId}`,
  ]);
}

/** One look at the target, and the creations that it allows. */
async function advance(
  records: readonly SavedIndexes[],
  ports: IndexPorts,
  options: RestoreOptions,
): Promise<readonly SavedIndexes[]> {
  const { indexes, ledger, clock } = ports;
  const keyspaces = [...new Set(records.map(({ keyspace }) => keyspace))];
  const present = new Map<string, readonly IndexDefinition[]>();
  const built = new Map<string, ReadonlySet<string>>();
  for (const keyspace of keyspaces) {
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
  for (const [at, record] of seen.entries()) {
    for (const [position, index] of record.indexes.entries()) {
      if (index.state !== 'owed' || free <= 0) continue;
      record.indexes[position] = await create(record, index, ports);
      if (record.indexes[position].state === 'building') free--;
    }
    if (JSON.stringify(record.indexes) === JSON.stringify(records[at]!.indexes)) continue;
    const updatedAt = new Date(clock.nowMillis()).toISOString();
    const written = await changeSavedIndexes(ledger.store, record.keyspace, record.table, (found) =>
      found?.runId === record.runId && found.state === 'restoring'
        ? { ...found, updatedAt, indexes: record.indexes }
        : undefined,
    );
    if (written?.runId === record.runId && written.state !== 'dropping') continue;
    throw new GateClosedError(`restoring the indexes of ${record.keyspace}.${record.table}`, [
      `load ${written?.runId} has taken them over and restores them at its end`,
    ]);
  }
  return seen;
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
  const found = present.find(({ name }) => name === index.name);
  if (found === undefined) return { ...index, state: 'owed', createdAt: null };
  if (!isSameIndex(found, { keyspace, table, name: index.name, kind: index.kind, options: index.options })) {
    const error = `the target has another index of this name (${createIndexStatement(found) ?? found.table}); the saved one is: ${index.statement}`;
    return { ...index, state: 'failed', error };
  }
  if (built.has(index.name)) return { ...index, state: 'built', error: null };
  const createdAt = index.createdAt ?? new Date(nowMillis).toISOString();
  if (nowMillis - Date.parse(createdAt) > buildTimeoutMs) {
    const error = `it is there but not built on every node since ${createdAt}; see the nodes' logs, run nodetool rebuild_index ${keyspace} ${table} ${index.name}, then ringshift indexes restore`;
    return { ...index, state: 'failed', createdAt, error };
  }
  return { ...index, state: 'building', createdAt };
}

async function create(record: SavedIndexes, index: SavedIndex, ports: IndexPorts): Promise<SavedIndex> {
  const { keyspace, table } = record;
  try {
    await ports.indexes.change(index.statement);
  } catch (error) {
    // A refusal is this index's own; the others must not wait for it.
    if (!(error instanceof MigrationError) || error.retryable) throw error;
    ports.logger.error('an index was not created again', { keyspace, table, index: index.name, error: error.message });
    return { ...index, state: 'failed', error: describeError(error) };
  }
  return { ...index, state: 'building', createdAt: new Date(ports.clock.nowMillis()).toISOString(), error: null };
}

function countIn(records: readonly SavedIndexes[], state: SavedIndex['state']): number {
  return records.reduce((sum, { indexes }) => sum + indexes.filter((index) => index.state === state).length, 0);
}

function resultOf(records: readonly SavedIndexes[]): RestoreResult {
  const failed = records.flatMap(({ keyspace, table, indexes }) =>
    indexes
      .filter(({ state }) => state === 'failed')
      .map(({ name, error }) => ({ index: `${name} on ${keyspace}.${table}`, error: error ?? 'unknown' })),
  );
  const total = records.reduce((sum, { indexes }) => sum + indexes.length, 0);
  const built = countIn(records, 'built');
  const isEnded = built + failed.length === total;
  return { status: !isEnded ? 'building' : failed.length > 0 ? 'failed' : 'done', total, built, failed };
}
