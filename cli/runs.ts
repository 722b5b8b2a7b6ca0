/** Runs as the command sees them: their stores, and the executions of the state machines. */
import { setTimeout as delay } from 'node:timers/promises';
import { createS3Client, createSfnClient } from '#adapters/aws-clients.ts';
import { readMigrationConfig, readYamlFile } from '#adapters/config-file.ts';
import { createFileObjectStore } from '#adapters/object-store-file.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { createStateMachines, executionArnOf } from '#adapters/step-functions.ts';
import { bucketOf } from '#core/config/ledger-schema.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { RunFailedError, UsageError } from '#core/errors.ts';
import { createFilter, type Filter } from '#core/filter/filter.ts';
import { filterRulesSchema } from '#core/filter/filter-rules.ts';
import { remainingDifferences } from '#core/jobs/settle-table.ts';
import type { RunSummary } from '#core/jobs/summarize-run.ts';
import { runKeys } from '#core/jobs/validation-plan.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { RunKind, RunRecord } from '#core/ledger/records.ts';
import type { ObjectStore } from '#core/ports.ts';
import { openCliLedger } from './open-ledger.ts';
import { createProgress } from './output.ts';

const POLL_MS = 1000;
/** The deployment's name, as `cdk deploy -c name=…` was given it. */
const DEFAULT_NAME = 'ringshift';

export interface RunContext {
  readonly config: MigrationConfig;
  readonly ledger: Ledger;
  readonly objects: ObjectStore;
}

/** The config with the ledger and the bucket that it names; a ledger in a directory has its objects beside it. */
export async function openRuns(configFile: string): Promise<RunContext> {
  const config = await readMigrationConfig(configFile);
  const bucket = bucketOf(config.ledger);
  const directory = config.ledger.kind === 'file' ? `${config.ledger.path}-objects` : '.ringshift/objects';
  const objects = bucket ? createS3ObjectStore(createS3Client(), bucket) : createFileObjectStore(directory);
  return { config, ledger: await openCliLedger(config), objects };
}

/** The filter that the proxy uses too; without rules everything migrates. */
export async function readFilter(config: MigrationConfig): Promise<Filter> {
  const { filterRules } = config.proxy;
  if (filterRules === null) return createFilter(filterRulesSchema.parse({}));
  return createFilter(await readYamlFile(filterRulesSchema, filterRules, 'the filter rules'));
}

/** The named run, or the latest of its kind. @throws UsageError when there is none */
export async function findRun(ledger: Ledger, kind: RunKind, runId: string | undefined): Promise<RunRecord> {
  const run = runId === undefined ? (await ledger.listRuns(kind)).at(-1) : await ledger.readRun(runId);
  if (run?.kind === kind) return run;
  throw new UsageError(runId === undefined ? `there is no ${kind} yet` : `there is no ${kind} ${runId}`);
}

/** Starts the state machine's execution that is called like the run. */
export async function startExecution(machine: string, runId: string, input: unknown): Promise<void> {
  const machines = createStateMachines(createSfnClient());
  await machines.start(await machines.find(machineName(machine)), runId, input);
}

/** Stops the execution; one that is not there (a run of `--local`) needs no stopping. */
export async function stopExecution(machine: string, runId: string): Promise<void> {
  const machines = createStateMachines(createSfnClient());
  await machines.stop(executionArnOf(await machines.find(machineName(machine)), runId), 'stopped by ringshift');
}

/**
 * Follows an execution to its end.
 * @throws RunFailedError with the execution's own cause when it failed before it could write a summary
 */
export async function waitForExecution(machine: string, runId: string, context: RunContext): Promise<RunSummary> {
  const machines = createStateMachines(createSfnClient());
  const executionArn = executionArnOf(await machines.find(machineName(machine)), runId);
  const progress = createProgress(runId);
  try {
    for (;;) {
      const execution = await machines.describe(executionArn);
      if (execution.status !== 'RUNNING') {
        const summary = await readSummary(context.objects, runId);
        if (summary && execution.status === 'SUCCEEDED') return summary;
        if (summary?.status === 'failed') return summary;
        throw new RunFailedError(
          `${runId} ended as ${execution.status}: ${execution.cause ?? execution.error ?? 'no cause was given'}`,
        );
      }
      const { done, total } = await rangeProgress(context.ledger, runId);
      progress.update(done, total, total === 0 ? 'planning' : `${done} of ${total} ranges`);
      await delay(POLL_MS);
    }
  } finally {
    progress.end();
  }
}

/** Ranges that have left a record, of those planned. */
export async function rangeProgress(ledger: Ledger, runId: string): Promise<{ done: number; total: number }> {
  const total = (await ledger.readRun(runId))?.rangeCount ?? 0;
  let done = 0;
  if (total > 0) for await (const _ of ledger.store.list(`ranges/${runId}/`)) done++;
  return { done, total };
}

/** undefined while the run has none. */
export async function readSummary(objects: ObjectStore, runId: string): Promise<RunSummary | undefined> {
  const body = await objects.get(runKeys.summary(runId));
  return body && (JSON.parse(new TextDecoder().decode(body)) as RunSummary);
}

/** What a validation's summary says, for people. */
export function describeValidation(summary: RunSummary): string[] {
  const { totals } = summary;
  const count = (name: string) => totals[name] ?? 0;
  const lines = summary.tables.map(
    ({ table, state, counts }) =>
      `  ${summary.keyspace}.${table}: ${counts['partitions'] ?? 0} partitions, ${remainingDifferences(counts)} differ${state ? ` (${state})` : ''}`,
  );
  lines.push(
    `${count('partitions')} partitions compared, ${remainingDifferences(totals)} differ` +
      ` (${count('originRows')} rows on the origin, ${count('targetRows')} on the target, ${summary.seconds.toFixed(1)} s)`,
  );
  if (count('repaired') > 0) lines.push(`${count('repaired')} differing partitions were repaired`);
  if (count('counters') > 0) {
    lines.push(
      `${count('counters')} partitions of counters were left: stop their writers, then: ringshift reconcile --counters --quiesced --keyspace ${summary.keyspace}`,
    );
  }
  if (count('unsettled') > 0) lines.push(`${count('unsettled')} partitions changed at every reading`);
  if (count('unlisted') > 0) lines.push(`${count('unlisted')} differ beyond what a range lists`);
  for (const { index, table, error } of summary.failed.slice(0, 10)) {
    lines.push(`range ${index} of ${table} failed: ${error.name}: ${error.message}`);
  }
  return lines;
}

/** The deployed state machine's name. */
export function machineName(machine: string): string {
  return `${process.env['RINGSHIFT_NAME'] ?? DEFAULT_NAME}-${machine}`;
}
