import type { Command } from 'commander';
import { remainingDifferences } from '#core/jobs/settle-table.ts';
import { runKeys } from '#core/jobs/validation-plan.ts';
import { withCommonOptions } from './clusters.ts';
import { reconcileLocally } from './local-validation.ts';
import { type CommonOptions, printResult } from './output.ts';
import { findRun, openRuns, readSummary } from './runs.ts';
import { finish, runValidation } from './validate.ts';

interface ReconcileArguments extends CommonOptions {
  readonly wait?: boolean;
  readonly local?: boolean;
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
      .option('--local', "repair that run's partitions in this process; else its tables are compared again in AWS"),
  ).action(reconcile);
}

async function reconcile(runId: string | undefined, options: ReconcileArguments): Promise<void> {
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
