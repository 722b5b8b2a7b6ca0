/** What planning a load takes and gives. */

import type { IndexList } from '../config/index-list.ts';
import { SchemaMismatchError } from '../errors.ts';
import type { FilterRules } from '../filter/filter-rules.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { RunRecord } from '../ledger/records.ts';
import type { ConsistencyName } from '../model/cql-request.ts';
import type { IndexDefinition } from '../model/index-definition.ts';
import type { RenameRules, Renames, TableName } from '../model/rename.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, Logger, ObjectStore } from '../ports.ts';

/** Where a snapshot lies: its store and the prefix in it, without a trailing '/'. */
export interface SnapshotPlace {
  readonly objects: ObjectStore;
  readonly prefix: string;
}

export interface TargetTables {
  /** Without views. */
  readonly tables: readonly TableSchema[];
  /** Never written: the target builds them. */
  readonly views: readonly TableName[];
  /** Secondary indexes. */
  readonly indexes: readonly IndexDefinition[];
}

/** What planning needs of the world. */
export interface PlanLoadPorts {
  /** @throws SchemaMismatchError when the target has no such keyspace */
  readonly readTarget: (keyspace: string) => Promise<TargetTables>;
  /** Where plans go. */
  readonly objects: ObjectStore;
  readonly openSnapshot: (uri: string) => SnapshotPlace;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The `bulkLoad` section of the config, and the filter. */
export interface PlanLoadOptions {
  readonly targetWriteMBps: number;
  readonly tombstones: 'none' | 'recent' | 'all';
  readonly consistency: ConsistencyName;
  readonly memoryBudgetMB: number;
  /** SSTable bytes of one range. */
  readonly rangeMB: number;
  readonly maxConcurrency: number;
  readonly indexes: 'rebuild' | 'skip';
  /** The content of indexes.yaml; undefined: every index of the loaded tables. */
  readonly indexList?: IndexList;
  readonly filterRules: FilterRules | null;
  readonly renames: RenameRules;
  readonly by: string;
}

export interface LoadPlan {
  readonly runId: string;
  readonly planKey: string;
  readonly rangeCount: number;
  readonly totalBytes: number;
  readonly maxConcurrency: number;
  readonly dryRun: boolean;
  readonly tables: readonly {
    readonly table: string;
    readonly sstables: number;
    readonly ranges: number;
    readonly bytes: number;
  }[];
  /** Tables that are not loaded, each with the reason. */
  readonly skipped: readonly { readonly table: string; readonly reason: string }[];
  /** Dropped before the first range and built again after the last. Names on the target. */
  readonly rebuildIndexes: readonly { readonly keyspace: string; readonly table: string; readonly name: string }[];
  readonly warnings: readonly string[];
}

/** What one range writes at most, about; the budget divided by it is the useful concurrency. */
const RANGE_WRITE_MBPS = 5;

/** Ranges at once that the target's write budget is worth. */
export function concurrencyOf(targetWriteMBps: number, most: number): number {
  return Math.max(1, Math.min(most, Math.ceil(targetWriteMBps / RANGE_WRITE_MBPS)));
}

/** Runs that may have written the keyspace's lists; each must write them later than all before it, resumed or not. */
export function earlierRuns(runs: readonly RunRecord[], keyspace: string, runId: string): number {
  return runs.filter((run) => run.keyspace === keyspace && run.runId !== runId).length;
}

/**
 * The tables of the target among which those of a keyspace of the origin lie. Where rules have moved every table of a
 * keyspace, there is none under its own name.
 * @throws SchemaMismatchError when none of the keyspaces has a table
 */
export async function readTargets(
  ports: PlanLoadPorts,
  renames: Renames,
  keyspace: string,
  tables: readonly string[] | undefined,
): Promise<TargetTables> {
  const keyspaces =
    tables === undefined
      ? renames.targetKeyspaces(keyspace)
      : [...new Set(tables.map((table) => renames.toTarget({ keyspace, table }).keyspace))];
  const missing: SchemaMismatchError[] = [];
  const reads = keyspaces.map((each) =>
    ports.readTarget(each).catch((error: unknown): TargetTables => {
      if (!(error instanceof SchemaMismatchError)) throw error;
      missing.push(error);
      return { tables: [], views: [], indexes: [] };
    }),
  );
  const found = await Promise.all(reads);
  if (missing[0] !== undefined && missing.length === keyspaces.length) throw missing[0];
  return {
    tables: found.flatMap((each) => each.tables),
    views: found.flatMap((each) => each.views),
    indexes: found.flatMap((each) => each.indexes),
  };
}
