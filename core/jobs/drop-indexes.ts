/** Saves the definitions of a load's indexes in the ledger, then drops them. May run again after a crash at any point. */

import { GateClosedError, PrerequisiteError, ServerError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RunRecord } from '../ledger/records.ts';
import { changeSavedIndexes, listSavedIndexes, type SavedIndex, type SavedIndexes } from '../ledger/saved-indexes.ts';
import { createIndexStatement, dropIndexStatement, type IndexDefinition } from '../model/index-definition.ts';
import type { Clock, Logger } from '../ports.ts';

/** The target's indexes, by the control plane. Every call may throw ServerError, ClusterUnreachableError. */
export interface IndexAdmin {
  /** All secondary indexes of a keyspace. */
  list(keyspace: string): Promise<readonly IndexDefinition[]>;
  /** A change of the schema; resolves when all nodes agree on it. */
  change(statement: string): Promise<void>;
  /** Names of those indexes of the keyspace that every node has built. */
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
 * Drops the indexes that the plan of a run has chosen.
 * @throws PrerequisiteError when the role may not create or drop them, before anything is dropped
 * @throws GateClosedError while another running load owns the indexes of one of the tables
 */
export async function dropIndexes(runId: string, ports: IndexPorts): Promise<{ readonly dropped: number }> {
  const { ledger, logger } = ports;
  const run = await ledger.readRun(runId);
  if (run?.state !== 'running') {
    throw new GateClosedError('dropping indexes', [`load ${runId} is not under way (${run?.state ?? 'no record'})`]);
  }
  const chosen = await chosenIndexes(run, ports.indexes);
  await checkRights(chosen, ports.indexes);
  const tables = [...Map.groupBy(chosen, ({ keyspace, table }) => JSON.stringify([keyspace, table])).values()];
  // All are saved before the first is dropped.
  for (const indexes of tables) await save(runId, indexes, ports);
  let dropped = 0;
  for (const indexes of tables) {
    for (const index of indexes) {
      await requireDropping(runId, index, ports);
      await ports.indexes.change(dropIndexStatement(index));
      // A restore that began in between may have seen the index still in place.
      await requireDropping(runId, index, ports).catch(async (error: unknown) => {
        await ports.indexes.change(createIndexStatement(index)!);
        throw error;
      });
      dropped++;
    }
  }
  await finishDropping(runId, ports);
  if (dropped > 0) logger.info('indexes are dropped until the load is through', { runId, dropped });
  return { dropped };
}

/** Those of the plan that are still there: an earlier call may have dropped some. */
async function chosenIndexes(run: RunRecord, indexes: IndexAdmin): Promise<IndexDefinition[]> {
  const wanted = run.rebuildIndexes ?? [];
  const keyspaces = [...new Set(wanted.map(({ keyspace }) => keyspace))];
  const present = (await Promise.all(keyspaces.map((keyspace) => indexes.list(keyspace)))).flat();
  return present.filter((index) =>
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
async function save(runId: string, indexes: readonly IndexDefinition[], ports: IndexPorts): Promise<void> {
  const { keyspace, table } = indexes[0]!;
  const { store } = ports.ledger;
  const owner = await ownerOf(runId, keyspace, table, ports);
  await changeSavedIndexes(store, keyspace, table, (found) => {
    if (found !== undefined && found.runId !== runId && found.state !== 'restored' && found.runId !== owner) {
      throw new GateClosedError(`dropping the indexes of ${keyspace}.${table}`, [
        `load ${found.runId} has dropped them; wait for it`,
      ]);
    }
    const owed = found === undefined || found.state === 'restored' ? [] : found.indexes;
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
      indexes: [...others.map((index): SavedIndex => ({ ...index, state: 'owed', createdAt: null })), ...fresh],
    };
  });
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
  return { name, kind, options: { ...options }, statement, state: 'owed', createdAt: null, error: null };
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
