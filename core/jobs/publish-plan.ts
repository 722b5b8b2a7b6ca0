/** Takes the keyspace for a run and writes what its ranges read. */

import { describeError } from '../errors.ts';
import type { RunRecord, TableRecord } from '../ledger/records.ts';
import type { LoadInput, LoadItem } from './load-plan.ts';
import type { LoadPlan, PlanLoadPorts } from './load-planning.ts';

/** Starts the run, then writes what its ranges read; a failure in between ends the run again. */
export async function publishPlan(
  plan: LoadPlan,
  items: readonly LoadItem[],
  input: LoadInput,
  manifests: readonly (readonly [string, string])[],
  ports: PlanLoadPorts,
  by: string,
): Promise<void> {
  const { ledger, objects, clock } = ports;
  const now = new Date(clock.nowMillis());
  const names = plan.tables.map(({ table }) => table);
  const run: RunRecord = {
    version: 1,
    runId: plan.runId,
    kind: 'load',
    keyspace: input.keyspace,
    tables: names,
    state: 'running',
    startedAt: now.toISOString(),
    endedAt: null,
    rangeCount: null,
    rangesByTable: null,
    totalBytes: plan.totalBytes,
    warnings: [...plan.warnings],
    rebuildIndexes: plan.rebuildIndexes.map((index) => ({ ...index })),
    input: { ...input },
  };
  await ledger.startRun(run);
  try {
    for (const [key, text] of manifests) await objects.put(key, text);
    await objects.put(plan.planKey, JSON.stringify(items));
    for (const table of names) {
      // Until it has ended nothing is known of the table.
      const facts = { loadedAt: undefined, validatedAt: undefined };
      await ledger.setTable(input.keyspace, table, 'loading', { now, by, runId: plan.runId, facts });
    }
    for (const { table, reason } of plan.skipped) {
      const state = (found: TableRecord | undefined) => found?.state ?? 'pending';
      await ledger.decideTable(input.keyspace, table, (found) => ({ state: state(found), now, by, reason }));
    }
    const rangesByTable = Object.fromEntries(plan.tables.map(({ table, ranges }) => [table, ranges] as const));
    await ledger.updateRun(plan.runId, { rangeCount: plan.rangeCount, rangesByTable });
  } catch (error) {
    await giveUp(plan.runId, input.keyspace, names, ports).catch((cause: unknown) =>
      ports.logger.error('and the ledger did not take it', { runId: plan.runId, error: describeError(cause) }),
    );
    throw error;
  }
}

/** The keyspace must not stay taken, nor a table look as if it were being loaded, by a run that never began. */
async function giveUp(runId: string, keyspace: string, tables: readonly string[], ports: PlanLoadPorts): Promise<void> {
  const now = new Date(ports.clock.nowMillis());
  await ports.ledger.endRun(runId, 'failed', now);
  for (const table of tables) {
    await ports.ledger.decideTable(keyspace, table, (found) =>
      found?.state === 'loading' && found.runId === runId
        ? { state: 'suspect', reason: `load ${runId} could not be planned`, now, by: 'load', runId }
        : undefined,
    );
  }
}
