/** Which tables of a keyspace a load takes, and why it leaves the others. */

import { SchemaMismatchError, SnapshotIncompleteError } from '../errors.ts';
import { createFilter } from '../filter/filter.ts';
import type { FilterRules } from '../filter/filter-rules.ts';
import type { Renames } from '../model/rename.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { LoadInput } from './load-plan.ts';
import type { TargetTables } from './load-planning.ts';
import type { Snapshot, SnapshotTable } from './snapshot-layout.ts';

export interface ChosenTable {
  /** As it is on the target, by its name there. */
  readonly schema: TableSchema;
  /** By its name on the origin. */
  readonly table: SnapshotTable;
}

/** @throws SchemaMismatchError, SnapshotIncompleteError for a table that must be loaded and can not be */
export function chooseTables(
  input: LoadInput,
  snapshot: Snapshot,
  target: TargetTables,
  filterRules: FilterRules | null,
  renames: Renames,
): { chosen: ChosenTable[]; skipped: { table: string; reason: string }[] } {
  const { keyspace } = input;
  const filter = filterRules === null ? undefined : createFilter(filterRules);
  const isExcluded = (table: string) => filter?.decide(keyspace, table).kind === 'excluded';
  const inSnapshot = snapshot.tables.map(({ table }) => table);
  const wanted = input.tables ?? [...new Set([...ownTables(target, renames, keyspace), ...inSnapshot])].sort();
  const chosen: ChosenTable[] = [];
  const skipped: { table: string; reason: string }[] = [];
  for (const name of wanted) {
    if (isExcluded(name)) {
      skipped.push({ table: name, reason: 'the filter rules keep it on the origin' });
      continue;
    }
    const at = renames.toTarget({ keyspace, table: name });
    const schema = target.tables.find((each) => each.keyspace === at.keyspace && each.table === at.table);
    const table = snapshot.tables.find((candidate) => candidate.table === name);
    if (schema === undefined) {
      if (target.views.some((view) => view.keyspace === at.keyspace && view.table === at.table)) {
        skipped.push({ table: name, reason: 'a materialized view: the target builds it' });
        continue;
      }
      throw new SchemaMismatchError(
        `the target has no table ${at.keyspace}.${at.table}; run ringshift schema copy, or name the tables to load`,
      );
    } else if (schema.isCounter && !input.counters) {
      skipped.push({
        table: name,
        reason:
          'a counter table: adding its values while increments are shadowed would count twice; load it on its own with --counters, in a stop window',
      });
    } else if (!schema.isCounter && input.counters) {
      skipped.push({ table: name, reason: 'no counter table: a load with --counters takes counters only' });
    } else {
      for (const manifest of snapshot.manifests) {
        if (manifest.tables.some((entry) => entry.keyspace === keyspace && entry.table === name)) continue;
        throw new SnapshotIncompleteError(
          `the snapshot of ${manifest.node} has no table ${keyspace}.${name}; take it anew`,
        );
      }
      chosen.push({ schema, table: table ?? { keyspace, table: name, sstables: [] } });
    }
  }
  return { chosen, skipped };
}

/** The names on the origin of those tables of the target that come from the keyspace. */
function ownTables(target: TargetTables, renames: Renames, keyspace: string): string[] {
  return target.tables.flatMap((each) => {
    const back = renames.toOrigin(each);
    return back?.keyspace === keyspace ? [back.table] : [];
  });
}
