/** Tables of which something has happened since the snapshot that a load of it would undo. */

import { SnapshotTooOldError } from '../errors.ts';
import type { TableRecord } from '../ledger/records.ts';
import type { Snapshot } from './snapshot-layout.ts';

interface StaleTable {
  readonly table: string;
  readonly reason: string;
}

/** Those of the tables that need a younger snapshot, each with the reason. */
function findStale(tables: readonly string[], records: ReadonlyMap<string, TableRecord>, snapshot: Snapshot) {
  const takenAt = takenAtOf(snapshot);
  return tables.flatMap((table): StaleTable[] => {
    const since = signalsOf(records.get(table)).filter(({ at }) => takenAt === undefined || takenAt <= Date.parse(at));
    if (since.length === 0) return [];
    const age = takenAt === undefined ? 'of unknown age' : `of ${new Date(takenAt).toISOString()}`;
    return [{ table, reason: `${since.map(({ what, at }) => `${what} at ${at}`).join('; ')}; the snapshot is ${age}` }];
  });
}

function signalsOf(record: TableRecord | undefined): { readonly what: string; readonly at: string }[] {
  const { truncatedAt, definedAt, remigrate } = record ?? {};
  return [
    ...(truncatedAt === undefined ? [] : [{ what: 'truncated', at: truncatedAt }]),
    ...(definedAt === undefined ? [] : [{ what: 'its definition changed', at: definedAt }]),
    ...(remigrate === undefined ? [] : [{ what: `to be loaded again (${remigrate.why})`, at: remigrate.at }]),
  ];
}

/** Of the node that was first, in milliseconds since the epoch; undefined where one does not say. */
function takenAtOf({ manifests, nodes }: Snapshot): number | undefined {
  const times = manifests.map(({ takenAt }) => (takenAt === null ? Number.NaN : Date.parse(takenAt)));
  const first = Math.min(...times);
  return manifests.length < nodes.length || times.length === 0 || Number.isNaN(first) ? undefined : first;
}

/**
 * Splits tables into those that the snapshot is young enough for, and the others.
 * @param skipStale the operator says that the others may wait
 * @throws SnapshotTooOldError naming the others
 */
export function chooseFresh(
  keyspace: string,
  tables: readonly string[],
  records: readonly TableRecord[],
  snapshot: Snapshot,
  skipStale: boolean,
): { readonly fresh: ReadonlySet<string>; readonly stale: readonly StaleTable[] } {
  const own = new Map(records.filter((each) => each.keyspace === keyspace).map((each) => [each.table, each]));
  const stale = findStale(tables, own, snapshot);
  const fresh = new Set(tables);
  for (const { table } of stale) fresh.delete(table);
  if (stale.length > 0 && (!skipStale || fresh.size === 0)) {
    const told = stale.map(({ table, reason }) => `${keyspace}.${table}: ${reason}`);
    const rest = fresh.size === 0 ? '' : ', or load the other tables now with --skip-stale';
    throw new SnapshotTooOldError(
      `the snapshot is older than what has happened since: ${told.join('; ')}. Take a new one${rest}`,
      { context: { tables: stale.map(({ table }) => table) } },
    );
  }
  return { fresh, stale };
}

/** Smaller orders first, those without one last; else as they are. */
export function inOrder<T>(tables: readonly T[], nameOf: (table: T) => string, records: readonly TableRecord[]): T[] {
  const orders = new Map(records.map(({ table, order }) => [table, order]));
  const orderOf = (table: T) => orders.get(nameOf(table)) ?? Number.POSITIVE_INFINITY;
  return [...tables].sort((left, right) => {
    const [a, b] = [orderOf(left), orderOf(right)];
    return a < b ? -1 : a > b ? 1 : 0;
  });
}
