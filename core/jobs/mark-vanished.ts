/** Proxies whose disk ended with them: what they had not brought to the queue is found by comparing, so it is marked. */
import type { Phase } from '../config/schema.ts';
import { LedgerConflictError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { shadowOf } from '../ledger/phase-change.ts';
import { ANY_TABLE, type PhaseRecord, type ProxyRecord } from '../ledger/records.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Clock, Logger } from '../ports.ts';

export interface VanishedPorts {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** So much the clocks of two proxies may differ. */
const SKEW_MS = 10_000;
/** So long after its lease a fenced process that comes back finds no record, and gives up all the same. */
const KEPT_MS = 3_600_000;
/** A copy may still be under way so long after its phase has ended. */
const PHASE_MARGIN_MS = 300_000;

/**
 * Looks for ephemeral proxies whose lease is over without a goodbye, and marks what they may have taken with them: every
 * table that they or another such proxy have written, since the time until which all that failed was brought to the queue.
 * One that refuses requests without a lease is then taken out of the ledger; any other may still serve, so its record
 * stays, and stops changes of the phase, until somebody fences it. Names of such instances are not used again, so what is
 * left of one that was fenced is taken out, too, an hour later. Any number of callers may look at once.
 * @returns names of the instances that were found gone
 * @throws LedgerUnavailableError; then the next call begins anew
 */
export async function markVanished(ports: VanishedPorts): Promise<readonly string[]> {
  const records = await ports.ledger.listProxies();
  const now = ports.clock.nowMillis();
  const gone: string[] = [];
  for (const record of records) {
    if (isVanished(record, now) && (await markOne(record, records, ports))) gone.push(record.instance);
    else if (isDoneWith(record, now)) await takeOut(record, ports.ledger);
  }
  return gone;
}

/**
 * The same for the predecessor of a process that takes its name over on a new disk. One whose disk was to outlive it has not
 * told which tables it wrote: a disk that nobody has used is then another one (its claim was deleted, its directory
 * changed), and every table may be concerned.
 * @param disk whether it left its disk to this process, or is this one: then nothing of it is lost
 */
export async function markPredecessor(
  instance: string,
  disk: { readonly hasDisk: (processId: string | undefined) => boolean; readonly isDiskNew: boolean },
  ports: VanishedPorts,
): Promise<void> {
  const found = await ports.ledger.readProxy(instance);
  if (found === undefined || disk.hasDisk(found.record.processId)) return;
  const { record } = found;
  const isLost = record.storage === 'volume' && disk.isDiskNew && !isMarked(record);
  if (!isLost && !isOwing(record)) return;
  const all = await ports.ledger.listProxies();
  await markOne(isLost ? { ...record, tables: [ANY_TABLE] } : record, all, ports);
}

function isOwing(record: ProxyRecord): boolean {
  return record.storage === 'ephemeral' && !isMarked(record);
}

/** Marked since it was last heard of, and since it was fenced: there is nothing more to say. */
function isMarked({ vanishedAt, fencedAt }: ProxyRecord): boolean {
  return vanishedAt !== undefined && (fencedAt === undefined || Date.parse(fencedAt) <= Date.parse(vanishedAt));
}

/** One that somebody has declared dead is, whatever is left of its lease. */
function isVanished(record: ProxyRecord, now: number): boolean {
  const isOver = record.fencedAt !== undefined || Date.parse(record.leaseUntil) + SKEW_MS < now;
  return isOwing(record) && isOver;
}

function isDoneWith(record: ProxyRecord, now: number): boolean {
  const { storage, fencedAt } = record;
  return storage === 'ephemeral' && fencedAt !== undefined && !isOwing(record) && endOf(record) + KEPT_MS < now;
}

/** Only as it was read: one that was written since is of a process that lives. */
async function takeOut({ instance, processId, fencedAt }: ProxyRecord, ledger: Ledger): Promise<void> {
  const found = await ledger.readProxy(instance);
  if (found?.record.processId !== processId || found?.record.fencedAt !== fencedAt) return;
  await removeAs(instance, found!.version, ledger);
}

/** False: somebody has written it since. */
async function removeAs(instance: string, version: string, ledger: Ledger): Promise<boolean> {
  try {
    await ledger.removeProxy(instance, version);
    return true;
  } catch (error) {
    if (error instanceof LedgerConflictError) return false;
    throw error;
  }
}

/** The last moment at which it may have written. */
function endOf({ leaseUntil, fencedAt }: ProxyRecord): number {
  return Math.max(Date.parse(leaseUntil), fencedAt === undefined ? 0 : Date.parse(fencedAt)) + SKEW_MS;
}

/** False: it lives, or another caller was first. */
async function markOne(record: ProxyRecord, all: readonly ProxyRecord[], ports: VanishedPorts): Promise<boolean> {
  const { ledger, clock, logger } = ports;
  const { instance, durableAt, startedAt } = record;
  const from = durableAt ?? startedAt;
  const until = endOf(record);
  const shadows = shadowsBetween(await ledger.readPhase(), Date.parse(from), until);
  const tables = shadows.length === 0 ? [] : await tablesOf(record, all, ledger);
  logger.warn('a proxy is gone with its disk', { instance, from, until: new Date(until).toISOString(), tables });
  const reason = `proxy ${instance} is gone, and its disk with what it had not brought to the queue`;
  const id = `vanished-${instance}-${record.processId ?? startedAt}`;
  const lacking = shadows.length === 1 ? shadows[0]! : null;
  const at = new Date(until).toISOString();
  for (const { keyspace, table } of tables) {
    await ledger.addSuspect(id, {
      ...{ version: 1, keyspace, table, range: null, reason, code: 'vanished', lacking },
      ...{ by: instance, from, at },
    });
    await ledger.setTable(keyspace, table, 'suspect', { now: new Date(at), by: instance, reason });
  }
  return note(record, new Date(clock.nowMillis()), ledger);
}

/**
 * Only now: a caller that dies before leaves it to the next one. A record that was written meanwhile is that of a process
 * that lives.
 */
async function note(record: ProxyRecord, now: Date, ledger: Ledger): Promise<boolean> {
  const found = await ledger.readProxy(record.instance);
  if (found === undefined) return false;
  const last = found.record;
  if (last.processId !== record.processId || last.leaseUntil !== record.leaseUntil) return false;
  if (last.fencedAt !== record.fencedAt || last.vanishedAt !== record.vanishedAt) return false;
  let version: string;
  try {
    version = await ledger.renewProxy({ ...last, vanishedAt: now.toISOString() }, found.version);
  } catch (error) {
    if (error instanceof LedgerConflictError) return false;
    throw error;
  }
  // The record of one that was fenced keeps its process from coming back. Any other may be back by now: a change of the phase
  // must wait for it.
  return !last.stopsWithLease || last.fencedAt !== undefined || removeAs(record.instance, version, ledger);
}

/** Its own list may lack what it began to write while the ledger was away; another proxy is likely to write it as well. */
async function tablesOf(
  record: ProxyRecord,
  all: readonly ProxyRecord[],
  ledger: Ledger,
): Promise<readonly { readonly keyspace: string; readonly table: string }[]> {
  const names = new Set(record.tables);
  for (const { tables } of all) for (const name of tables ?? []) names.add(name);
  if (names.delete(ANY_TABLE)) {
    for (const { keyspace, table } of await ledger.listTables()) names.add(`${keyspace}.${table}`);
  }
  return [...names].sort().map((name) => {
    const at = name.indexOf('.');
    return { keyspace: name.slice(0, at), table: name.slice(at + 1) };
  });
}

/** The clusters that were to get copies at any time between the two. */
function shadowsBetween(phase: PhaseRecord | undefined, from: number, until: number): readonly ClusterName[] {
  if (phase === undefined) return [];
  const epochs = [...phase.history, phase.active];
  const inForce = epochs.filter(({ since }, index) => {
    const end = epochs[index + 1]?.since;
    return Date.parse(since) <= until && (end === undefined || Date.parse(end) >= from - PHASE_MARGIN_MS);
  });
  const shadows = inForce.map(({ phase: name }: { readonly phase: Phase }) => shadowOf(name));
  return [...new Set(shadows.filter((name) => name !== undefined))];
}
