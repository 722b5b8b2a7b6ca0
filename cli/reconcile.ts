import type { Command } from 'commander';
import { UsageError } from '#core/errors.ts';
import type { ConvergedTable } from '#core/jobs/converge-counters.ts';
import { remainingDifferences } from '#core/jobs/settle-table.ts';
import { runKeys } from '#core/jobs/validation-plan.ts';
import { withCommonOptions } from './clusters.ts';
import { convergeLocally } from './local-counters.ts';
import { reconcileLocally } from './local-validation.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';
import { findRun, openRuns, readSummary } from './runs.ts';
import { finish, runValidation } from './validate.ts';

interface ReconcileArguments extends CommonOptions {
  readonly wait?: boolean;
  readonly local?: boolean;
  readonly counters?: boolean;
  readonly quiesced?: boolean;
  readonly keyspace?: string;
  readonly table?: readonly string[];
}

export function register(program: Command): void {
  withCommonOptions(
    program
      .command('reconcile')
      .description(
        'repair what a validation found, from the cluster that the application reads; exit 1 when some is left',
      )
      .argument('[run]', 'the validation; the latest when left out')
      .option('--wait', 'follow the run to its end')
      .option('--counters', 'bring the counters of --keyspace together instead, in this process')
      .option('--quiesced', 'with --counters: nothing writes them, on either cluster')
      .option('--keyspace <name>', 'with --counters: the keyspace')
      .option('--table <name...>', 'with --counters: only these tables')
      .option('--local', "repair that run's partitions in this process; else its tables are compared again in AWS"),
  ).action(reconcile);
}

async function reconcile(runId: string | undefined, options: ReconcileArguments): Promise<void> {
  if (options.counters) return converge(runId, options);
  const extra = ['quiesced', 'keyspace', 'table'].find((name) => name in options);
  if (extra !== undefined) throw new UsageError(`--${extra} goes with --counters only`);
  const context = await openRuns(options.config);
  const run = await findRun(context.ledger, 'validation', runId);
  const summary = await readSummary(context.objects, run.runId);
  const tables = (summary?.tables ?? []).filter(({ counts }) => remainingDifferences(counts) > 0);
  if (summary && tables.length === 0) {
    printResult(options, summary, [`${run.runId} left nothing to repair`]);
    return;
  }
  if (options.local) {
    finish(await reconcileLocally(run.runId, runKeys.plan(run.runId), context), options);
    return;
  }
  const { compareWriteTime } = run.input;
  await runValidation(
    {
      keyspace: run.keyspace,
      tables: tables.length > 0 ? tables.map(({ table }) => table) : [...run.tables],
      reconcile: true,
      ...(typeof compareWriteTime === 'boolean' ? { compareWriteTime } : {}),
    },
    context,
    options,
  );
}

/** Counters have no write times to repair by: what one cluster lacks is added, while nothing else adds. */
async function converge(runId: string | undefined, options: ReconcileArguments): Promise<void> {
  const { keyspace } = options;
  if (keyspace === undefined) throw new UsageError('--counters needs --keyspace: whose counters?');
  if (runId !== undefined) throw new UsageError('--counters takes no run: it compares the counters itself');
  if (!options.quiesced) {
    throw new UsageError(
      'an increment that comes between reading and adding would be lost or counted twice: stop whatever writes the counters of both clusters, wait until the requests under way have ended, then say so with --quiesced',
    );
  }
  const tables = await convergeLocally({ keyspace, tables: options.table }, await openRuns(options.config));
  const left = tables.filter(({ remaining }) => remaining > 0);
  printResult(options, { tables }, [
    ...tables.map(
      ({ table, differing, converged, remaining }) =>
        `${keyspace}.${table}: ${differing} rows differed, ${converged} were brought together, ${remaining} partitions differ still`,
    ),
    ...tables.filter(({ onlyInShadow }) => onlyInShadow > 0).map(describeExtra),
    ...tables.filter(({ notTaken }) => notTaken > 0).map(describeNotTaken),
    ...(tables.length === 0 ? [`${keyspace} has no counter table`] : []),
  ]);
  if (left.length > 0) process.exitCode = ExitCode.found;
}

const describeExtra = ({ table, onlyInShadow }: ConvergedTable) =>
  `${table}: ${onlyInShadow} counters are only on the cluster that the application does not read; delete them there if they were deleted`;
const describeNotTaken = ({ table, notTaken }: ConvergedTable) =>
  `${table}: ${notTaken} rows were deleted there, and Cassandra keeps such a deletion for good: load the table into a new one`;
