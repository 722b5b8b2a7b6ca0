import type { Command } from 'commander';
import type { DifferenceLine } from '#core/checksum/difference-line.ts';
import { bucketOf } from '#core/config/ledger-schema.ts';
import { UsageError } from '#core/errors.ts';
import { readRangeDifferences } from '#core/jobs/reconcile-range.ts';
import { remainingDifferences } from '#core/jobs/settle-table.ts';
import type { RunSummary } from '#core/jobs/summarize-run.ts';
import { newRunId, parseValidationInput, type ValidationInput } from '#core/jobs/validation-plan.ts';
import { withCommonOptions } from './clusters.ts';
import { validateLocally } from './local-validation.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';
import {
  describeValidation,
  findRun,
  openRuns,
  type RunContext,
  rangeProgress,
  readSummary,
  startExecution,
  stopExecution,
  waitForExecution,
} from './runs.ts';

interface StartOptions extends CommonOptions {
  readonly keyspace: string;
  readonly table?: readonly string[];
  readonly sample?: string;
  readonly writeTime: boolean;
  readonly suspects?: boolean;
  readonly reconcile?: boolean;
  readonly wait?: boolean;
  readonly local?: boolean;
}

export function register(program: Command): void {
  const validate = program.command('validate').description('compare the two clusters, row by row');
  withCommonOptions(
    validate
      .command('start')
      .description('compare a keyspace; exit code 1 when something differs (with --wait or --local)')
      .requiredOption('--keyspace <name>', 'the keyspace')
      .option('--table <name...>', 'only these tables')
      .option('--sample <percent>', 'compare this share of the ring only')
      .option('--suspects', 'compare the places that are marked suspect, and nothing else')
      .option('--no-write-time', 'compare values only, not their write times')
      .option('--reconcile', 'repair what differs, then compare again')
      .option('--wait', 'follow the run to its end')
      .option('--local', 'compare in this process instead of in AWS'),
  ).action(start);
  withCommonOptions(
    validate.command('status').description('how far a run is').argument('[run]', 'its id; the latest when left out'),
  ).action(status);
  withCommonOptions(
    validate
      .command('report')
      .description('every differing partition of a run; exit code 1 when there are any')
      .argument('[run]', 'its id; the latest when left out'),
  ).action(report);
  withCommonOptions(
    validate.command('stop').description('stop a run and give its keyspace free').argument('<run>', 'its id'),
  ).action(stop);
}

async function start(options: StartOptions): Promise<void> {
  const input = parseValidationInput({
    keyspace: options.keyspace,
    ...(options.table ? { tables: options.table } : {}),
    ...(options.sample === undefined ? {} : { samplePercent: Number(options.sample) }),
    ...(options.writeTime ? {} : { compareWriteTime: false }),
    ...(options.suspects ? { suspects: true } : {}),
    ...(options.reconcile ? { reconcile: true } : {}),
  });
  await runValidation(input, await openRuns(options.config), options);
}

/** Starts a validation where the options say, and prints how it ended if they say to wait. */
export async function runValidation(
  input: ValidationInput,
  context: RunContext,
  options: CommonOptions & { readonly wait?: boolean; readonly local?: boolean },
): Promise<void> {
  const runId = newRunId('validation', input.keyspace, new Date(), Math.random());
  if (options.local) {
    finish(await validateLocally(runId, input, context), options);
    return;
  }
  if (bucketOf(context.config.ledger) === undefined) {
    throw new UsageError('without a bucket (ledger.bucket) no state machine reaches the plan: use --local');
  }
  await startExecution('validation', runId, input);
  if (options.wait) finish(await waitForExecution('validation', runId, context), options);
  else printResult(options, { runId }, [`started ${runId}; follow it with: ringshift validate status ${runId}`]);
}

/** Prints a summary and sets the exit code. */
export function finish(summary: RunSummary, options: CommonOptions): void {
  printResult(options, summary, [`${summary.runId}: ${summary.status}`, ...describeValidation(summary)]);
  if (summary.status !== 'done') process.exitCode = ExitCode.found;
}

async function status(runId: string | undefined, options: CommonOptions): Promise<void> {
  const { ledger, objects } = await openRuns(options.config);
  const run = await findRun(ledger, 'validation', runId);
  const summary = await readSummary(objects, run.runId);
  if (summary && run.state !== 'running') {
    finish(summary, options);
    return;
  }
  const { done, total } = await rangeProgress(ledger, run.runId);
  printResult(options, { runId: run.runId, state: run.state, rangesDone: done, rangeCount: total }, [
    `${run.runId}: ${run.state}, ${done} of ${total} ranges`,
  ]);
}

async function report(runId: string | undefined, options: CommonOptions): Promise<void> {
  const { ledger, objects } = await openRuns(options.config);
  const run = await findRun(ledger, 'validation', runId);
  const ranges = await ledger.listRanges(run.runId);
  const totals: Record<string, number> = {};
  const differences: DifferenceLine[] = [];
  for (const { index, counts } of ranges) {
    for (const [name, count] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + count;
    differences.push(...(await readRangeDifferences(objects, run.runId, index, counts['parts'] ?? 0)));
  }
  const failed = ranges.filter((range) => range.state === 'failed').length;
  const lines = differences.flatMap(describeDifference);
  lines.push(`${totals['partitions'] ?? 0} partitions compared, ${totals['differing'] ?? 0} differ`);
  if ((totals['repaired'] ?? 0) > 0) lines.push(`${totals['repaired']} of them were repaired since`);
  if ((totals['unlisted'] ?? 0) > 0) lines.push(`${totals['unlisted']} more differ that are not listed`);
  if (failed > 0) lines.push(`${failed} ranges failed: ringshift validate status ${run.runId}`);
  if (run.state === 'running') lines.push('the run is still under way');
  printResult(options, { runId: run.runId, state: run.state, totals, failedRanges: failed, differences }, lines);
  if (remainingDifferences(totals) > 0 || failed > 0) process.exitCode = ExitCode.found;
}

/** One partition of the report: its key, then what differs with both values and write times. */
export function describeDifference(line: DifferenceLine): string[] {
  const named = (values: Readonly<Record<string, string>>) =>
    Object.entries(values)
      .map(([name, value]) => `${name} = ${value}`)
      .join(' AND ');
  const side = ({ value, writeTime, expiresAt }: DifferenceLine['rows'][number]['columns'][number]['origin']) =>
    value === null
      ? 'nothing'
      : `${value}${writeTime === null ? '' : ` @${writeTime}`}${expiresAt === null ? '' : ` until ${new Date(expiresAt * 1000).toISOString()}`}`;
  const lines = [`${line.keyspace}.${line.table} ${named(line.key)}: ${KINDS[line.kind]}`];
  for (const row of line.rows) {
    const place = row.isStatic ? 'static' : named(row.clustering) || 'row';
    if (row.columns.length === 0) lines.push(`  ${place}: ${KINDS[row.kind]}, without values`);
    for (const { column, what, origin, target } of row.columns) {
      lines.push(`  ${place}: ${column} (${WHATS[what]}): origin ${side(origin)}, target ${side(target)}`);
    }
  }
  if (line.moreRows) lines.push('  and more rows');
  return lines;
}

const KINDS = { onlyInOrigin: 'only on the origin', onlyInTarget: 'only on the target', differs: 'differs' } as const;
const WHATS = {
  onlyInOrigin: 'missing on the target',
  onlyInTarget: 'missing on the origin',
  value: 'value',
  writeTime: 'write time',
  expiry: 'expiry',
} as const;

async function stop(runId: string, options: CommonOptions): Promise<void> {
  const { config, ledger } = await openRuns(options.config);
  const run = await findRun(ledger, 'validation', runId);
  if (run.state !== 'running') throw new UsageError(`${runId} has ended (${run.state})`);
  if (bucketOf(config.ledger) !== undefined) await stopExecution('validation', runId);
  await ledger.endRun(runId, 'stopped', new Date());
  printResult(options, { runId, state: 'stopped' }, [`${runId} is stopped`]);
}
