import type { Command } from 'commander';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { UsageError } from '#core/errors.ts';
import { forgetIndex } from '#core/jobs/forget-index.ts';
import { listSavedIndexes, type SavedIndexes } from '#core/ledger/saved-indexes.ts';
import { withCommonOptions } from './clusters.ts';
import { restoreVisibly } from './index-ports.ts';
import { openCliLedger } from './open-ledger.ts';
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
  withCommonOptions(
    indexes
      .command('forget')
      .description('give up an index that a load has dropped; prints the text that would create it')
      .argument('<table>', 'KEYSPACE.TABLE, as on the target')
      .argument('<name>', "the index's name"),
  ).action(forget);
}

async function openContext(options: CommonOptions) {
  const config = await readMigrationConfig(options.config);
  return { config, ledger: await openCliLedger(config) };
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
  const result = await restoreVisibly(context, scope);
  printResult(options, result, [
    ...result.failed.map(({ index, error }) => `${index}: ${error}`),
    ...(result.failed.length > 0 ? ['to give one up: ringshift indexes forget KEYSPACE.TABLE NAME'] : []),
    ...result.leftToRuns.map((runId) => `load ${runId} is under way and restores what it has dropped at its end`),
    result.total === 0 ? 'no index is owed' : `${result.built} of ${result.total} indexes are back and built`,
  ]);
  if (result.status !== 'done') process.exitCode = ExitCode.found;
}

async function forget(place: string, name: string, options: CommonOptions): Promise<void> {
  const { ledger } = await openContext(options);
  const dot = place.indexOf('.');
  if (dot < 1) throw new UsageError(`${place} is no KEYSPACE.TABLE`);
  const { statement } = await forgetIndex(place.slice(0, dot), place.slice(dot + 1), name, ledger);
  printResult(options, { forgotten: { table: place, name, statement } }, [
    `${name} on ${place} is owed no longer; it was: ${statement}`,
  ]);
}

/** One line for each index, for people. */
export function describeSaved({ keyspace, table, runId, state, indexes }: SavedIndexes): string[] {
  return indexes.map(
    ({ name, state: own, statement, error }) =>
      `index ${name} on ${keyspace}.${table}: ${own} (${state} by ${runId})${own === 'built' ? '' : `: ${error ?? statement}`}`,
  );
}
