import type { Command } from 'commander';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { openLedger } from '#adapters/ledger.ts';
import { UsageError } from '#core/errors.ts';
import { listSavedIndexes, type SavedIndexes } from '#core/ledger/saved-indexes.ts';
import { withCommonOptions } from './clusters.ts';
import { restoreHere } from './index-ports.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';

export function register(program: Command): void {
  const indexes = program.command('indexes').description('secondary indexes that a load has dropped on the target');
  withCommonOptions(
    indexes
      .command('status')
      .description('what was dropped, and how far it is restored; exit code 1 while any is owed'),
  ).action(status);
  withCommonOptions(
    indexes
      .command('restore')
      .description('create again what loads that have ended still owe; safe to run again')
      .option('--run <id>', 'only what this load dropped, also while it is under way'),
  ).action(restore);
}

async function openContext(options: CommonOptions) {
  const config = await readMigrationConfig(options.config);
  return { config, ledger: openLedger(config.ledger) };
}

async function status(options: CommonOptions): Promise<void> {
  const { ledger } = await openContext(options);
  const records = await listSavedIndexes(ledger.store);
  printResult(
    options,
    { tables: records },
    records.length === 0 ? ['no load has dropped an index'] : records.flatMap(describeSaved),
  );
  if (records.some(({ state }) => state !== 'restored')) process.exitCode = ExitCode.found;
}

async function restore(options: CommonOptions & { readonly run?: string }): Promise<void> {
  const context = await openContext(options);
  if (options.run !== undefined && (await context.ledger.readRun(options.run)) === undefined) {
    throw new UsageError(`there is no load ${options.run}`);
  }
  const scope = options.run === undefined ? { allOfEndedRuns: true as const } : { runId: options.run };
  const result = await restoreHere(context, scope);
  printResult(options, result, [
    ...result.failed.map(({ index, error }) => `${index}: ${error}`),
    result.total === 0 ? 'no index is owed' : `${result.built} of ${result.total} indexes are back and built`,
  ]);
  if (result.status !== 'done') process.exitCode = ExitCode.found;
}

/** One line for each index, for people. */
export function describeSaved({ keyspace, table, runId, state, indexes }: SavedIndexes): string[] {
  return indexes.map(
    ({ name, state: own, statement, error }) =>
      `index ${name} on ${keyspace}.${table}: ${own} (${state} by ${runId})${own === 'built' ? '' : `: ${error ?? statement}`}`,
  );
}
