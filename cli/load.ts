import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { createSfnClient } from '#adapters/aws-clients.ts';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { createStateMachines, executionArnOf } from '#adapters/step-functions.ts';
import { PrerequisiteError, RunFailedError, UsageError } from '#core/errors.ts';
import { type LoadInput, parseLoadInput } from '#core/jobs/load-plan.ts';
import type { LoadPlan } from '#core/jobs/load-planning.ts';
import { loadProgress, type RunProgress } from '#core/jobs/run-progress.ts';
import { checkInputSize } from '#core/jobs/state-size.ts';
import type { RunSummary } from '#core/jobs/summarize-run.ts';
import { newRunId } from '#core/jobs/validation-plan.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { listSavedIndexes } from '#core/ledger/saved-indexes.ts';
import { withCommonOptions } from './clusters.ts';
import { readIndexList, restoreVisibly } from './index-ports.ts';
import { describeSaved } from './indexes.ts';
import { loadHere } from './load-local.ts';
import { type CommonOptions, createProgress, ExitCode, printResult } from './output.ts';
import { findRun, machineName, openRuns, type RunContext, readSummary, startExecution, stopExecution } from './runs.ts';

interface RunOptions extends CommonOptions {
  readonly local?: boolean;
  readonly wait?: boolean;
  readonly runId?: string;
  readonly skipStale?: boolean;
}

interface StartOptions extends RunOptions {
  readonly keyspace: string;
  readonly table: readonly string[];
  readonly snapshot: string;
  readonly targetWriteMbps?: string;
  readonly tombstones?: string;
  readonly indexes?: string;
  readonly skipIndexes?: boolean;
  readonly counters?: boolean;
  readonly countersQuiesced?: boolean;
  readonly dryRun?: boolean;
  readonly allowEarlySnapshot?: boolean;
  readonly trustCoverage?: boolean;
}

const STATE_MACHINE = 'bulk-load';
const POLL_MS = 2000;

export function register(program: Command): void {
  const load = program.command('load').description('move the history: a snapshot in the object store → the target');
  withRunOptions(
    load
      .command('start')
      .description('start a bulk load of one keyspace')
      .requiredOption('--keyspace <name>', 'the keyspace')
      .requiredOption('--snapshot <place>', 's3://bucket/prefix, as ringshift snapshot upload has filled it')
      .option('--table <name>', 'only this table (repeatable)', (value, known: string[]) => [...known, value], [])
      .option('--target-write-mbps <n>', 'budget for the whole target (default: bulkLoad.targetWriteMBps)')
      .option('--tombstones <which>', 'none, recent or all (default: bulkLoad.tombstones)')
      .option('--indexes <file>', 'indexes.yaml: which indexes are dropped before and rebuilt after')
      .option('--skip-indexes', 'leave the indexes of the target where they are (default: bulkLoad.indexes)')
      .option('--counters', 'load the counter tables, and only them: what the target lacks is added to it')
      .option('--counters-quiesced', 'with --counters: nobody writes them, so dual writes are no obstacle')
      .option('--dry-run', 'plan and report, write nothing')
      .option('--allow-early-snapshot', 'although writes between the snapshot and the dual writes are lost')
      .option('--trust-coverage', 'although nothing proves that the snapshot holds every node'),
  ).action(start);
  withRunOptions(
    load.command('resume').description('load what an earlier run has not finished').argument('<run>', 'its id'),
  ).action(resume);
  withCommonOptions(
    load.command('status').description('how far a run is').argument('[run]', 'its id; default: the latest'),
  ).action(status);
  withCommonOptions(
    load.command('stop').description('stop a run; it can be resumed').argument('<run>', 'its id'),
  ).action(stop);
}

function withRunOptions(command: Command): Command {
  return withCommonOptions(command)
    .option('--local', 'in this process instead of Step Functions')
    .option('--wait', 'show the progress until it ends')
    .option('--run-id <id>', 'a name for the run')
    .option('--skip-stale', 'leave tables out that were truncated or redefined since the snapshot');
}

async function start(options: StartOptions): Promise<void> {
  const given: Record<string, unknown> = {
    keyspace: options.keyspace,
    tables: options.table.length > 0 ? options.table : undefined,
    snapshot: options.snapshot,
    targetWriteMBps: options.targetWriteMbps === undefined ? undefined : Number(options.targetWriteMbps),
    tombstones: options.tombstones,
    ...(await indexInput(options)),
    counters: options.counters,
    countersQuiesced: options.countersQuiesced,
    dryRun: options.dryRun,
    allowEarlySnapshot: options.allowEarlySnapshot,
    trustCoverage: options.trustCoverage,
    skipStale: options.skipStale,
  };
  const input = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  await run(parseLoadInput(input), await openRuns(options.config), options);
}

/** What `--indexes` and `--skip-indexes` mean in the input; without them the configuration's list, as it is here and now. */
async function indexInput({
  config,
  indexes,
  skipIndexes,
}: StartOptions): Promise<Pick<LoadInput, 'indexes' | 'indexList'>> {
  if (skipIndexes) {
    if (indexes !== undefined) throw new UsageError('--indexes and --skip-indexes exclude each other');
    return { indexes: 'skip' };
  }
  if (indexes !== undefined) return { indexes: 'rebuild', indexList: await readIndexList(indexes) };
  return { indexList: await readIndexList((await readMigrationConfig(config)).bulkLoad.indexList) };
}

async function resume(earlierId: string, options: RunOptions): Promise<void> {
  const context = await openRuns(options.config);
  const earlier = await findRun(context.ledger, 'load', earlierId);
  const { resume: _, skipStale: __, ...input } = earlier.input;
  const skipStale = options.skipStale ? { skipStale: true } : {};
  await run(parseLoadInput({ ...input, ...skipStale, resume: earlierId }), context, options);
}

async function run(input: LoadInput, context: RunContext, options: RunOptions): Promise<void> {
  const { ledger } = context;
  const runId = options.runId ?? newRunId('load', input.keyspace, new Date(), Math.random());
  if (options.local) {
    const abort = new AbortController();
    let watching: Promise<void> = Promise.resolve();
    const { plan, summary } = await loadHere(context, runId, input, (made) => {
      if (options.json) printWarnings(made.warnings);
      else printPlan(made);
      if (!made.dryRun) watching = watch(ledger, runId, abort.signal);
    }).finally(async () => {
      abort.abort();
      await watching;
    });
    if (summary === undefined) return printResult(options, plan, []);
    return finish(options, summary, summary.status);
  }
  checkInputSize(input);
  await startExecution(STATE_MACHINE, runId, input);
  if (!options.wait) {
    return printResult(options, { runId }, [`${runId} is under way; see: ringshift load status ${runId}`]);
  }
  const output = await waitForExecution(context, runId);
  printWarnings((await ledger.readRun(runId))?.warnings ?? []);
  if (input.dryRun) return printResult(options, output, planLines(output as Partial<LoadPlan>));
  finish(options, output, (output as { status?: string }).status ?? 'done');
}

function printPlan(plan: LoadPlan): void {
  for (const line of planLines(plan)) process.stderr.write(`${line}\n`);
}

function printWarnings(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
}

/** Of a plan, or of the part of it that a state machine gives out. */
function planLines(plan: Partial<LoadPlan> & { readonly omitted?: Readonly<Record<string, number>> }): string[] {
  return [
    `${plan.rangeCount} ranges, ${plan.maxConcurrency} at a time`,
    ...(plan.tables ?? []).map(
      ({ table, sstables, ranges, bytes }) =>
        `${table}: ${sstables} SSTables, ${(bytes / 1e6).toFixed(1)} MB, ${ranges} ranges`,
    ),
    ...(plan.skipped ?? []).map(({ table, reason }) => `${table} is not loaded: ${reason}`),
    ...(plan.rebuildIndexes ?? []).map(
      ({ keyspace, table, name }) => `index ${name} on ${keyspace}.${table} is dropped before and built again after`,
    ),
    ...(plan.warnings ?? []).map((warning) => `warning: ${warning}`),
    ...Object.entries(plan.omitted ?? {}).map(([name, count]) => `${count} more ${name} are not listed`),
  ];
}

function finish(options: RunOptions, summary: unknown, status: string): void {
  const { runId, totals, seconds, failed, owedIndexes, cause } = summary as Partial<RunSummary> & { cause?: string };
  const rows = totals?.['rows'] ?? 0;
  printResult(options, summary, [
    ...(cause ? [cause] : []),
    ...(failed ?? []).map(({ index, table, error }) => `range ${index} of ${table}: ${error.name}: ${error.message}`),
    ...(owedIndexes ?? []).map((index) => `${index} is dropped and not back; run: ringshift indexes restore`),
    `${runId}: ${status}, ${rows.toLocaleString('en-US')} rows in ${(seconds ?? 0).toFixed(1)} s`,
  ]);
  if (status !== 'done') process.exitCode = ExitCode.found;
}

/** Shows the ledger's ranges until the signal comes. */
async function watch(ledger: Ledger, runId: string, signal: AbortSignal): Promise<void> {
  const progress = createProgress('load');
  const startedAt = Date.now();
  while (!signal.aborted) {
    await show(progress, await loadProgress(ledger, runId).catch(() => undefined), startedAt);
    await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
  await show(progress, await loadProgress(ledger, runId).catch(() => undefined), startedAt);
  progress.end();
}

async function show(
  progress: ReturnType<typeof createProgress>,
  now: RunProgress | undefined,
  startedAt: number,
): Promise<void> {
  if (now === undefined) return;
  const perSecond = Math.round((now.rows * 1000) / Math.max(1, Date.now() - startedAt));
  const failed = now.failed > 0 ? `, ${now.failed} failed` : '';
  const text = `${now.done}/${now.ranges} ranges${failed}, ${now.rows.toLocaleString('en-US')} rows, ${perSecond.toLocaleString('en-US')} rows/s`;
  progress.update(now.fraction * 1000, 1000, text);
}

/** Resolves to what the execution gave out, or to the summary of one that failed and has written one. */
async function waitForExecution(context: RunContext, runId: string): Promise<unknown> {
  const machines = createStateMachines(createSfnClient());
  const executionArn = executionArnOf(await machines.find(machineName(STATE_MACHINE)), runId);
  const abort = new AbortController();
  const watching = watch(context.ledger, runId, abort.signal);
  try {
    for (;;) {
      const detail = await machines.describe(executionArn);
      if (detail.status === 'SUCCEEDED') return detail.output;
      if (detail.status !== 'RUNNING' && detail.status !== 'PENDING_REDRIVE') {
        const summary = await readSummary(context.objects, runId);
        const hasFailed =
          summary !== undefined && (summary.failed.length > 0 || (summary.owedIndexes ?? []).length > 0);
        if (hasFailed) return { ...summary, cause: detail.cause };
        throw new RunFailedError(
          `${runId} ended as ${detail.status}: ${detail.cause ?? detail.error ?? 'no cause was given'}`,
          { context: { runId, status: detail.status, error: detail.error } },
        );
      }
      await delay(POLL_MS / 2);
    }
  } finally {
    abort.abort();
    await watching;
  }
}

async function status(runId: string | undefined, options: CommonOptions): Promise<void> {
  const { ledger } = await openRuns(options.config);
  const record = await findRun(ledger, 'load', runId);
  const now = await loadProgress(ledger, record.runId);
  const tables = (await ledger.listTables()).filter((table) => table.keyspace === record.keyspace);
  const indexes = (await listSavedIndexes(ledger.store)).filter((saved) => saved.runId === record.runId);
  printResult(options, { run: record, progress: now, tables, indexes }, [
    `${record.runId}: ${record.state}, ${now.done}/${now.ranges} ranges, ${now.rows.toLocaleString('en-US')} rows, ${(now.fraction * 100).toFixed(0)} %`,
    ...(record.warnings ?? []).map((warning) => `warning: ${warning}`),
    ...now.errors.map((error) => `range ${error.index} of ${error.table}: ${error.name}: ${error.message}`),
    ...indexes.flatMap(describeSaved),
    ...tables.map((table) => `${table.keyspace}.${table.table}: ${table.state}`),
  ]);
}

async function stop(runId: string, options: CommonOptions): Promise<void> {
  const context = await openRuns(options.config);
  const { ledger } = context;
  const record = await findRun(ledger, 'load', runId);
  try {
    await stopExecution(STATE_MACHINE, runId);
  } catch (error) {
    // A run of --local has no execution; its process ends by itself or is ended by whoever started it.
    const isNone = error instanceof PrerequisiteError || error instanceof UsageError;
    if (!isNone && !(error instanceof Error && error.name === 'ExecutionDoesNotExist')) throw error;
  }
  if (record.state === 'running') await ledger.endRun(runId, 'stopped', new Date());
  // The execution can't do it any more.
  const hasIndexes = (record.rebuildIndexes ?? []).length > 0;
  if (hasIndexes) process.stderr.write(`${runId} is stopped; indexes that it has dropped are built now\n`);
  const restored = hasIndexes ? await restoreVisibly(context, { runId }) : undefined;
  if (restored !== undefined && restored.status !== 'done') process.exitCode = ExitCode.found;
  printResult(options, { runId, state: 'stopped', indexes: restored }, [
    ...(restored?.failed ?? []).map(({ index, error }) => `${index}: ${error}`),
    ...(restored === undefined ? [] : [`${restored.built} of ${restored.total} dropped indexes are back and built`]),
    `${runId} is stopped; go on with: ringshift load resume ${runId}`,
  ]);
}
