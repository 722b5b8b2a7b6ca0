/** Saves the definitions of a load's indexes in the ledger, then drops them. May run again after a crash at any point. */

import { describeError, GateClosedError, PrerequisiteError, ServerError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { primaryOf } from '../ledger/phase-change.ts';
import type { RunRecord } from '../ledger/records.ts';
import { changeSavedIndexes, listSavedIndexes, type SavedIndex, type SavedIndexes } from '../ledger/saved-indexes.ts';
import {
  createIndexStatement,
  dropIndexStatement,
  type IndexDefinition,
  isSameIndex,
} from '../model/index-definition.ts';
import type { Clock, Logger } from '../ports.ts';

/** The target's indexes, by the control plane. Every call may throw ServerError, ClusterUnreachableError. */
export interface IndexAdmin {
  /** All secondary indexes of a keyspace. */
  list(keyspace: string): Promise<readonly IndexDefinition[]>;
  /** A change of the schema, sent once; resolves when all nodes agree on it. What failed may still happen later. */
  change(statement: string): Promise<void>;
  /** Names of those indexes of the keyspace that every node of the local data centre has built. */
  built(keyspace: string): Promise<ReadonlySet<string>>;
}

export interface IndexPorts {
  readonly indexes: IndexAdmin;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

/** The protocol's error code of a missing permission. */
const UNAUTHORIZED = 0x2100;

/**
 * Drops the indexes that the plan of a run has chosen, and takes over what ended runs still owe of its tables.
 * @throws PrerequisiteError when the role may not create or drop them, before anything is dropped
 * @throws GateClosedError while another running load owns the indexes of one of the tables, and when the target serves
 * reads or is about to
 */
export async function dropIndexes(
  runId: string,
  ports: IndexPorts,
  signal?: AbortSignal,
): Promise<{ readonly dropped: number }> {
  const { ledger, logger } = ports;
  const run = await ledger.readRun(runId);
  if (run?.state !== 'running') {
    throw new GateClosedError('dropping indexes', [`load ${runId} is not under way (${run?.state ?? 'no record'})`]);
  }
  const chosen = await chosenIndexes(run, ports.indexes);
  await checkRights(chosen, ports.indexes);
  const tables = new Map((run.rebuildIndexes ?? []).map((each) => [JSON.stringify([each.keyspace, each.table]), each]));
  // All are saved before the first is dropped.
  for (const { keyspace, table } of tables.values()) {
    signal?.throwIfAborted();
    const own = chosen.filter((index) => index.keyspace === keyspace && index.table === table);
    await save(runId, keyspace, table, own, ports);
  }
  // Read after the saving, and a change of the phase looks for what is saved after its proposal: one sees the other.
  await requireOriginReads(ledger);
  let dropped = 0;
  for (const index of chosen) {
    if (signal?.aborted) {
      // All that were sent have been answered: nobody needs to wait for them.
      await finishDropping(runId, ports);
      throw signal.reason;
    }
    await requireDropping(runId, index, ports);
    await ports.indexes.change(dropIndexStatement(index));
    try {
      await requireDropping(runId, index, ports);
    } catch (error) {
      // A restore that began in between may have seen the index still in place.
      if (error instanceof GateClosedError) await takeBack(runId, index, ports);
      throw error;
    }
    dropped++;
  }
  await finishDropping(runId, ports);
  if (dropped > 0) logger.info('indexes are dropped until the load is through', { runId, dropped });
  return { dropped };
}

async function requireOriginReads(ledger: Ledger): Promise<void> {
  const phase = await ledger.readPhase();
  const found = [phase?.active.phase, phase?.proposal?.phase].find((each) => each && primaryOf(each) === 'target');
  if (found === undefined) return;
  throw new GateClosedError('dropping indexes', [
    `the phase is ${found} or about to be, in which the target serves the reads of the application; load with --skip-indexes, or change the phase first`,
  ]);
}

/** Those of the plan that are still there: an earlier call may have dropped some. */
async function chosenIndexes(run: RunRecord, indexes: IndexAdmin): Promise<IndexDefinition[]> {
  const wanted = run.rebuildIndexes ?? [];
  const keyspaces = [...new Set(wanted.map(({ keyspace }) => keyspace))];
  const present = (await Promise.all(keyspaces.map((keyspace) => indexes.list(keyspace)))).flat();
  return present.filter(
    (index) =>
      // What was redefined since in a form that is not understood could not be promised to come back.
      createIndexStatement(index) !== undefined &&
      wanted.some(
        ({ keyspace, table, name }) => keyspace === index.keyspace && table === index.table && name === index.name,
      ),
  );
}

/**
 * Creating what exists, with IF NOT EXISTS, changes nothing, but the server checks the permission (ALTER, which dropping
 * needs too), the text, and whether such indexes may be created at all. `built` needs a permission of its own.
 */
async function checkRights(chosen: readonly IndexDefinition[], indexes: IndexAdmin): Promise<void> {
  for (const index of chosen) {
    try {
      await indexes.change(createIndexStatement(index)!);
    } catch (error) {
      if (!(error instanceof ServerError) || error.retryable) throw error;
      const remedy =
        error.code === UNAUTHORIZED
          ? `GRANT ALTER ON KEYSPACE ${index.keyspace} TO the role of target.auth`
          : 'the target would not take it back after the load';
      throw new PrerequisiteError(
        `index ${index.name} on ${index.keyspace}.${index.table} is not dropped: ${error.message}; ${remedy}, or load with --skip-indexes`,
        { cause: error },
      );
    }
  }
  for (const keyspace of new Set(chosen.map((index) => index.keyspace))) {
    try {
      await indexes.built(keyspace);
    } catch (error) {
      if (!(error instanceof ServerError) || error.code !== UNAUTHORIZED) throw error;
      throw new PrerequisiteError(
        `indexes are not dropped: ${error.message}; GRANT SELECT ON system."IndexInfo" TO the role of target.auth, which says when they are built again, or load with --skip-indexes`,
        { cause: error },
      );
    }
  }
}

/** What an earlier run still owes stays in the record, under this run. */
async function save(
  runId: string,
  keyspace: string,
  table: string,
  indexes: readonly IndexDefinition[],
  ports: IndexPorts,
): Promise<void> {
  const { store } = ports.ledger;
  const owner = await ownerOf(runId, keyspace, table, ports);
  await changeSavedIndexes(store, keyspace, table, (found) => {
    if (found !== undefined && found.runId !== runId && found.state !== 'restored' && found.runId !== owner) {
      throw new GateClosedError(`dropping the indexes of ${keyspace}.${table}`, [
        `load ${found.runId} has dropped them; wait for it`,
      ]);
    }
    const owed = found === undefined || found.state === 'restored' ? [] : found.indexes;
    if (indexes.length === 0 && (owed.length === 0 || found?.runId === runId)) return undefined;
    refuseRedefined(keyspace, table, owed, indexes);
    const now = new Date(ports.clock.nowMillis()).toISOString();
    const fresh = indexes.map(toSaved);
    const others = owed.filter(({ name }) => !fresh.some((index) => index.name === name));
    return {
      version: 1,
      keyspace,
      table,
      runId,
      state: 'dropping',
      updatedAt: now,
      // A drop of the earlier owner may still be on its way.
      claimedAt: owed.length === 0 ? null : found?.state === 'dropping' ? now : (found?.claimedAt ?? null),
      indexes: [...others.map(toOwed), ...fresh],
    };
  });
}

/** The saved definition is the one to bring back; nothing may take its place unseen. */
function refuseRedefined(
  keyspace: string,
  table: string,
  owed: readonly SavedIndex[],
  present: readonly IndexDefinition[],
): void {
  const reasons = present.flatMap((index) => {
    const saved = owed.find(({ name }) => name === index.name);
    if (saved === undefined || isSameIndex(index, { ...saved, keyspace, table })) return [];
    return `${index.name} is owed as: ${saved.statement}; on the target it is now: ${createIndexStatement(index)}; drop the wrong one (then: ringshift indexes restore), or give up the owed one: ringshift indexes forget ${keyspace}.${table} ${index.name}`;
  });
  if (reasons.length > 0) throw new GateClosedError(`dropping the indexes of ${keyspace}.${table}`, reasons);
}

/** The earlier owner of the record when its run has ended, so that this one may take over what it owes. */
async function ownerOf(
  runId: string,
  keyspace: string,
  table: string,
  { ledger }: IndexPorts,
): Promise<string | undefined> {
  const found = await changeSavedIndexes(ledger.store, keyspace, table, () => undefined);
  if (found === undefined || found.runId === runId) return undefined;
  if ((await ledger.readRun(found.runId))?.state === 'running' && found.state !== 'restored') {
    throw new GateClosedError(`dropping the indexes of ${keyspace}.${table}`, [
      `load ${found.runId}, which is under way, has dropped them; wait for it, or stop it: ringshift load stop ${found.runId}`,
    ]);
  }
  return found.runId;
}

function toSaved(index: IndexDefinition): SavedIndex {
  const { name, kind, options } = index;
  const statement = createIndexStatement(index)!;
  const dates = { createdAt: null, error: null, failingSince: null };
  return { name, kind, options: { ...options }, statement, state: 'owed', ...dates };
}

/** To be created again, as if nothing had been tried yet. */
export function toOwed(index: SavedIndex): SavedIndex {
  return { ...index, state: 'owed', createdAt: null, error: null, failingSince: null };
}

/** After a drop that came too late: owed in the record of whoever has it now, before anything else can fail. */
async function takeBack(runId: string, index: IndexDefinition, { ledger, clock, indexes, logger }: IndexPorts) {
  const { keyspace, table, name } = index;
  const record = await changeSavedIndexes(ledger.store, keyspace, table, (found) => {
    const saved = found?.indexes.find((each) => each.name === name) ?? toSaved(index);
    return {
      version: 1,
      keyspace,
      table,
      runId: found?.runId ?? runId,
      state: found === undefined || found.state === 'restored' ? 'restoring' : found.state,
      updatedAt: new Date(clock.nowMillis()).toISOString(),
      claimedAt: found?.claimedAt ?? null,
      indexes: [...(found?.indexes ?? []).filter((each) => each.name !== name), toOwed(saved)],
    };
  });
  // Another load that has begun to drop brings it back with its own.
  if (record?.state !== 'restoring') return;
  try {
    await indexes.change(createIndexStatement(index)!);
  } catch (error) {
    logger.error('a dropped index is owed; run: ringshift indexes restore', {
      keyspace,
      table,
      index: name,
      error: describeError(error),
    });
  }
}

/** Whoever restores says so in the record first; from then on nothing more is dropped. */
async function requireDropping(
  runId: string,
  { keyspace, table }: Pick<SavedIndexes, 'keyspace' | 'table'>,
  { ledger }: IndexPorts,
): Promise<void> {
  const found = await changeSavedIndexes(ledger.store, keyspace, table, () => undefined);
  if (found?.runId === runId && found.state === 'dropping') return;
  throw new GateClosedError(`dropping the indexes of ${keyspace}.${table}`, [
    `they are being restored meanwhile (${found?.runId ?? 'nobody'}: ${found?.state ?? 'no record'}); start the load again`,
  ]);
}

/** Also for tables whose drops an earlier call had finished but for this. */
async function finishDropping(runId: string, { ledger, clock }: IndexPorts): Promise<void> {
  for (const { keyspace, table } of await listSavedIndexes(ledger.store)) {
    const updatedAt = new Date(clock.nowMillis()).toISOString();
    await changeSavedIndexes(ledger.store, keyspace, table, (found) =>
      found?.runId === runId && found.state === 'dropping' ? { ...found, state: 'dropped', updatedAt } : undefined,
    );
  }
}
