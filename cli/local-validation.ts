/** Validation and repair in this process, without a state machine. */
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { readSchema } from '#adapters/cassandra/read-schema.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { describeError } from '#core/errors.ts';
import { planValidation } from '#core/jobs/plan-validation.ts';
import { originBytesPerSecond } from '#core/jobs/read-budget.ts';
import { authorityOf, type ReconcileOptions, reconcileRange } from '#core/jobs/reconcile-range.ts';
import { type RunSummary, summarizeRun } from '#core/jobs/summarize-run.ts';
import { validateRange } from '#core/jobs/validate-range.ts';
import type { ValidationInput, ValidationItem } from '#core/jobs/validation-plan.ts';
import type { ValidationOptions, ValidationPorts } from '#core/jobs/validation-ports.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { refuseRenames } from '#core/model/rename.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { CqlSession } from '#core/ports.ts';
import { createProgress } from './output.ts';
import { type RunContext, readFilter } from './runs.ts';

interface LocalValidation {
  readonly ports: ValidationPorts;
  readonly options: ValidationOptions;
}

/** Opens both clusters for `body` and closes them again. */
export async function withSessions<T>(context: RunContext, body: (local: LocalValidation) => Promise<T>): Promise<T> {
  const { config, ledger, objects } = context;
  const open: CqlSession[] = [];
  try {
    const origin = await createCqlSession(await resolveCluster('origin', config.origin));
    open.push(origin);
    const target = await createCqlSession(await resolveCluster('target', config.target));
    open.push(target);
    return await body({
      ports: {
        origin,
        target,
        objects,
        ledger,
        clock: { nowMillis: Date.now },
        logger: createLogger('validate', 'warn', 2),
        sleep: (ms, signal) => delay(ms, undefined, { signal }),
      },
      options: {
        originConsistency: Consistency[config.origin.consistency.read],
        targetConsistency: Consistency[config.target.consistency.read],
        filter: await readFilter(config),
        settleMs: config.validation.settleMs,
        originBytesPerSecond: originBytesPerSecond(config.validation),
      },
    });
  } finally {
    await Promise.all(open.map((session) => session.close().catch(() => undefined)));
  }
}

/** The tables of a keyspace, on a connection that is closed again. */
export async function readSchemaOf(
  side: ClusterName,
  keyspace: string,
  tables: readonly string[] | undefined,
  context: RunContext,
): Promise<readonly TableSchema[]> {
  const client = await connectDriver(await resolveCluster(side, context.config[side]));
  try {
    return await readSchema(client, keyspace, tables);
  } finally {
    await client.shutdown();
  }
}

/** Plans, compares (and reconciles when the input says so) and sums up. */
export async function validateLocally(runId: string, input: ValidationInput, context: RunContext): Promise<RunSummary> {
  const { validation, renames } = context.config;
  refuseRenames(renames, 'validation');
  return withSessions(context, async ({ ports, options }) => {
    const plan = await planValidation(
      runId,
      input,
      { ...ports, readSchema: (side, keyspace, tables) => readSchemaOf(side, keyspace, tables, context) },
      { ...validation, filter: options.filter },
    );
    const items = await readItems(context, plan.planKey);
    // A range that failed has said so in the ledger, and the summary says it to the user.
    await forEachItem('compare', items, validation.maxConcurrency, (item) =>
      validateRange(item, null, ports, options).catch(() => undefined),
    );
    const summary = await summarizeRun(runId, ports);
    if (!plan.reconcile || summary.status !== 'differences') return summary;
    return reconcileItems(runId, items, context, { ports, options });
  });
}

/** Repairs what a run found. */
export async function reconcileLocally(runId: string, planKey: string, context: RunContext): Promise<RunSummary> {
  return withSessions(context, async (local) =>
    reconcileItems(runId, await readItems(context, planKey), context, local),
  );
}

async function reconcileItems(
  runId: string,
  items: readonly ValidationItem[],
  context: RunContext,
  { ports, options }: LocalValidation,
): Promise<RunSummary> {
  const { origin, target, validation } = context.config;
  const phase = await ports.ledger.readPhase();
  const reconcileOptions: ReconcileOptions = {
    ...options,
    originWriteConsistency: Consistency[origin.consistency.write],
    targetWriteConsistency: Consistency[target.consistency.write],
    authority: authorityOf(phase?.active.phase),
  };
  const errors: unknown[] = [];
  // What one range fails with keeps no other one from its end, and the first is what the command ends with.
  await forEachItem('reconcile', items, validation.maxConcurrency, (item) =>
    reconcileRange(item, null, ports, reconcileOptions).catch((error: unknown) => {
      errors.push(error);
      const { keyspace, table, index } = item;
      ports.logger.error('a range is not reconciled', { keyspace, table, index, error: describeError(error) });
    }),
  );
  const summary = await summarizeRun(runId, ports);
  if (errors.length > 0) throw errors[0];
  return summary;
}

async function forEachItem(
  label: string,
  items: readonly ValidationItem[],
  concurrency: number,
  run: (item: ValidationItem) => Promise<unknown>,
): Promise<void> {
  const progress = createProgress(label);
  let done = 0;
  try {
    await pLimit(concurrency).map(items, async (item) => {
      await run(item);
      progress.update(++done, items.length, `${done} of ${items.length} ranges`);
    });
  } finally {
    progress.end();
  }
}

async function readItems({ objects }: RunContext, planKey: string): Promise<readonly ValidationItem[]> {
  const body = await objects.get(planKey);
  return body ? (JSON.parse(new TextDecoder().decode(body)) as ValidationItem[]) : [];
}
