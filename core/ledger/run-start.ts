/** How a run takes its keyspace: one of a kind at a time, each under an id that no other had. */

import type { z } from 'zod';
import { GateClosedError, LedgerConflictError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';
import { lockSchema, parseRecord, type RunKind, type RunRecord, runRecordSchema } from './records.ts';
import { removeOwn } from './remove-own.ts';

/** Between taking a keyspace and writing the run's record there is one call to the store. */
const LOCK_WITHOUT_RECORD_MS = 60_000;

export const runKey = (runId: string) => `runs/${runId}.json`;
/** Of the records of its ranges. */
export const rangePrefix = (runId: string) => `ranges/${runId}/`;
const lockKey = (kind: RunKind, keyspace: string) => `active/${kind}.${keyspace}.json`;

/** @see Ledger.startRun */
export async function startRun(record: RunRecord, store: LedgerStore): Promise<void> {
  const version = await refuseUsedId(record, store);
  await takeLock(record, store);
  try {
    await store.put(runKey(record.runId), JSON.stringify(record), version);
  } catch (error) {
    // Should this fail too, the lock is one without a record, which the next run takes over. A record that came in
    // between is of a call for the same run, whose lock it is as well.
    if (!(error instanceof LedgerConflictError)) await giveLock(record, store).catch(() => undefined);
    throw error;
  }
}

/** Gives the keyspace free if the run has it. */
export async function giveLock(
  { kind, keyspace, runId }: Pick<RunRecord, 'kind' | 'keyspace' | 'runId'>,
  store: LedgerStore,
): Promise<void> {
  const key = lockKey(kind, keyspace);
  const holder = await store.get(key);
  if (holder && parseRecord(lockSchema, key, holder.value).runId === runId) await removeOwn(store, key, holder.version);
}

/**
 * What an earlier run of that id has finished would count as finished in this one, which would then load nothing.
 * @returns the version of the record that may be overwritten; null: there is none
 */
async function refuseUsedId({ runId, kind, keyspace }: RunRecord, store: LedgerStore): Promise<string | null> {
  const found = await store.get(runKey(runId));
  if (found === undefined) {
    if (await hasAny(store, rangePrefix(runId))) throw usedId(kind, keyspace, runId, 'its ranges are still there');
    return null;
  }
  const earlier = parseRecord(runRecordSchema, runKey(runId), found.value);
  const isSame = earlier.kind === kind && earlier.keyspace === keyspace;
  const mayBegin = earlier.state === 'running' || earlier.rangeCount === null;
  if (isSame && mayBegin && !(await hasAny(store, rangePrefix(runId)))) return found.version;
  throw usedId(kind, keyspace, runId, `${earlier.kind} of ${earlier.keyspace}, ${earlier.state}`);
}

function usedId(kind: RunKind, keyspace: string, runId: string, what: string): GateClosedError {
  return new GateClosedError(`${kind} of ${keyspace}`, [
    `there was a run ${runId} already (${what}); take another --run-id`,
  ]);
}

async function hasAny(store: LedgerStore, prefix: string): Promise<boolean> {
  for await (const _ of store.list(prefix)) return true;
  return false;
}

async function takeLock(record: RunRecord, store: LedgerStore): Promise<void> {
  const key = lockKey(record.kind, record.keyspace);
  const lock = JSON.stringify({ runId: record.runId, at: record.startedAt });
  try {
    await store.put(key, lock, null);
  } catch (error) {
    if (!(error instanceof LedgerConflictError)) throw error;
    const holder = await store.get(key);
    const held = holder && parseRecord(lockSchema, key, holder.value);
    if (held !== undefined && held.runId !== record.runId) await refuseWhileRunning(record, held, store);
    await store.put(key, lock, holder?.version ?? null);
  }
}

/** A lock without a record is left by a planner that died in between; it counts only while that may still go on. */
async function refuseWhileRunning(
  { kind, keyspace, startedAt }: RunRecord,
  held: z.output<typeof lockSchema>,
  store: LedgerStore,
): Promise<void> {
  const found = await store.get(runKey(held.runId));
  const holder = found && parseRecord(runRecordSchema, runKey(held.runId), found.value);
  const verb = kind === 'load' ? 'load' : 'validate';
  if (holder?.state === 'running') {
    throw new GateClosedError(`${kind} of ${keyspace}`, [
      `run ${held.runId} is under way; wait for it, or stop it: ringshift ${verb} stop ${held.runId}`,
    ]);
  }
  const ageMs = held.at === null ? Number.POSITIVE_INFINITY : Date.parse(startedAt) - Date.parse(held.at);
  if (holder === undefined && ageMs < LOCK_WITHOUT_RECORD_MS) {
    throw new GateClosedError(`${kind} of ${keyspace}`, [`run ${held.runId} is just beginning; try again in a minute`]);
  }
}
