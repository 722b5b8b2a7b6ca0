/** What a plan says of one table to all its ranges. */

import type { PhaseRecord } from '../ledger/records.ts';
import type { ChosenTable } from './choose-tables.ts';
import type { LoadInput, TableManifest } from './load-plan.ts';
import { concurrencyOf, type PlanLoadOptions } from './load-planning.ts';
import type { Snapshot } from './snapshot-layout.ts';

const MIB = 1024 * 1024;

export function manifestOf(
  input: LoadInput,
  { schema, table: { keyspace, table } }: ChosenTable,
  snapshot: Snapshot,
  sstables: TableManifest['sstables'],
  phase: PhaseRecord | undefined,
  options: PlanLoadOptions,
): TableManifest {
  const targetWriteMBps = input.targetWriteMBps ?? options.targetWriteMBps;
  const concurrency = concurrencyOf(targetWriteMBps, options.maxConcurrency);
  // Columns are dropped on the origin; the target's own schema knows nothing of it.
  const dropped = new Map(schema.droppedColumns.map((column) => [column.name, column.droppedAtMicros]));
  for (const manifest of snapshot.manifests) {
    const entry = manifest.tables.find((each) => each.keyspace === keyspace && each.table === table);
    for (const { name, droppedAtMicros } of entry?.droppedColumns ?? []) dropped.set(name, BigInt(droppedAtMicros));
  }
  return {
    schema: {
      ...schema,
      droppedColumns: [...dropped].map(([name, droppedAtMicros]) => ({ name, droppedAtMicros })),
    },
    snapshot: input.snapshot,
    sstables,
    tombstones: input.tombstones ?? options.tombstones,
    dualWritesSinceMicros: microsOf(phase?.dualWritesSince),
    dualWritesSettledMicros: microsOf(phase?.dualWritesSettledAt),
    bytesPerSecond: (targetWriteMBps * 1_000_000) / concurrency,
    memoryBudgetBytes: options.memoryBudgetMB * MIB,
    consistency: options.consistency,
    filterRules: options.filterRules,
  };
}

function microsOf(time: string | null | undefined): string | null {
  return time === null || time === undefined ? null : String(BigInt(Date.parse(time)) * 1000n);
}
