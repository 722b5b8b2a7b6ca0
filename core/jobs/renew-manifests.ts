/** Whether a load that goes on would still do what it began, and what its ranges read from now on. */

import { GateClosedError } from '../errors.ts';
import type { PhaseRecord } from '../ledger/records.ts';
import { compareSchemas } from '../model/compare-schema.ts';
import type { Renames } from '../model/rename.ts';
import {
  encodeTableManifest,
  type LoadInput,
  type LoadItem,
  readTableManifest,
  type TableManifest,
} from './load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts, TargetTables } from './load-planning.ts';
import type { Snapshot } from './snapshot-layout.ts';
import { manifestOf } from './table-manifest.ts';
import { runKeys } from './validation-plan.ts';

/** What is in force now, against which the earlier plan is held. */
export interface Circumstances {
  readonly snapshot: Snapshot;
  readonly target: TargetTables;
  readonly phase: PhaseRecord | undefined;
  readonly renames: Renames;
}

/**
 * The table manifests of a run that goes on with these items: the SSTables of the earlier plan under today's schema,
 * phase and budget.
 * @param rest as the earlier plan has them
 * @returns key and text of each
 * @throws GateClosedError naming what would make the rest of a table another one than its beginning
 */
export async function renewManifests(
  runId: string,
  input: LoadInput,
  rest: readonly LoadItem[],
  now: Circumstances,
  ports: PlanLoadPorts,
  options: PlanLoadOptions,
): Promise<[string, string][]> {
  const renewed: [string, string][] = [];
  const changes: string[] = [];
  for (const [table, key] of new Map(rest.map((item) => [item.table, item.tableKey]))) {
    const earlier = await readTableManifest(ports.objects, key);
    const at = now.renames.toTarget({ keyspace: input.keyspace, table });
    const schema = now.target.tables.find((each) => each.keyspace === at.keyspace && each.table === at.table);
    const name = `${input.keyspace}.${table}`;
    changes.push(...changesOf(name, earlier, table, input, now, options));
    if (earlier.schema.keyspace !== at.keyspace || earlier.schema.table !== at.table) {
      const began = `${earlier.schema.keyspace}.${earlier.schema.table}`;
      changes.push(`${name} was loaded into ${began}, and the renames now name ${at.keyspace}.${at.table}`);
    } else if (schema === undefined) changes.push(`the target has no table ${at.keyspace}.${at.table} any more`);
    else {
      const lost = compareSchemas([earlier.schema], [schema]).filter(({ severity }) => severity === 'error');
      changes.push(...lost.map(({ message }) => `${name} has changed on the target since the plan: ${message}`));
      const chosen = { schema, table: { keyspace: input.keyspace, table, sstables: [] } };
      const manifest = manifestOf(input, chosen, now.snapshot, earlier.sstables, now.phase, options);
      renewed.push([runKeys.table(runId, input.keyspace, table), encodeTableManifest(manifest)]);
    }
  }
  if (changes.length === 0) return renewed;
  throw new GateClosedError(`resuming ${input.resume}`, [
    ...new Set(changes),
    'what is loaded already would not fit the rest; start a new load: ringshift load start',
  ]);
}

function changesOf(
  name: string,
  earlier: TableManifest,
  table: string,
  input: LoadInput,
  { snapshot }: Circumstances,
  options: PlanLoadOptions,
): string[] {
  const changes: string[] = [];
  if (JSON.stringify(earlier.filterRules) !== JSON.stringify(options.filterRules)) {
    changes.push('the filter rules have changed since the plan');
  }
  const today = snapshot.tables.find((each) => each.table === table)?.sstables ?? [];
  if (earlier.snapshot !== input.snapshot) changes.push(`the plan is of the snapshot ${earlier.snapshot}`);
  else if (fingerprint(earlier.sstables) !== fingerprint(today)) {
    changes.push(`the snapshot of ${name} has been replaced since the plan`);
  }
  return changes;
}

function fingerprint(sstables: readonly Pick<TableManifest['sstables'][number], 'key' | 'components'>[]): string {
  const texts = sstables.map(({ key, components }) => `${key} ${JSON.stringify(Object.entries(components).sort())}`);
  return texts.sort().join('\n');
}
